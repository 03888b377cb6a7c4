"""The images that excite a channel most and least, and where in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State

_ENDS = ("top", "bottom")
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
        score = np.where(batch.sums.finite, batch.sums.maximum, np.nan).astype(np.float32)
        image = np.broadcast_to(batch.positions[:, None], score.shape)
        for end in _ENDS:
            last, holder = state[f"{end}_score"][-1], state[f"{end}_image"][-1]
            with np.errstate(invalid="ignore"):
                ahead = score > last if end == "top" else score < last
                # Ties are common: maps that are silent, or at the bound of their activation.
                ahead |= (score == last) & (image < holder)
            enters = np.isfinite(score) & (ahead | np.isnan(last))
            channels = np.flatnonzero(enters.any(0))
            if len(channels) == 0:
                continue
            kept = {
                key: state[f"{end}_{key}"][:, channels]
                for key in ("score", "image", "row", "column")
            }
            inside = enters[:, channels]
            row, column = self._where(batch, inside, channels)
            new = {
                "score": np.where(inside, score[:, channels], np.float32(np.nan)),
                "image": np.where(inside, image[:, channels], NOBODY),
                "row": row,
                "column": column,
            }
            for key, values in _first(kept, new, self.most, end).items():
                state[f"{end}_{key}"][:, channels] = values
        return state

    def merge(self, one: State, other: State) -> State:
        """Choose again among both."""
        merged: State = {}
        for end in _ENDS:
            keys = ("score", "image", "row", "column")
            both = [{key: state[f"{end}_{key}"] for key in keys} for state in (one, other)]
            chosen = _first(both[0], both[1], self.most, end)
            merged |= {f"{end}_{key}": values for key, values in chosen.items()}
        return merged

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The lists as they are."""
        return {key: values.copy() for key, values in state.items()}

    def _where(
        self, batch: MapBatch, inside: NDArray[np.bool_], channels: NDArray[np.intp]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the maximum of the maps that enter; only these are looked at again."""
        image, at = np.nonzero(inside)
        row = batch.sums.row_of_maximum[image, channels[at]]
        column = batch.values[image, row, :, channels[at]].argmax(1)
        rows, columns = (np.full(inside.shape, NOBODY, np.int64) for _ in range(2))
        rows[inside], columns[inside] = row, column
        return rows, columns


def _first(one: State, other: State, most: int, end: str) -> State:
    """The first of both by score, then by the place of the image; those without a score last."""
    # Channels first: their lists then lie in one piece of memory, and sort several times faster.
    joined = {key: np.concatenate([one[key], other[key]]).T.copy() for key in one}
    by_place = np.argsort(joined["image"], axis=1, kind="stable")
    score = np.take_along_axis(joined["score"], by_place, 1)
    # NaN sorts last on its own; with the sign changed it stays NaN.
    order = np.argsort(-score if end == "top" else score, axis=1, kind="stable")[:, :most]
    order = np.take_along_axis(by_place, order, 1)
    return {key: np.take_along_axis(values, order, 1).T for key, values in joined.items()}
