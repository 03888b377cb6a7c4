"""What a statistic is: something that one pass over images accumulates for the maps of one layer.

A statistic is a value with parameters. Its state is a dictionary of arrays, so that it can be
written to disk, read back and go on; two states of different images merge into the state of all.
`layerscope.testing.laws` holds the laws that every statistic obeys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.kernel import MapSums, map_sums
from layerscope.vocabulary import Floats

State = dict[str, NDArray[Any]]
"""Arrays by name. Only the statistic that made them knows their meaning."""


@dataclass(frozen=True)
class MapBatch:
    """The maps of one layer for some images.

    Attributes:
        values: float32 (N, H, W, C), never written to.
        positions: int64 (N,), the place of each image in the order of all images. It breaks ties,
            so that results do not depend on how the images were split.
        sampled: bool (N,), the images that the per-pixel statistics see.
        ceiling: the bound of the activation that made the maps (6 for ReLU6, 1 for tanh and the
            sigmoids), infinite where there is none.
        threads: most that work on the sums; default as many as there are cores.
        sums: over the pixels of each map, computed once for all statistics.
    """

    values: Floats
    positions: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    ceiling: float = float("inf")
    threads: int | None = None
    sums: MapSums = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Not a cached_property: before Python 3.12 all batches would wait for one lock.
        sums = map_sums(self.values, self.sampled, self.ceiling, self.threads)
        object.__setattr__(self, "sums", sums)


class Statistic(Protocol):
    """Sums over images for every channel of one layer."""

    @property
    def name(self) -> str:
        """A short unique name; states are stored under it."""

    def empty(self, shape: tuple[int, int, int]) -> State:
        """The state before any image.

        Args:
            shape: height, width and channels of the maps.
        """

    def update(self, state: State, batch: MapBatch) -> State:
        """The state with the images of a batch added.

        The state is given up: its arrays may be written to and returned. The batch stays as it is.
        """

    def merge(self, one: State, other: State) -> State:
        """The state of the images of both, which stay as they are.

        Equal within rounding however the images were split, and to the last bit for the same split
        and order.
        """

    def finish(self, state: State) -> Mapping[str, NDArray[Any]]:
        """What the state says about each channel; NaN where no image said anything."""


@runtime_checkable
class Selective(Protocol):
    """A statistic that keeps some of what it sees, and need not keep what others outdo."""

    def after(self, state: State) -> State:
        """The empty state for images that follow those of a state, and will be merged into it.

        Merged into another state its result means nothing.
        """
