"""How many images one pass may hold."""

from collections.abc import Sequence

import numpy as np

from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel

_PASS_BYTES = 512 * 2**20
_FREE_SIDE = 224


def bytes_of(traced: TracedModel, tap: Tap) -> int:
    """Bytes of one image's maps at a tap; a free side counts as 224."""
    shape = traced.tensor(tap.tensor).shape[1:]
    return 4 * int(np.prod([side or _FREE_SIDE for side in shape]))


def batch_size(traced: TracedModel, taps: Sequence[Tap], most: int) -> int:
    """Images in one pass whose maps at some taps fit comfortably into memory, at least 1."""
    each = sum(bytes_of(traced, tap) for tap in taps if tap.tensor)
    return max(1, min(most, _PASS_BYTES // max(1, each)))
