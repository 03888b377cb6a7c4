"""The images that excite a channel most and least, and where in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State
from layerscope.statistics.exemplar_loops import join, let_in

_ENDS = {"top": np.float32(1), "bottom": np.float32(-1)}
_KEYS = ("score", "image", "row", "column")
NOBODY = -1


@dataclass(frozen=True)
class Exemplars:
    """For each channel the images with the highest and the lowest maximum.

    Results, each of shape (most, C), best first, for ``top`` and ``bottom``: ``top_score`` the
    maximum of the map, ``top_image`` the place of the image in the order of all images, `NOBODY`
    where there were fewer images, ``top_row`` and ``top_column`` where in the map the maximum lies
    (the first pixel that holds it). Equal scores are ordered by the place of the image. Maps that
    are not finite do not take part.

    Attributes:
        most: how many images at each end.
    """

    most: int = 9
    name: str = "exemplars"

    def empty(self, shape: tuple[int, int, int]) -> State:
        """Nobody at any place."""
        state: State = {}
        for end in _ENDS:
            size = (self.most, shape[2])
            state[f"{end}_score"] = np.full(size, np.nan, np.float32)
            for key in ("image", "row", "column"):
                state[f"{end}_{key}"] = np.full(size, NOBODY, np.int64)
        return state

    def update(self, state: State, batch: MapBatch) -> State:
        """Let the images of a batch in where they come before those that are there."""
        values = np.ascontiguousarray(batch.values, np.float32).view()
        values.flags.writeable = False  # one type, one compilation
        score = batch.sums.maximum  # NaN where the map is not finite
        for end, sign in _ENDS.items():
            row = batch.sums.row_of_maximum
            let_in(values, batch.positions, score, row, sign, _lists(state, end))
        return state

    def merge(self, one: State, other: State) -> State:
        """Let those of the other in."""
        merged = {key: values.copy() for key, values in one.items()}
        for end, sign in _ENDS.items():
            join(_lists(other, end), sign, _lists(merged, end))
        return merged

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The lists as they are."""
        return {key: values.copy() for key, values in state.items()}


def _lists(state: State, end: str) -> tuple[NDArray[Any], ...]:
    return tuple(state[f"{end}_{key}"] for key in _KEYS)
