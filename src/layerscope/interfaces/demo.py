"""The demo: a real ImageNet network on real photos from installed packages."""

from collections.abc import Callable
from pathlib import Path

from layerscope import zoo
from layerscope.scope import Scope

PHOTOS = ("chelsea", "coffee", "camera", "rocket", "motorcycle", "astronaut")


def run(output: Path, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
    """Write an overview and one grid per layer for each photo, and tell the predictions.

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
        best = ", ".join(
            f"{label} {value:.2f}" for label, value in shown.overviews[0].predictions[:3]
        )
        tell(f"{name + ':':12} {best}")
    tell(f"\n{len(shown.grids)} layers of each photo are in {output}/; open overview.png first.")
