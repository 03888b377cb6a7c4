"""The demo: a real ImageNet network on real photos, and a small network that reads a mark."""

from collections.abc import Callable
from pathlib import Path

from layerscope import zoo
from layerscope.document.compose import document
from layerscope.document.parts import Note
from layerscope.interfaces.stories import tell_stories
from layerscope.render.html import write_html
from layerscope.scope import Scope

PHOTOS = ("chelsea", "coffee", "camera", "rocket", "motorcycle", "astronaut")
LAYERS = ("block2a_expand_conv", "block4b_expand_conv", "top_conv")


def run(output: Path, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
    """Write a page to start with, and for each photo a page, an overview and a grid per layer.

    Args:
        output: folder for the pictures; one folder per photo inside.
        say: shows what is being done.
        tell: prints a line of the result.
    """
    say("Loading EfficientNet-Lite0 with its ImageNet weights ...")
    # The centre square: what the network was measured with.
    scope = Scope(
        zoo.efficientnet_lite0(), preprocess=zoo.PREPROCESSING, classes="imagenet", resize="crop"
    )
    for i, name in enumerate(PHOTOS, 1):
        say(f"Photo {i} of {len(PHOTOS)}: {name} ...")
        shown = scope.show(zoo.photo_path(name))
        shown.save(output / name)
        if i == 1:
            first = shown
        best = ", ".join(
            f"{label} {value:.2f}" for label, value in shown.overviews[0].predictions[:3]
        )
        tell(f"{name + ':':12} {best}")
    page = document(
        "What a network sees: EfficientNet-Lite0 and a photo of a cat",
        first.overviews,
        [grid for grid in first.grids if grid.layer.path in LAYERS],
        [
            Note(f"All layers of each photo are in folders beside this page: {', '.join(PHOTOS)}."),
            Note("In the folder leak: two networks, one of which reads a mark, and how to tell."),
        ],
    )
    write_html(page, output / "index.html")
    story = tell_stories(output / "leak", say, tell)
    tell(f"\nOpen {output / 'index.html'}; {len(shown.grids)} layers of each photo lie beside it.")
    tell(f"Open {story} for two networks of which one reads a mark.")
