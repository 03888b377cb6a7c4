"""Pictures against matplotlib, and all pictures of a network of 50 layers.

    python benchmarks/bench_render.py

Needs matplotlib, which layerscope itself does not use. Ratios are medians of alternating runs in
one process, so that a busy machine slows both sides.
"""

import io
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from layerscope.document.compose import document, grid, overview
from layerscope.render.html import html
from layerscope.render.png import draw, encode
from layerscope.selection import select
from layerscope.vocabulary import Floats, Layer

# sizes and widths of the maps of an EfficientNet-Lite0
NETWORK = (
    [(112, 32)] * 2 + [(112, 16), (112, 96), (56, 96), (56, 24)] + [(56, 144)] * 3
    + [(56, 24), (28, 144), (28, 40), (28, 240), (28, 240), (28, 40), (28, 240), (14, 240)]
    + [(14, 80), (14, 480), (14, 480)] * 3 + [(14, 112), (14, 672), (14, 672)] * 3
    + [(7, 672)] + [(7, 192), (7, 1152), (7, 1152)] * 4 + [(7, 320), (7, 1280)]
)  # fmt: skip
PHOTO = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def maps_of(side: int, channels: int) -> Floats:
    """Rectified mixtures of smooth fields: as hard to compress and to choose from as real maps."""
    chance = np.random.default_rng(side * channels)
    coarse = chance.normal(size=(side // 7 + 2, side // 7 + 2, 12)).repeat(7, 0).repeat(7, 1)
    mixed = coarse[:side, :side] @ chance.normal(size=(12, channels))
    return np.maximum(mixed + chance.normal(size=mixed.shape), 0).astype(np.float32)[None]


def layer_of(number: int, side: int, channels: int) -> Layer:
    return Layer(f"conv{number}", "conv", (side, side, channels), 1, 3, 0.0, False, "")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def with_matplotlib(maps: Floats) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10))
    FigureCanvasAgg(figure)
    for channel, axes in enumerate(figure.subplots(8, 8).flat):
        axes.imshow(maps[0, :, :, channel])
        axes.set_title(str(channel), fontsize=7)
        axes.axis("off")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def one_grid(runs: int = 7) -> None:
    maps = maps_of(56, 64)
    layer = layer_of(1, 56, 64)
    everything = select(maps, None, None)

    def tiles() -> bytes:
        return encode(draw(grid([PHOTO], ["photo"], layer, maps, everything, whole=False)))

    def full() -> bytes:
        chosen = select(maps, None, None)
        return encode(draw(grid([PHOTO], ["photo"], layer, maps, chosen)))

    for work in (tiles, full, lambda: with_matplotlib(maps)):
        work()
    times = [
        (seconds(lambda: with_matplotlib(maps)), seconds(tiles), seconds(full)) for _ in range(runs)
    ]
    theirs, ours, all_of_it = (median(column) for column in zip(*times, strict=True))
    print("64 maps of 56x56 to PNG")
    print(f"  matplotlib subplots                    {theirs:7.3f} s")
    print(f"  the same tiles, labels and photo       {ours:7.3f} s  {theirs / ours:5.1f} x faster")
    print(
        f"  with choice, composite and factors     {all_of_it:7.3f} s  "
        f"{theirs / all_of_it:5.1f} x faster"
    )


def all_pictures(rows: list[Layer], all_maps: list[Floats]) -> dict[str, float]:
    """Seconds for each step from maps to files in memory."""
    times = [time.perf_counter()]
    chosen = [select(maps) for maps in all_maps]
    times.append(time.perf_counter())
    grids = [
        grid([PHOTO], ["photo"], layer, maps, choice)
        for layer, maps, choice in zip(rows, all_maps, chosen, strict=True)
    ]
    times.append(time.perf_counter())
    for part in grids:
        encode(draw(part))
    times.append(time.perf_counter())
    sheet = overview(PHOTO, "photo", grids, [("cat", 0.9)])
    encode(draw(sheet))
    times.append(time.perf_counter())
    html(document("network", [sheet], grids))
    times.append(time.perf_counter())
    names = ("choice", "grids, composites, factors", "a PNG per layer", "overview PNG", "HTML page")
    return dict(zip(names, np.diff(times).tolist(), strict=True))


def network() -> None:
    all_maps = [maps_of(side, channels) for side, channels in NETWORK]
    rows = [layer_of(number, *size) for number, size in enumerate(NETWORK)]
    all_pictures(rows, all_maps)
    steps = all_pictures(rows, all_maps)
    print(f"all pictures of {len(NETWORK)} layers, one after the other")
    for name, took in steps.items():
        print(f"  {name:38} {took:7.3f} s")
    print(f"  {'together':38} {sum(steps.values()):7.3f} s")


if __name__ == "__main__":
    one_grid()
    network()
