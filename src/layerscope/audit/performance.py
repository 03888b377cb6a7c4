"""How often the model is right, against what guessing would give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from layerscope.audit.figures import Interval, count, listed, percent, with_interval
from layerscope.audit.findings import Effect, Finding, Panel
from layerscope.measures.intervals import wilson
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

LOW = (
    "Check first what makes every model look bad: preprocessing and the order of the classes. "
    "Then training longer, more data or another architecture are worth a try."
)
WORSE_THAN_GUESSING = (
    "This is worse than guessing, which rarely comes from training: the classes are probably in "
    "another order than the outputs. Check --classes and --preprocess."
)
NOT_FINITE = (
    "Outputs that are not finite come from broken weights, from numbers too large for half "
    "precision or from inputs unlike those of the training: settle that first, at the first layer "
    "with values that are not finite."
)
"""Advice where the accuracy is low."""


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


def performance(
    predictions: Array | Mapping[str, Array],
    labels: Array | None,
    names: Sequence[str] | None = None,
    unlabelled: str = "The images carry no labels.",
    limits: Limits = LIMITS,
) -> Performance:
    """Compare predictions with labels.

    Args:
        predictions: (N, K) outputs, K >= 2: probabilities or logits, the strongest is the answer;
            (N, 1) or (N,): the second of two classes, as probability where all values lie in 0..1
            (threshold .5), otherwise as logit (threshold 0). Anything else is not tested.
        labels: (N,) output index per image, -1 where unknown; ``None`` for unlabelled images.
        names: one per class, in output order; without them classes are called by their index.
        unlabelled: the reason to give where there are no labels.
        limits: of the verdict.
    """
    reason = unlabelled if labels is None else _unsuitable(predictions, np.asarray(labels))
    if reason or labels is None or isinstance(predictions, Mapping):
        return Performance(reason=reason)
    known = np.asarray(labels) >= 0
    truth = np.asarray(labels)[known].astype(np.int64)
    answers, confidence, classes = answers_of(np.asarray(predictions)[known])
    if not len(truth):
        return Performance(reason=unlabelled)
    if truth.max() >= classes:
        reason = f"Labels go up to {truth.max()}, and the model knows {count(classes, 'class')}."
        return Performance(reason=reason)
    return _compared(
        truth, answers, confidence, _Classes(classes, names), int((~known).sum()), limits
    )


@dataclass(frozen=True, slots=True)
class _Classes:
    number: int
    names: Sequence[str] | None

    def __getitem__(self, index: int) -> Class:
        known = self.names is not None and index < len(self.names)
        return Class(int(index), str(self.names[index]) if known and self.names else str(index))


def _unsuitable(predictions: Array | Mapping[str, Array], labels: Array) -> str:
    """Why accuracy means nothing here, as a sentence; empty if it does."""
    if isinstance(predictions, Mapping):
        return f"The model has {len(predictions)} outputs; only a single one is judged."
    predictions = np.asarray(predictions)
    if labels.ndim > 1:
        return "Images have several labels (multi-label); accuracy is for one label per image."
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        return "The labels are numbers, not classes: this looks like regression."
    if predictions.ndim > 2:
        shape = " x ".join(str(side) for side in predictions.shape[1:])
        return f"The output has the shape {shape} per image, not one number per class."
    single = predictions.ndim == 1 or predictions.shape[1] == 1
    if single and labels.size and labels.max() > 1:
        return "The model has one output, and labels go beyond 0 and 1: this looks like regression."
    return ""


def answers_of(predictions: Array) -> tuple[NDArray[np.int64], Array | None, int]:
    """Strongest class per image (-1 if not finite), its probability if there is one, classes."""
    if predictions.ndim == 1 or predictions.shape[1] == 1:
        return _binary(predictions.reshape(-1).astype(np.float64))
    finite = np.isfinite(predictions).all(1)
    safe: Array = np.where(np.expand_dims(finite, 1), predictions, 0)
    answers = np.where(finite, safe.argmax(1), -1)
    best = safe.max(1, keepdims=True)
    confidence: Array | None
    if _probable(safe[finite]):
        sums = safe[finite].sum(1, dtype=np.float64)
        # half precision: a thousand probabilities do not add up to 1 exactly
        confidence = best[:, 0].astype(np.float64) if np.abs(sums - 1).max() < 0.02 else None
    else:
        confidence = 1 / np.exp(safe - best).sum(1, dtype=np.float64)
    if confidence is not None:
        confidence = np.where(finite, confidence, np.nan)
    return answers, confidence, predictions.shape[1]


def _probable(values: Array) -> bool:
    """Whether numbers can be probabilities, rounding of half precision included."""
    return bool(values.size and values.min() >= 0 and values.max() <= 1 + 1e-3)


def _binary(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], Array, int]:
    finite = np.isfinite(values)
    second = values if _probable(values[finite]) else expit(values)
    answers = np.where(finite, second > 0.5, -1).astype(np.int64)
    return answers, np.where(finite, np.maximum(second, 1 - second), np.nan), 2


def _compared(
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: Array | None,
    classes: _Classes,
    unknown: int,
    limits: Limits,
) -> Performance:
    hits = truth == answers
    images = len(truth)
    accuracy, ci95 = float(hits.mean()), wilson(int(hits.sum()), images)
    counts = np.bincount(truth, minlength=classes.number)
    majority, chance = float(counts.max() / images), 1 / classes.number
    base = max(majority, chance)
    skill, skill_ci95 = None, None
    if base < 1:
        skill, *ends = ((x - base) / (1 - base) for x in (accuracy, *ci95))
        skill_ci95 = (ends[0], ends[1])
    verdict, reason = _verdict(skill_ci95, images, limits)
    calibrated = confidence is not None and images >= limits.fewest_calibrated
    return Performance(
        images=images,
        accuracy=accuracy,
        ci95=ci95,
        majority=majority,
        chance=chance,
        per_class=_per_class(truth, hits, classes),
        confused=_confused(truth, answers, counts, classes, limits.pairs),
        calibration_error=calibration_error(confidence, hits, limits.bins)
        if calibrated and confidence is not None
        else None,
        skill=skill,
        skill_ci95=skill_ci95,
        verdict=verdict,
        reason=reason,
        notes=_notes(answers, confidence, unknown, images, limits),
        broken=int((answers < 0).sum()),
    )


def _verdict(skill: Interval | None, images: int, limits: Limits) -> tuple[Verdict, str]:
    if images < limits.fewest:
        few = count(images, "labelled image")
        return "not-tested", f"A verdict needs at least {limits.fewest} labelled images; got {few}."
    if skill is None:
        return "not-tested", "All images are of one class, so that guessing is always right."
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


def _per_class(
    truth: NDArray[np.int64], hits: NDArray[np.bool_], classes: _Classes
) -> tuple[ClassAccuracy, ...]:
    rows = []
    for index in np.unique(truth):
        own = hits[truth == index]
        limits = wilson(int(own.sum()), len(own))
        rows.append(ClassAccuracy(classes[index], len(own), float(own.mean()), limits))
    return tuple(rows)


def _confused(
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    counts: NDArray[np.int64],
    classes: _Classes,
    most: int,
) -> tuple[Confusion, ...]:
    wrong = (truth != answers) & (answers >= 0)
    pairs, times = np.unique(
        np.stack([truth[wrong], answers[wrong]], 1), axis=0, return_counts=True
    )
    shares = times / counts[pairs[:, 0]]
    order = np.lexsort((-shares, -times))[:most]
    return tuple(
        Confusion(classes[pairs[i, 0]], classes[pairs[i, 1]], int(times[i]), float(shares[i]))
        for i in order
    )


def _notes(
    answers: NDArray[np.int64], confidence: Array | None, unknown: int, images: int, limits: Limits
) -> tuple[str, ...]:
    broken = int((answers < 0).sum())
    said = []
    if unknown:
        said.append(f"{count(unknown, 'image')} without a known label left out.")
    if broken:
        said.append(f"{count(broken, 'output')} with NaN or infinity counted as wrong.")
    if confidence is None:
        said.append(
            "No calibration error: the outputs lie in 0..1 and do not add up to 1, so that none "
            "is the probability of its class among all."
        )
    elif images < limits.fewest_calibrated:
        said.append(f"No calibration error: it needs {limits.fewest_calibrated} images.")
    return tuple(said)


def performance_panel(found: Performance) -> Panel:
    """Return what the performance panel says."""
    if found.accuracy is None:
        summary = f"Performance was not tested. {found.reason}"
        return Panel("not-tested", summary, (found.reason,))
    numbers = _against(found)
    if found.verdict == "not-tested":
        return Panel("not-tested", f"{numbers}. {found.reason}", (found.reason,))
    low, high = found.skill_ci95 or (1, 1)
    doubt = " That is not distinguishable from guessing." if low <= 0 <= high else ""
    summary = f"Performance is {found.verdict}: {numbers[0].lower()}{numbers[1:]}.{doubt}"
    return Panel(found.verdict, summary)


def low_accuracy(found: Performance, assumed: bool = False) -> tuple[Finding, ...]:
    """Return the finding ``low-accuracy`` where the verdict is low, else nothing.

    Args:
        found: how well predictions fit labels.
        assumed: the order of the classes is an assumption; see `layerscope.audit.result.DataSet`.
    """
    if found.verdict != "low" or found.accuracy is None or found.ci95 is None:
        return ()
    message = f"{_against(found)}."
    if found.broken:
        message += (
            f" For {found.broken:,} of them the output is NaN or infinite, which counts as wrong."
        )
    return (
        Finding(
            "low-accuracy",
            message,
            " ".join(_advice(found, assumed)),
            effect=Effect("accuracy", found.accuracy, found.ci95),
            images=found.images,
        ),
    )


def _advice(found: Performance, assumed: bool) -> list[str]:
    """What may help; finite outputs are held against guessing on their own."""
    hits, answered = round((found.accuracy or 0) * found.images), found.images - found.broken
    said = [NOT_FINITE] if found.broken else []
    if 2 * found.broken > found.images - hits:
        return said
    worse = found.chance is not None and wilson(hits, answered)[1] < found.chance
    said.append(WORSE_THAN_GUESSING if worse else LOW)
    if assumed and (doubts := _doubts_of_order(found)):
        said.append(
            "The order of the classes is an assumption, since the outputs were given no names, and "
            f"{listed(doubts)}: name the outputs in their order with --classes."
        )
    return said


def _doubts_of_order(found: Performance) -> list[str]:
    """What one would see if two classes or more stood in each other's place."""
    mostly = {(row.true, row.predicted) for row in found.confused if row.share > 0.5}
    pairs = [(a, b) for a, b in mostly if a.index < b.index and (b, a) in mostly]
    pairs.sort(key=lambda pair: pair[0].index)
    swapped = {one for pair in pairs for one in pair}
    # of very few images none may be right by accident
    rows = [row for row in found.per_class if row.accuracy == 0 and row.ci95[1] < 0.5]
    never = [row.of.name for row in rows if row.of not in swapped]
    said = [f"{a.name} and {b.name} are mostly taken for each other" for a, b in pairs]
    return [*said, f"no image of {listed(never)} is recognised"] if never else said


def _against(found: Performance) -> str:
    if found.accuracy is None or found.majority is None or found.chance is None:
        return ""
    guess, how = max(
        (found.chance, "for guessing at random"),
        (found.majority, "for always answering the most frequent class"),
    )
    share = with_interval(found.accuracy, found.ci95)
    return f"Accuracy {share} on {count(found.images, 'image')}, against {percent(guess)} {how}"
