"""From numbers to colours, with the scale written down.

A value becomes one of 256 codes: an even ramp, and four codes that no number on the scale can
have (below the scale, above it, not finite, flat). So nothing out of the ordinary looks ordinary.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.measures.vitality import flat
from layerscope.vocabulary import Floats

Bytes = NDArray[np.uint8]
ScaleKind = Literal["map", "layer", "fixed"]

STEPS = 252
BELOW, ABOVE, NON_FINITE, FLAT = 252, 253, 254, 255

NON_FINITE_RGB = (255, 0, 255)
FLAT_RGB = (205, 205, 205)


@dataclass(frozen=True, slots=True)
class ColourScale:
    """How numbers become colours.

    Attributes:
        kind: one range per ``map``, one for the whole ``layer``, or ``fixed`` by the caller.
        low: number at the lower end of the ramp.
        high: number at the upper end; equal to ``low`` when there is nothing to stretch.
        diverging: True when 0 lies in the middle of the ramp and the sign is the colour.
        clipped: share of the finite cells outside the range, 0 to 1.
        non_finite: number of cells that are NaN or infinite.
    """

    kind: ScaleKind
    low: float
    high: float
    diverging: bool = False
    clipped: float = 0.0
    non_finite: int = 0

    @property
    def palette(self) -> str:
        """Name of the ramp of colours, a key of `PALETTES`."""
        return "blue-red" if self.diverging else "viridis"


def scale_of(
    values: Floats, kind: ScaleKind = "map", signed: bool = False, robust: float = 0.0
) -> ColourScale:
    """Return the scale that shows these values.

    Args:
        values: any shape; cells that are not finite do not count.
        kind: what the values are, recorded in the scale.
        signed: the sign means something: the scale then diverges around 0, from -m to m, also
            where all values lie on one side, so that a colour has one meaning in a layer.
        robust: per cent of the cells left out at the ends (at the upper end only, for values
            that are not signed), so that few outliers do not darken the rest; 0 to 49.
    """
    finite = values[np.isfinite(values)]
    bad = int(values.size - finite.size)
    if not finite.size:
        return ColourScale(kind, 0.0, 0.0, non_finite=bad)
    low, high = float(finite.min()), float(finite.max())
    if flat(np.array(low), np.array(high)):
        return ColourScale(kind, low, low, non_finite=bad)
    diverging = signed
    if robust:
        low, high = _without_outliers(finite, low, high, robust, diverging)
    if diverging:
        low, high = -max(-low, high), max(-low, high)
    outside = np.count_nonzero((finite < low) | (finite > high)) if robust else 0
    return ColourScale(kind, low, high, diverging, outside / finite.size, bad)


def fixed_scale(values: Floats, low: float, high: float, diverging: bool = False) -> ColourScale:
    """Return a scale chosen by the caller, with what it clips of these values.

    Raises:
        InputError: the range is empty, or is not symmetric although it diverges.
    """
    if not low < high or (diverging and low != -high):
        raise InputError(
            "A fixed scale needs low < high, and low = -high when it diverges; "
            f"got {low:g} to {high:g}."
        )
    finite = values[np.isfinite(values)]
    outside = np.count_nonzero((finite < low) | (finite > high))
    share = outside / finite.size if finite.size else 0.0
    return ColourScale("fixed", low, high, diverging, share, int(values.size - finite.size))


def codes(values: Floats, scale: ColourScale) -> Bytes:
    """Position of each value on the ramp, 0 to 251, or one of the four special codes."""
    if scale.low == scale.high:
        return np.where(np.isfinite(values), np.uint8(FLAT), np.uint8(NON_FINITE))
    # float64 only where float32 could overflow: the range is a difference of two float32
    reach = np.float64(scale.high) - scale.low
    kind = np.dtype(np.float64 if reach > 1e37 or reach < 1e-30 else np.float32)
    steps = values.astype(kind)
    finite = np.isfinite(steps)
    odd = not finite.all()
    if odd:
        steps[~finite] = scale.low
    with np.errstate(over="ignore"):
        np.subtract(steps, kind.type(scale.low), out=steps)
        np.multiply(steps, kind.type(STEPS / reach), out=steps)
    result: Bytes = np.clip(steps, 0, STEPS - 1, out=steps).astype(np.uint8)
    if scale.clipped:
        result[values < scale.low] = BELOW
        result[values > scale.high] = ABOVE
    if odd:
        result[~finite] = NON_FINITE
    return result


def colourise(values: Floats, scale: ColourScale) -> Bytes:
    """RGB of each value: uint8 of the shape of values, and 3."""
    return np.asarray(PALETTES[scale.palette].take(codes(values, scale), axis=0))


def averaged(values: Floats, block: int) -> Floats:
    """Means of block x block cells; cells that are not finite spoil theirs, and so stay seen."""
    if block == 1:
        return values
    height, width = (-(-side // block) * block for side in values.shape)
    missing = ((0, height - values.shape[0]), (0, width - values.shape[1]))
    whole = np.pad(values, missing, mode="edge")
    with np.errstate(invalid="ignore"):
        blocks = whole.reshape(height // block, block, width // block, block)
        return np.asarray(blocks.mean((1, 3), dtype=np.float32))


def _without_outliers(
    finite: Floats, low: float, high: float, robust: float, diverging: bool
) -> tuple[float, float]:
    """Percentiles, unless nearly all cells are equal: then the few others are what matters."""
    lower, upper = np.percentile(finite, [robust if diverging else 0, 100 - robust])
    return (float(lower), float(upper)) if lower < upper else (low, high)


def _ramp(anchors: str, below: str, above: str) -> Bytes:
    colours = np.array([list(bytes.fromhex(anchor)) for anchor in anchors.split()], float)
    at = np.linspace(0, len(colours) - 1, STEPS)
    ramp = [np.interp(at, range(len(colours)), colours[:, channel]) for channel in range(3)]
    special = [list(bytes.fromhex(below)), list(bytes.fromhex(above)), NON_FINITE_RGB, FLAT_RGB]
    return np.concatenate([np.stack(ramp, 1).round(), special]).astype(np.uint8)


PALETTES = {
    "viridis": _ramp(
        "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725", "000000", "ffffff"
    ),
    "blue-red": _ramp("2166ac 4393c3 92c5de f7f7f7 f4a582 d6604d b2182b", "000000", "000000"),
}
"""Ramps of 252 colours with lightness even (viridis), or even on both sides of 0 (blue-red), both
safe for colour-blind readers; then the colours of the four special codes."""


def photo(pixels: NDArray[np.generic]) -> Bytes:
    """Return an image as RGB to look at: uint8 (H, W, 3).

    Args:
        pixels: (H, W) or (H, W, C). uint8, or numbers within 0..1 or 0..255, keep their
            brightness; any other range is stretched. Three or four channels are taken as RGB(A),
            any other number is averaged to grey.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] not in (1, 3, 4):
        pixels = pixels.mean(-1, keepdims=True)
    colours = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels[..., :3]
    if colours.dtype == np.uint8:
        return np.asarray(colours)
    numbers = np.nan_to_num(colours.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = numbers.min(), numbers.max()
    if low < 0 or high > 255:
        numbers = (numbers - low) / max(high - low, 1e-12)
        high = 1.0
    return np.asarray((numbers * (255 if high <= 1 else 1)).round().astype(np.uint8))
