"""Whether channels are alive: what every image says, cheap enough for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State

_COUNTS = ("images", "finite", "fired", "pixels", "positive", "saturated")


@dataclass(frozen=True)
class Vitality:
    """Firing, range and saturation of each channel over all images.

    Of its results, each of shape (C,): ``images`` counts the images, ``finite`` those without NaN
    or infinity in the map, ``fired`` the finite ones with a pixel above 0, ``pixels`` the pixels
    of the finite ones, ``positive`` and ``saturated`` the pixels among them that are above 0 and
    near the bound of the activation; ``minimum`` and ``maximum`` are those of the finite images.
    """

    name: str = "vitality"

    def empty(self, shape: tuple[int, int, int]) -> State:
        """No image yet: counts of 0 and an empty range."""
        channels = shape[2]
        counts = {key: np.zeros(channels, np.int64) for key in _COUNTS}
        low = np.full(channels, np.inf, np.float32)
        return {**counts, "minimum": low, "maximum": -low}

    def update(self, state: State, batch: MapBatch) -> State:
        """Count the images of a batch."""
        sums, finite = batch.sums, batch.sums.finite
        pixels = batch.values.shape[1] * batch.values.shape[2]
        state["images"] += len(finite)
        state["finite"] += finite.sum(0)
        state["fired"] += (finite & (sums.maximum > 0)).sum(0)
        state["pixels"] += finite.sum(0) * pixels
        state["positive"] += sums.positive.sum(0)
        state["saturated"] += sums.saturated.sum(0)
        # fmin and fmax pass over the NaN of images that are not finite.
        for key, ends, pick in (
            ("minimum", sums.minimum, np.fmin),
            ("maximum", sums.maximum, np.fmax),
        ):
            for row in ends:
                pick(state[key], row, out=state[key])
        return state

    def merge(self, one: State, other: State) -> State:
        """Counts add up."""
        merged = {key: one[key] + other[key] for key in _COUNTS}
        merged["minimum"] = np.fmin(one["minimum"], other["minimum"])
        merged["maximum"] = np.fmax(one["maximum"], other["maximum"])
        return merged

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """Counts, and the range as NaN where no image was finite."""
        seen = state["finite"] > 0
        ends = {key: np.where(seen, state[key], np.nan) for key in ("minimum", "maximum")}
        return {**{key: state[key].copy() for key in _COUNTS}, **ends}
