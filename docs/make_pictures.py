"""Make the pictures of the README and the pages anew: ``python docs/make_pictures.py``."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from layerscope import Scope, zoo
from layerscope.document.colour import scale_of
from layerscope.interfaces.stories import tell_stories
from layerscope.render.png import encode
from layerscope.render.sheet import tile
from layerscope.testing import planted

HERE = Path(__file__).parent / "pictures"
LAYERS = [
    "stem_conv",
    "block2b_expand_conv",
    "block3b_expand_conv",
    "block4b_expand_conv",
    "block5b_expand_conv",
    "top_conv",
]
GRIDS = {"layer": "block2a_expand_conv", "middle": "block4b_expand_conv", "late": "top_conv"}
SPOILT = ("block2a_expand_conv", 21)
"""The layer and the channel into which defects are planted."""
TILE = 180


def main() -> None:
    """Write overviews, grids, a heatmap, planted defects and a leak."""
    with tempfile.TemporaryDirectory() as folder:
        tell_stories(Path(folder), print, print)
        shutil.copy(Path(folder) / "leak.png", HERE / "leak.png")
    network = zoo.efficientnet_lite0()
    cat, cup = zoo.photo_path("chelsea"), zoo.photo_path("coffee")
    scope = looking(network)
    scope.show(cat, LAYERS).save(HERE / "overview.png")
    for name, layer in GRIDS.items():
        scope.show(cup, layer).save(HERE / f"{name}.png")
    photos = [zoo.photo_path(name) for name in zoo.PHOTOS]
    heat = scope.focus(photos)
    heat[zoo.PHOTOS.index("chelsea")].save(HERE / "focus.png")
    looking(untrained(scope, photos)).show(cat, LAYERS).save(HERE / "untrained.png")
    looking(network, "none").show(cat, LAYERS).save(HERE / "wrong-scale.png")
    for name, values in defects(network, photos).items():
        scale = scale_of(values, "map")
        (HERE / f"defect-{name}.png").write_bytes(encode(tile(values, scale, TILE)))


def looking(model: keras.Model, preprocess: str = zoo.PREPROCESSING) -> Scope:
    """A scope on a network for photos of ImageNet."""
    return Scope(model, preprocess, classes="imagenet", resize="crop")


def untrained(scope: Scope, photos: list[Path]) -> keras.Model:
    """The same network with fresh weights, its BatchNorm statistics fitted to photos."""
    fresh = zoo.efficientnet_lite0(weights=False)
    for weight, value in zip(fresh.weights, scope.twin(photos).weights, strict=True):
        weight.assign(value)
    return fresh


def defects(network: keras.Model, photos: list[Path]) -> dict[str, np.ndarray]:
    """One map of the cup as it is, and with each defect planted into its channel."""
    layer, channel = SPOILT

    def spoilt() -> Iterator[tuple[str, keras.Model]]:
        batches = looking(network).source(photos)
        images = (np.concatenate([batch.pixels for batch in batches]) - 127) / 128
        yield "none", network
        yield "noisy", planted.noisy(network, layer, [channel], snr=0.5).model
        yield "blurry", planted.blurred(network, layer, [channel], sigma=3).model
        yield "position", planted.positional(network, layer, [channel], images, strength=4).model
        yield "dead", planted.dead(network, layer, [channel]).model

    cup = zoo.photo_path("coffee")
    return {
        name: np.array(looking(model).maps(cup, layer)[layer][0, ..., channel])
        for name, model in spoilt()
    }


if __name__ == "__main__":
    main()
