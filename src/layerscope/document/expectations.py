"""What a person should expect to see at a depth, so that nobody looks for objects in layer one."""

from typing import Literal

from layerscope.vocabulary import Layer

Regime = Literal["early", "middle", "late"]

EXPECTED: dict[Regime, str] = {
    "early": "What to expect here, early in the network: edges, colours and fine textures, where "
    "the photo has them. These maps look like filtered copies of the photo, and they should.",
    "middle": "What to expect here, in the middle of the network: textures and parts of things. "
    "The photo can still be made out in all maps together, less and less in a single one.",
    "late": "What to expect here, late in the network: a few coarse spots that answer to a whole "
    "part of the image. They do not look like the photo, and that alone is no fault.",
}


def regime(layer: Layer) -> Regime | None:
    """How far from the pixels a layer is; ``None`` where it is not known.

    Early: maps of 16 pixels and more that see less than an eighth of the image. Late: maps of 7
    pixels and less, or that see at least half of it (by the theoretical receptive field).
    """
    sides = [side for side in layer.shape[:2] if side is not None]
    if not sides:
        return None
    if max(sides) <= 7 or layer.receptive_field is None or layer.stride is None:
        return "late" if max(sides) <= 7 else None
    image = layer.stride * max(sides)
    if layer.receptive_field >= image / 2:
        return "late"
    return "early" if min(sides) >= 16 and layer.receptive_field < image / 8 else "middle"
