"""What stands beside the memorisation verdict and decides nothing: noise, layers, heatmaps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from layerscope.audit.figures import Interval, percent
from layerscope.audit.focus import Looks
from layerscope.focus.unrest import Unrest
from layerscope.measures.concentration import half_share
from layerscope.measures.intervals import wilson
from layerscope.measures.shift import Shift, activation_shift
from layerscope.vocabulary import Floats

Data = Literal["train", "test"]

NARROW = "A narrow focus alone is not evidence of overfitting."


@dataclass(frozen=True, slots=True)
class NoiseRow:
    """What noise does to the answers for one set of images.

    Attributes:
        data: which set.
        level: standard deviation of the noise as a share of the range of the pixels.
        images: how many were tried.
        flips: share of them for which another class is predicted, 0 to 1.
        ci95: its 95 % Wilson interval.
        steepness: median of `layerscope.focus.unrest.Unrest.steepness`; ``None`` where there is
            none.
    """

    data: Data
    level: float
    images: int
    flips: float
    ci95: Interval
    steepness: float | None


@dataclass(frozen=True, slots=True)
class ShiftRow:
    """How far a layer tells training from test images, see `layerscope.measures.shift.Shift`."""

    layer: str
    shift: Shift


@dataclass(frozen=True, slots=True)
class Concentration:
    """How narrow the heatmaps of the report are.

    Attributes:
        method: of the heatmaps.
        layer: path of their layer; empty for the image itself.
        images: heatmaps that show anything.
        median: of the share of the cells that holds half of what speaks for the answer, 0 to .5.
        lowest: the least of them.
        highest: the largest.
    """

    method: str
    layer: str
    images: int
    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        where = f"{self.method} at {self.layer}" if self.layer else self.method
        return (
            f"Half of what speaks for the answer lies on {percent(self.median)} of a heatmap "
            f"({where}; median of {self.images}, {percent(self.lowest)} to "
            f"{percent(self.highest)}). {NARROW}"
        )


@dataclass(frozen=True)
class Described:
    """All of it.

    Attributes:
        noise: a row for each set and level.
        shifts: a row for each layer, in the order of the network.
        images: training and test images that the layers were compared on.
        concentration: of heatmaps; ``None`` where there are none.
        reason: why training and test images were not compared; empty where they were.
    """

    noise: tuple[NoiseRow, ...] = ()
    shifts: tuple[ShiftRow, ...] = ()
    images: tuple[int, int] = (0, 0)
    concentration: Concentration | None = None
    reason: str = ""


@dataclass(frozen=True)
class Seen:
    """What was measured on one set of images.

    Attributes:
        unrest: by level of the noise.
        pooled: layer path -> mean of each map, (N, C).
    """

    unrest: Mapping[float, Unrest] = field(default_factory=dict)
    pooled: Mapping[str, Floats] = field(default_factory=dict)


def described(train: Seen, test: Seen, seed: int = 0) -> Described:
    """Put training and test images side by side."""
    sets: tuple[tuple[Data, Seen], ...] = (("train", train), ("test", test))
    noise = [_noise(data, level, one) for data, seen in sets for level, one in seen.unrest.items()]
    shifts = [
        ShiftRow(path, activation_shift(values, test.pooled[path], seed))
        for path, values in train.pooled.items()
    ]
    counts = [len(next(iter(seen.pooled.values()), ())) for seen in (train, test)]
    return Described(tuple(noise), tuple(shifts), (counts[0], counts[1]))


def _noise(data: Data, level: float, found: Unrest) -> NoiseRow:
    flips, images = int(found.flipped.sum()), len(found.flipped)
    steepness = None if found.steepness is None else float(np.median(found.steepness))
    return NoiseRow(data, level, images, flips / images, wilson(flips, images), steepness)


def concentration(looks: Looks | None) -> Concentration | None:
    """How narrow the heatmaps are; ``None`` where none shows anything."""
    if looks is None or looks.heat is None:
        return None
    shares = half_share(looks.heat.raw)
    shares = shares[np.isfinite(shares)]
    if not len(shares):
        return None
    spread = (float(np.median(shares)), float(shares.min()), float(shares.max()))
    return Concentration(looks.heat.method, looks.heat.layer, len(shares), *spread)


def to_dict(found: Described) -> dict[str, Any]:
    """Return what audit.json holds of it."""
    narrow = found.concentration
    return {
        "noise": [
            {"data": row.data, "level": row.level, "images": row.images, "flip_rate": row.flips,
             "ci95": list(row.ci95), "gradient_norm": row.steepness}
            for row in found.noise
        ],
        "activation_shift": [
            {"layer": row.layer, "value": row.shift.value, "chance": row.shift.chance}
            for row in found.shifts
        ],
        "images": list(found.images),
        "concentration": narrow and {
            "method": narrow.method, "layer": narrow.layer or None, "images": narrow.images,
            "median": narrow.median, "lowest": narrow.lowest, "highest": narrow.highest,
        },
    }  # fmt: skip
