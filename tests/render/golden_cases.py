"""The documents behind the golden pictures.

After a change that is meant to alter them, look at the new ones and keep them:

    python tests/render/golden_cases.py
"""

import re
from pathlib import Path

import numpy as np

from layerscope.document.compose import document, grid, overlay, overview
from layerscope.document.heat import heatmap
from layerscope.document.parts import Document, Heatmap, Note, Section, Table
from layerscope.focus.gate import Gain, Gate
from layerscope.focus.heat import RESAMPLER, Controls, Heat
from layerscope.render.html import html
from layerscope.render.png import Drawable, write_png
from layerscope.selection import select
from layerscope.vocabulary import Layer

FOLDER = Path(__file__).parent / "golden"


def waves(side, channels, images=1):
    """Smooth maps with known shapes: no chance, so no difference between machines."""
    y, x = np.mgrid[:side, :side] / side
    turns = np.arange(channels)
    planes = [
        np.sin(2 * np.pi * ((1 + k % 5) * x * np.cos(k) + (1 + k % 3) * y * np.sin(k)) + k + image)
        for image in range(images)
        for k in turns
    ]
    stacked = np.stack(planes).reshape(images, channels, side, side)
    return np.moveaxis(stacked, 1, -1).astype(np.float32)


def photo(tint):
    """A red, green or blue slope."""
    ramp = np.linspace(30, 230, 90)
    rgb = np.zeros((60, 90, 3), np.uint8)
    rgb[...] = ramp[None, :, None] * (0.3 + 0.7 * (np.arange(3) == tint))
    return rgb


def layer(path, side, channels, signed=False, notes=""):
    return Layer(path, "conv", (side, side, channels), 4, 27, 0.5, signed, path, notes=notes)


def parts() -> dict[str, Drawable]:
    """Return each golden picture by its name."""
    positive = np.maximum(waves(14, 40), 0)
    positive[..., 3] = 0
    positive[..., 5] = 0.25
    positive[0, 2:5, 2:9, 8] = np.nan
    chosen = select(positive, 12, None)
    plain = grid([photo(0)], ["red.png"], layer("stem/conv", 14, 40), positive, chosen)
    every = grid(
        [photo(0)],
        ["red.png"],
        layer("all", 14, 10),
        positive[..., :10],
        select(positive[..., :10], None, None),
    )
    three = waves(28, 6, images=3)
    three[1, :, :, 2] = 0
    signed = grid(
        [photo(0), photo(1), photo(2)],
        ["red.png", "green.png", "ein sehr langer Name: größer, blau.png"],
        layer("block/project", 28, 6, signed=True),
        three,
        scale="layer",
        robust=2,
    )
    single = grid(
        [photo(0)],
        ["red.png"],
        layer("block/project", 7, 6, True),
        waves(7, 6),
        select(waves(7, 6)),
    )
    sheet = overview(photo(0), "red.png", [plain, single], [("red slope", 0.9), ("slope", 0.05)])
    laid = overlay(np.kron(photo(1), np.ones((4, 4, 1), np.uint8)), waves(7, 1)[0, :, :, 0])
    return {
        "grid": plain,
        "every": every,
        "images": signed,
        "overview": sheet,
        "overlay": laid,
        "heatmap": heat(),
        "heatmap-empty": heat(empty=True),
    }


def heat(empty: bool = False) -> Heatmap:
    """Return a heatmap with sign that is not believed, or an empty one of which nobody knows."""
    values = waves(6, 1)[:, :, :, 0] * (not empty)
    gains = (Gain("random", 0.2, 0.1, 0.3), Gain("sobel", 0.02, -0.06, 0.09))
    beside = {"mosaic_focus": 0.6, "twin": 0.9}
    gate = Gate("unreliable", "", gains, 32, beside)
    edges = np.abs(waves(60, 3)[:, :, :, 2])[:, :, :45]
    controls = Controls(gate, values[:, ::-1], np.array([0.4]), edges)
    made = Heat(
        raw=values,
        size=(60, 45),
        ids=("<green>.png",),
        method="hires-cam",
        output="0",
        scale="logit",
        classes=np.array([3]),
        names=("a slope",),
        score=np.array([2.5], np.float32),
        empty=np.array([empty]),
        layer="block/project",
        resampler=RESAMPLER,
        pixels=(photo(1)[:, :45],),
        controls=None if empty else controls,
    )
    return heatmap(made, 0, True, "Draelos and Carin 2020")


def page() -> Document:
    """Return the document behind the golden page."""
    made = parts()
    whole = document(
        "A <b>golden</b> page", [made["overview"]], [made["grid"]], [Note("Look at this.", "warn")]
    )
    table = Table(("layer", "maps"), (("stem/conv", "40"),), "A table")
    sections = (Section("Table", "table", 2, (table,)), Section("Heat", "heat", 2, (heat(),)))
    return Document(whole.title, (*whole.sections, *sections))


def page_text() -> str:
    """Return the golden page without the pixels, which golden pictures hold already."""
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,...", html(page()))


if __name__ == "__main__":
    for name, part in parts().items():
        write_png(part, FOLDER / f"{name}.png")
    (FOLDER / "page.html").write_text(page_text(), encoding="utf-8")
