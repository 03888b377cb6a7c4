"""How far from the pixels a layer is: which measures may speak there depends on it."""

from layerscope.vocabulary import Layer, Regime


def regime(layer: Layer, effective: float | None = None) -> Regime | None:
    """The regime of a layer; ``None`` where it is not known.

    Early: maps of 16 pixels and more that see less than an eighth of the image. Late: maps of 7
    pixels and less, or that see at least half of it.

    Args:
        layer: its row.
        effective: side of the effective receptive field in input pixels; the theoretical one
            counts until it is known.
    """
    sides = [side for side in layer.shape[:2] if side is not None]
    if not sides:
        return None
    field = layer.receptive_field if effective is None else effective
    if max(sides) <= 7 or field is None or layer.stride is None:
        return "late" if max(sides) <= 7 else None
    image = layer.stride * max(sides)
    if field >= image / 2:
        return "late"
    return "early" if min(sides) >= 16 and field < image / 8 else "middle"
