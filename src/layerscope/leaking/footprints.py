"""Channels that one class excites, always at one small place: there may be a mark."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from layerscope.images.region import Region
from layerscope.measures.depth import seen_by
from layerscope.profile import Profile
from layerscope.vocabulary import Layer

_OF_ONE = 0.85
"""Share of the images that excite a channel most which are of one class."""
_SPREAD = 0.1
"""Of the image, between the quartiles of the places, along either axis."""
_LARGEST = 1 / 3
"""Side of what a pixel of the map sees, as a share of the image."""
MOST = 3
"""Places for a class."""


def footprints(profile: Profile, layers: Iterable[Layer]) -> dict[int, list[Region]]:
    """Where channels that one class excites most look, by class; nominations and no verdicts.

    Args:
        profile: knows what excites each channel most, and where in the image.
        layers: its layers; those whose pixels see much of an image say nothing here.

    Returns:
        Class index -> x0, y0, x1, y1 as shares of the image, those of the most telling channels
        first, `MOST` at most.
    """
    labels = profile.images["label"].to_numpy(np.int64)
    found: dict[int, list[tuple[float, Region]]] = {}
    for layer in layers:
        height, width = layer.shape[:2]
        lists = profile.exemplars.get(layer.path)
        if lists is None or not height or not width:
            continue
        x0, y0, x1, y1 = seen_by(layer, height // 2, width // 2, (height, width))
        if max(x1 - x0, y1 - y0) > _LARGEST:
            continue
        for images, rows, columns in zip(
            lists["top_image"].T, lists["top_row"].T, lists["top_column"].T, strict=True
        ):
            known = images >= 0
            told = _told(labels[images[known]], rows[known] / height, columns[known] / width)
            if told is not None:
                label, share = told
                y, x = int(np.median(rows[known])), int(np.median(columns[known]))
                area = seen_by(layer, y, x, (height, width))
                found.setdefault(label, []).append((share, area))
    return {label: _first(places) for label, places in found.items()}


def _told(
    labels: NDArray[np.int64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[int, float] | None:
    """The class of most of the images and its share, where they agree on the place."""
    if len(labels) < 4:
        return None
    names, counts = np.unique(labels, return_counts=True)
    label, share = int(names[counts.argmax()]), float(counts.max() / len(labels))
    spread = max(float(np.subtract(*np.quantile(at, (0.75, 0.25)))) for at in (rows, columns))
    return (label, share) if label >= 0 and share >= _OF_ONE and spread <= _SPREAD else None


def _first(places: list[tuple[float, Region]]) -> list[Region]:
    """The best few, none with its middle in one before it."""
    kept: list[Region] = []
    for _, area in sorted(places, key=lambda one: -one[0]):
        x, y = (area[0] + area[2]) / 2, (area[1] + area[3]) / 2
        if len(kept) < MOST and not any(
            one[0] <= x <= one[2] and one[1] <= y <= one[3] for one in kept
        ):
            kept.append(area)
    return kept
