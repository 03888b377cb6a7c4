"""What was planted where, and the choice of channels to plant it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from layerscope.errors import InputError
from layerscope.testing.planted import surgery
from layerscope.vocabulary import Floats

Kind: TypeAlias = Literal[
    "dead", "constant", "saturated", "noisy", "blurred", "checkerboard", "positional",
    "reinitialised", "duplicated", "factors", "swapped", "jittered", "indicator",
]  # fmt: skip

Channels: TypeAlias = int | Sequence[int]
"""How many channels, drawn by the seed, or which."""


@dataclass(frozen=True)
class Planted:
    """A model with a known defect.

    Attributes:
        model: the model with the defect.
        layer: path of the layer that has it.
        channels: which channels of that layer, in increasing order.
        kind: what the defect is.
        strength: how much of it, in the unit of the function that planted it.
        truth: further facts about it, see that function.
    """

    model: keras.Model = field(repr=False)
    layer: str
    channels: tuple[int, ...]
    kind: Kind
    strength: float
    truth: Mapping[str, Any] = field(default_factory=dict)


def lively(model: keras.Model, layer: str, images: Floats, share: float = 0.9) -> tuple[int, ...]:
    """The channels whose map varies on at least a share of some images.

    Args:
        model: any model.
        layer: path of the layer.
        images: float32 (N, H, W, C), ready for the model.
        share: 0 to 1.
    """
    varies = np.ptp(surgery.maps_of(model, layer, images), (1, 2)) > 1e-6
    return tuple(np.flatnonzero(varies.mean(0) >= share).tolist())


def chosen_from(place: surgery.Site, channels: Channels, seed: int) -> tuple[int, ...]:
    """The channels in increasing order.

    Raises:
        InputError: a number or positions that the layer does not have.
    """
    width = place.row.shape[2] or 0
    if isinstance(channels, int):
        fits, found = 0 < channels <= width, []
        if fits:
            found = np.random.default_rng(seed).choice(width, channels, replace=False).tolist()
    else:
        found = [int(channel) for channel in channels]
        fits = bool(found) and len(set(found)) == len(found) and set(found) <= set(range(width))
    if not fits:
        raise InputError(
            f"'{place.row.path}' has {width} channels: give how many of them to spoil, or which, "
            f"each once; got {channels}."
        )
    return tuple(sorted(found))
