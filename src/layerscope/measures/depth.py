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


def seen_by(
    layer: Layer, row: int, column: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of the image that one pixel of a map sees, for cutting it out.

    Padding is taken to be even on all sides, as it nearly is, so that a map covers the image.

    Args:
        layer: the layer of the map.
        row: of the pixel.
        column: of the pixel.
        size: height and width of the map.

    Returns:
        x0, y0, x1, y1 as shares of the image, 0 to 1, origin top left; the whole image where the
        receptive field is not known.
    """
    if layer.receptive_field is None or not layer.stride:
        return 0.0, 0.0, 1.0, 1.0
    height, width = size
    half = layer.receptive_field / 2
    tall, wide = half / (layer.stride * height), half / (layer.stride * width)
    x, y = (column + 0.5) / width, (row + 0.5) / height
    return max(0.0, x - wide), max(0.0, y - tall), min(1.0, x + wide), min(1.0, y + tall)
