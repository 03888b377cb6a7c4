"""Which preprocessing a model was trained with, read from its BatchNorm layers or from labels.

A BatchNorm layer stores the mean M and the variance V that its input had in training. Under the
right preprocessing, a few dozen unlabelled images give that input nearly this mean and variance.
Both ways refuse to answer rather than guess.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from layerscope.errors import InputError
from layerscope.images.preprocess import CANDIDATES, Preprocessing
from layerscope.model.traced import TracedModel, view
from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]

FIT = 0.2
"""The first BatchNorm's divergence up to which a candidate counts as fitting. [PLACEHOLDER]"""
RATIO = 3.0
GAP = 0.1
LAYERS = 3
_BATCH = 16
_SAME_INPUT = 0.05
_RESAMPLES = 200
_DEAD = 1e-6


@dataclass(frozen=True)
class Fingerprint:
    """What the BatchNorm layers say about the preprocessing.

    Attributes:
        chosen: name of the candidate, or ``None``: no answer.
        runner_up: the next different candidate, ``None`` where there is none.
        reason: why it was chosen, or why there is no answer, in words.
        groups: names of candidates that come to the same, best first.
        divergences: name -> median divergence at each of ``layers``, from 0 (the stored mean and
            variance met exactly) upwards, infinite where the input is not finite. The first
            decides, the others inform. Candidates that do not fit the channels are left out.
        layers: paths of the BatchNorm layers, in the order of computation.
        images: number of images.
    """

    chosen: str | None
    runner_up: str | None
    reason: str
    groups: tuple[tuple[str, ...], ...] = ()
    divergences: Mapping[str, tuple[float, ...]] | None = None
    layers: tuple[str, ...] = ()
    images: int = 0


@dataclass(frozen=True)
class _Statistics:
    """Per image and channel, mean and mean square of a tensor around the stored mean."""

    first: Doubles
    second: Doubles


def per_channel(stats, M, V, rows=None):
    first = stats.first if rows is None else stats.first[rows]
    second = stats.second if rows is None else stats.second[rows]
    m = first.mean(0)
    v = second.mean(0) - m * m
    with np.errstate(all="ignore"):
        v = np.maximum(v, V * 1e-12)
        d = 0.5 * (np.log(V / v) + (v + m * m) / V - 1)
    return np.where(np.isfinite(d), d, np.inf)
