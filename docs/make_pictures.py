"""Make the pictures of the README anew: ``python docs/make_pictures.py``."""

from pathlib import Path

from layerscope import Scope, zoo

HERE = Path(__file__).parent / "pictures"
LAYERS = [
    "stem_conv",
    "block2b_expand_conv",
    "block3b_expand_conv",
    "block4b_expand_conv",
    "block5b_expand_conv",
    "top_conv",
]


def main() -> None:
    """Write the overview, one grid and one heatmap."""
    scope = Scope(zoo.efficientnet_lite0(), zoo.PREPROCESSING, classes="imagenet", resize="crop")
    scope.show(zoo.photo_path("chelsea"), LAYERS).save(HERE / "overview.png")
    scope.show(zoo.photo_path("coffee"), "block2a_expand_conv").save(HERE / "layer.png")
    photos = [zoo.photo_path(name) for name in zoo.PHOTOS]
    heat = scope.focus(photos)
    heat[zoo.PHOTOS.index("chelsea")].save(HERE / "focus.png")


if __name__ == "__main__":
    main()
