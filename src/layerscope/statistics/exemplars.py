"""The images that excite a channel most and least, and where in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State
from layerscope.statistics.exemplar_loops import let_in
from layerscope.vocabulary import Floats

_ENDS = {"top": np.float32(1), "bottom": np.float32(-1)}
_KEYS = ("score", "image", "row", "column")
_NO_MAPS = np.empty((0, 1, 1, 1), np.float32)
_Lists = tuple[NDArray[Any], ...]
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

    def after(self, state: State) -> State:
        """Nobody, and the last of those that are there, whom the images that follow must outdo."""
        begun = self.empty((0, 0, state["top_score"].shape[1]))
        return begun | {f"{end}_bar": state[f"{end}_score"][-1].copy() for end in _ENDS}

    def update(self, state: State, batch: MapBatch) -> State:
        """Let the images of a batch in where they come before those that are there."""
        sums = batch.sums
        row = sums.row_of_maximum.astype(np.int64)
        values = np.ascontiguousarray(batch.values, np.float32)
        place = np.repeat(batch.positions[:, None], row.shape[1], 1)
        for end, sign in _ENDS.items():
            score = sums.maximum  # NaN where the map is not finite
            if f"{end}_bar" in state:
                outdone = sign * score <= sign * state[f"{end}_bar"]
                score = np.where(outdone, np.float32(np.nan), score)
            _let_in((score, place, row, row), values, sign, _lists(state, end))
        return state

    def merge(self, one: State, other: State) -> State:
        """Choose again among both."""
        merged = {key: values.copy() for key, values in one.items()}
        for end, sign in _ENDS.items():
            _let_in(_lists(other, end), _NO_MAPS, sign, _lists(merged, end))
        return merged

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The lists as they are."""
        return {key: values.copy() for key, values in state.items()}


def _lists(state: State, end: str) -> _Lists:
    return tuple(state[f"{end}_{key}"] for key in _KEYS)


def _let_in(new: _Lists, values: Floats, sign: np.float32, lists: _Lists) -> None:
    seen = values.view()
    seen.flags.writeable = False  # one type, one compilation
    let_in(*new, seen, sign, *lists)
