"""Pictures that are among both training and test images."""

from collections.abc import Callable

import numpy as np

from layerscope.audit.leakage import Repeated
from layerscope.images import Source
from layerscope.images.resize import resize
from layerscope.leakage.duplicates import find_duplicates
from layerscope.run.crops import pixels_at
from layerscope.run.local import Progress
from layerscope.vocabulary import Floats

MOST = 10_000
"""Images of either set that are compared, an even spread."""
_SIDE = 48
"""Pixels of a side that they are compared at."""


def repeated(
    test: Source, train: Source, tell: Callable[[Progress], None] = lambda _: None
) -> tuple[Repeated, str]:
    """Near-duplicates across the two sets.

    Args:
        test: the images of the audit.
        train: the images that the model learned from.
        tell: hears how far it is.

    Returns:
        The groups that lie in both, and which images were not compared, in words; empty if all
        were.
    """
    names, small, parts = list[str](), list[Floats](), list[str]()
    for part, source in (("test", test), ("train", train)):
        every, ids = source.length or 0, source.ids or ()
        places = np.linspace(0, every - 1, min(MOST, every)).round().astype(int).tolist()
        for done, (at, pixels) in enumerate(pixels_at(source, places)):
            grey = pixels.mean(-1, keepdims=True)
            small.append(resize(grey, (_SIDE, _SIDE)))
            names.append(ids[at])
            parts.append(part)
            if done % 256 == 0:
                tell(Progress(f"copies in {part}", done, len(places)))
    found = find_duplicates(np.stack(small), parts=np.array(parts))
    groups = tuple(
        tuple(f"{parts[at]}: {names[at]}" for at in one.images)
        for one in found.clusters
        if one.across_parts
    )
    most = max(test.length or 0, train.length or 0)
    left = f"Near-duplicates were sought among {MOST:,} images of each set at most."
    return Repeated("splits", groups), left if most > MOST else ""
