"""Mean and variance of each channel over all pixels, and its mean map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.contract import MapBatch, State


@dataclass(frozen=True)
class Moments:
    """Mean and variance over the pixels of all sampled images in which the map is finite.

    Results of shape (C,): ``count`` of pixels, ``mean``, ``variance`` (of the population).
    Batches are joined by the formula of Chan, Golub and LeVeque (1979), which does not cancel.
    """

    name: str = "moments"

    def empty(self, shape: tuple[int, int, int]) -> State:
        """No pixel yet."""
        channels = shape[2]
        return {
            "count": np.zeros(channels, np.int64),
            "mean": np.zeros(channels),
            "m2": np.zeros(channels),
        }

    def update(self, state: State, batch: MapBatch) -> State:
        """Join the maps of the sampled images, each with its own mean."""
        pixels = batch.values.shape[1] * batch.values.shape[2]
        seen = batch.sums.finite & batch.sampled[:, None]
        images = seen.sum(0)
        with np.errstate(invalid="ignore"):
            mean = np.where(seen, batch.sums.mean, 0).sum(0) / np.maximum(images, 1)
            apart = np.where(seen, (batch.sums.mean - mean) ** 2, 0).sum(0) * pixels
            within = np.where(seen, batch.sums.m2, 0).sum(0)
        return self.merge(state, {"count": images * pixels, "mean": mean, "m2": within + apart})

    def merge(self, one: State, other: State) -> State:
        """Join two means and their squared deviations."""
        count = one["count"] + other["count"]
        share = other["count"] / np.maximum(count, 1)
        gap = other["mean"] - one["mean"]
        return {
            "count": count,
            "mean": one["mean"] + gap * share,
            "m2": one["m2"] + other["m2"] + gap**2 * share * one["count"],
        }

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """Mean and variance, NaN where no pixel was seen."""
        count = state["count"]
        known = np.where(count > 0, 1.0, np.nan)
        return {
            "count": count.copy(),
            "mean": state["mean"] * known,
            "variance": state["m2"] / np.maximum(count, 1) * known,
        }


@dataclass(frozen=True)
class Positions:
    """The mean map of each channel: what is there whatever the image shows.

    Results: ``mean`` (H, W, C) over the sampled images in which the map is finite, and their
    ``images`` (C,). A model for images of any size has no such mean; its state stays empty.
    """

    name: str = "positions"

    def empty(self, shape: tuple[int, int, int]) -> State:
        """No image yet."""
        return {
            "sum": np.zeros(shape),
            "pivot": np.zeros(shape[2]),
            "images": np.zeros(shape[2], np.int64),
        }

    def update(self, state: State, batch: MapBatch) -> State:
        """Add the sums over the sampled images of the batch."""
        sums = batch.sums
        state["sum"] += sums.position_sum
        state["pivot"] += sums.position_pivot
        state["images"] += sums.position_count
        return state

    def merge(self, one: State, other: State) -> State:
        """Sums add up."""
        return {key: one[key] + other[key] for key in one}

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """The mean map, NaN where no image was seen."""
        images = state["images"]
        known = np.where(images > 0, 1 / np.maximum(images, 1), np.nan)
        return {"mean": (state["sum"] + state["pivot"]) * known, "images": images.copy()}
