"""Copies of one patch laid over each other, and the box of what they have in common."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from layerscope.vocabulary import Floats

_LEAST = 0.8
"""Standard deviations that the aligned mean of a pixel of the mark exceeds (science: chosen on
planted marks)."""
_SURE = 3.5
"""And standard errors, since the mean of few copies wanders."""
_RIGID = 0.5
"""And this share of what the pixels of the patch itself reach, up to `_CAP`: strokes of a centred
object vary more than a pasted mark beside them."""
_CAP = 6.0
_SMALLEST = 3
"""Pixels, the side of the smallest box."""


class Box(NamedTuple):
    """A box relative to the upper left of the patch that it grew from."""

    y: int
    x: int
    height: int
    width: int


def aligned(images: Floats, places: NDArray[Any], size: tuple[int, int], margin: int = 0) -> Floats:
    """The windows at some places, one per image.

    Args:
        images: (N, H, W, C).
        places: (N, 2), row and column, maybe beyond the image.
        size: height and width of a window.
        margin: pixels around it; NaN beyond the image.

    Returns:
        float32 (N, height + 2 margin, width + 2 margin, C).
    """
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    past = max(0, int(-places.min()), int((places + size - images.shape[1:3]).max()))
    pad = margin + past
    padded = np.pad(
        np.asarray(images, np.float32),
        ((0, 0), (pad, pad), (pad, pad), (0, 0)),
        constant_values=np.nan,
    )
    corners = zip(padded, places + past, strict=True)
    return np.stack([one[y : y + height, x : x + width] for one, (y, x) in corners])


def mean_of_box(images: Floats, places: NDArray[Any], size: tuple[int, int], box: Box) -> Floats:
    """Mean over images of a box near a patch, (box.height, box.width, C).

    Pixels beyond an image are left out; where no image has the pixel it is 0.

    Args:
        images: (N, H, W, C).
        places: (N, 2), row and column of the patch in each.
        size: height and width of the patch.
        box: relative to the patch.
    """
    ends = (box.y + box.height - size[0], box.x + box.width - size[1])
    margin = max(0, -box.y, -box.x, *ends)
    y, x = margin + box.y, margin + box.x
    stack = aligned(images, places, size, margin)[:, y : y + box.height, x : x + box.width]
    return np.asarray(_moments(stack)[0], np.float32)


def grown(
    fine: Floats, raw: Floats, places: NDArray[Any], size: tuple[int, int], faint: float
) -> Box | None:
    """The box around a patch that the images share.

    It grows from the patch over pixels, neighbours or one apart, whose high-passed mean exceeds
    .8 of their standard deviation over the copies, with more demanded of few copies and beside a
    rigid patch. The high-passed rim around the mark is given back: its raw mean is that of the
    surroundings.

    Args:
        fine: high-passed images that have the patch, (N, H, W, C).
        raw: the same images.
        places: (N, 2), row and column of the patch in each.
        size: its height and width.
        faint: contrast that means nothing.

    Returns:
        ``None`` where nothing but single pixels is shared, or the box would be the whole image.
    """
    height, width = fine.shape[1:3]
    margin = min(height, width) // 3
    mean, spread, count = _moments(aligned(fine, places, size, margin))
    core = np.s_[margin : margin + size[0], margin : margin + size[1]]
    strength = np.abs(mean) / np.maximum(spread, 1e-3 * faint)
    strength[np.abs(mean) <= faint] = 0
    strength = np.where(count >= max(3, len(fine) / 2), strength.max(-1), 0)
    need = np.maximum(_LEAST, _SURE / np.sqrt(np.maximum(count, 1)))
    hit = strength > need
    if not hit[core].any():
        return None
    rigid = float(np.median(strength[core][hit[core]]))
    hit &= strength > _RIGID * min(rigid, _CAP)
    parts, _ = label(binary_dilation(hit, np.ones((3, 3))))
    own = hit & np.isin(parts, np.unique(parts[core][hit[core]]))
    marked = own & _differs(aligned(raw, places, size, margin), own, faint)
    return _boxed(marked if marked.sum() >= own.sum() / 4 else own, margin, (height, width))


def _moments(stack: Floats) -> tuple[Any, Any, Any]:
    """Mean and standard deviation over the copies, (h, w, C), and how many there are, (h, w)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no copy has
        mean, spread = np.nanmean(stack, 0), np.nanstd(stack, 0)
    return np.nan_to_num(mean), np.nan_to_num(spread), np.isfinite(stack[..., 0]).sum(0)


def _differs(stack: Floats, own: NDArray[np.bool_], faint: float) -> NDArray[np.bool_]:
    """Where the raw mean is not that of the surroundings, (h, w)."""
    mean, spread, count = _moments(stack)
    around = ~binary_dilation(own, np.ones((5, 5))) & (count > 0)
    if not around.any():
        return np.ones_like(own)
    usual = np.median(mean[around], 0)
    error = 3 * spread / np.sqrt(np.maximum(count, 1))[..., None]
    return np.asarray((np.abs(mean - usual) > np.maximum(error, faint)).any(-1))


def _boxed(hit: NDArray[np.bool_], margin: int, most: tuple[int, int]) -> Box | None:
    rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
    if not len(rows):
        return None
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if min(height, width) < _SMALLEST or height >= most[0] or width >= most[1]:
        return None
    return Box(int(rows[0]) - margin, int(columns[0]) - margin, height, width)
