"""What is said of a model's answers, whether an image has one label or several, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.figures import Interval, count
from layerscope.vocabulary import Class

Verdict = Literal["low", "moderate", "high", "not-tested"]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the verdict is made with.

    Attributes:
        low: the verdict is low where the upper limit of the skill lies below.
        high: the verdict is high where the lower limit of the skill reaches this.
        fewest: labelled images below which no verdict is given.
        bins: of the calibration error.
        fewest_calibrated: images below which no calibration error is given; few images raise it.
        pairs: how many confused pairs are kept.
    """

    low: float = 0.5
    high: float = 0.8
    fewest: int = 10
    bins: int = 15
    fewest_calibrated: int = 100
    pairs: int = 10


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """Accuracy on the images of one class, with its 95 % Wilson interval."""

    of: Class
    images: int
    accuracy: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images of one class that were taken for another, and their share of that class."""

    true: Class
    predicted: Class
    images: int
    share: float


@dataclass(frozen=True, slots=True)
class Performance:
    """How well predictions fit labels; all ``None`` where that cannot be said.

    Attributes:
        images: labelled images.
        accuracy: share of them whose strongest output is their label; an output that is not
            finite is wrong.
        ci95: 95 % Wilson interval of the accuracy.
        majority: accuracy of always answering the most frequent of these labels.
        chance: one by the number of classes the model knows.
        per_class: for each class that has images, in output order.
        confused: the most frequent confusions, by images, then by share of the true class.
        calibration_error: see `calibration_error`.
        skill: (accuracy - b) / (1 - b), b the larger one of majority and chance: 0 is guessing,
            1 is always right.
        skill_ci95: the same for the limits of ``ci95``; b counts as known.
        verdict: from ``skill_ci95`` and `Limits`.
        reason: why there is no verdict, as a sentence; empty where there is one.
        notes: what else a reader must know about these numbers.
        broken: images whose output is NaN or infinite.
        several: images may have several labels. Then what is right or wrong is a decision, yes or
            no, per image and label, and the rest of the above means what
            `layerscope.audit.several.several_labels` says.
    """

    images: int = 0
    accuracy: float | None = None
    ci95: Interval | None = None
    majority: float | None = None
    chance: float | None = None
    per_class: tuple[ClassAccuracy, ...] = ()
    confused: tuple[Confusion, ...] = ()
    calibration_error: float | None = None
    skill: float | None = None
    skill_ci95: Interval | None = None
    verdict: Verdict = "not-tested"
    reason: str = ""
    notes: tuple[str, ...] = ()
    broken: int = 0
    several: bool = False

    @property
    def mostly_taken(self) -> list[Confusion]:
        """Classes that are mostly taken for one other."""
        return [row for row in self.confused if row.share > 0.5]

    @property
    def other_order(self) -> bool:
        """Whether at least half of the classes are mostly taken for another one each.

        No two for the same: then the classes are probably in another order than the outputs, and
        nothing follows from the accuracy.
        """
        lost = self.mostly_taken
        taken_for = {row.predicted.index for row in lost}
        enough = len(lost) >= 2 and len(lost) >= min(len(self.per_class), LIMITS.pairs) / 2
        return self.verdict == "low" and enough and len(taken_for) == len(lost)


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a model by their index; those without a name go by it."""

    number: int
    names: Sequence[str] | None

    def __getitem__(self, index: int) -> Class:
        """One of them."""
        known = self.names is not None and index < len(self.names)
        return Class(int(index), str(self.names[index]) if known and self.names else str(index))


def probable(values: Array) -> bool:
    """Whether numbers can be probabilities, rounding of half precision included."""
    return bool(values.size and values.min() >= 0 and values.max() <= 1 + 1e-3)


def skill_of(share: float, ci95: Interval, base: float) -> tuple[float | None, Interval | None]:
    """How far from guessing (0) to always right (1) a share is, and both ends of its interval.

    Args:
        share: of right answers, 0 to 1.
        ci95: its interval.
        base: the same share for guessing; where it is 1, there is nothing beyond it.
    """
    if base >= 1:
        return None, None
    skill, low, high = ((x - base) / (1 - base) for x in (share, *ci95))
    return skill, (low, high)


def verdict_of(
    skill: Interval | None, images: int, limits: Limits, alike: str
) -> tuple[Verdict, str]:
    """The verdict on the interval of a skill, or why there is none.

    Args:
        skill: its 95 % interval; ``None`` where guessing is always right.
        images: labelled images.
        limits: of the verdict.
        alike: why guessing is always right, if it is, as a sentence.
    """
    if images < limits.fewest:
        few = count(images, "labelled image")
        return "not-tested", f"A verdict needs at least {limits.fewest} labelled images; got {few}."
    if skill is None:
        return "not-tested", alike
    if skill[1] < limits.low:
        return "low", ""
    return ("high" if skill[0] >= limits.high else "moderate"), ""


def calibration_error(
    confidence: Array, hits: NDArray[np.bool_], bins: int = LIMITS.bins
) -> float | None:
    """Expected calibration error, 0 (as often right as sure) to 1.

    Images are sorted into bins of equal width by the probability of their strongest class; the
    result is the mean over images of abs(share of right answers - mean probability) of their bin
    (Guo et al., ICML 2017). Logits become probabilities by softmax, or by the logistic function
    where there is one output. Few images raise it, since chance alone makes bins differ.

    Args:
        confidence: (N,), NaN where an output was not finite: such images are left out.
        hits: (N,), whether the answer was right.
        bins: number of bins.
    """
    usable = np.isfinite(confidence)
    if not usable.any():
        return None
    sure, right = confidence[usable], hits[usable]
    places = np.minimum((sure * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(places, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))
