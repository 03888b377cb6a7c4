"""How the channels of a layer vary together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State

PENDING = 512
"""Those of two shards of images: a shard makes no matrix, and few images soon make one, so that
many images need little more memory."""


@dataclass(frozen=True)
class Cells:
    """Covariance of the channels over the cells of a 2 x 2 pooling of each sampled image.

    Results: ``covariance`` (C, C) and ``cells``, their number, as an array of shape (). Images
    with a map that is not finite in any channel are left out.

    Attributes:
        pending: cells are kept as they are up to this number and only then multiplied out, since
            few of them need less room, and are joined faster, than a matrix of C x C. By default
            `PENDING`.
    """

    pending: int | None = None
    name: str = "cells"

    def empty(self, shape: tuple[int, int, int]) -> State:
        """No cell yet, and no matrix."""
        channels = shape[2]
        return {
            "rows": np.zeros((0, channels), np.float32),
            "count": np.zeros((), np.int64),
            "sum": np.zeros(channels),
            "cross": np.zeros((0, 0)),
        }

    def update(self, state: State, batch: MapBatch) -> State:
        """Keep the cells of the sampled images."""
        height, width = batch.values.shape[1:3]
        # Maps of one row or column have no upper or left quarters.
        whole = batch.sampled & batch.sums.finite.all(1)
        quarters = [i for i in range(4) if (i > 1 or height > 1) and (i % 2 or width > 1)]
        rows = batch.sums.cells[whole][:, quarters].reshape(-1, batch.values.shape[3])
        return self._folded({**state, "rows": np.concatenate([state["rows"], rows])})

    def merge(self, one: State, other: State) -> State:
        """Join the cells that are pending, and add the matrices."""
        empty = [state for state in (one, other) if state["cross"].size == 0]
        cross = (
            one["cross"] + other["cross"]
            if not empty
            else max(one["cross"], other["cross"], key=np.size)
        )
        return self._folded(
            {
                "rows": np.concatenate([one["rows"], other["rows"]]),
                "count": one["count"] + other["count"],
                "sum": one["sum"] + other["sum"],
                "cross": cross,
            }
        )

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The covariance, NaN where no cell was seen."""
        whole = self._folded(state, always=True)
        count = int(whole["count"])
        if count == 0:
            channels = len(whole["sum"])
            return {"covariance": np.full((channels, channels), np.nan), "cells": np.array(0)}
        mean = whole["sum"] / count
        return {
            "covariance": whole["cross"] / count - np.outer(mean, mean),
            "cells": whole["count"].copy(),
        }

    def _folded(self, state: State, always: bool = False) -> State:
        rows = state["rows"]
        if len(rows) <= (self.pending or PENDING) and not (always and len(rows)):
            return state
        # float64 sums of float32 values around 0: 16 digits bear any offset that 7 digits bore.
        exact = rows.astype(np.float64)
        cross = exact.T @ exact
        if state["cross"].size:
            cross += state["cross"]
        return {
            "rows": rows[:0].copy(),
            "count": state["count"] + len(rows),
            "sum": state["sum"] + exact.sum(0),
            "cross": cross,
        }
