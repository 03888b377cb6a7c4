"""How often the model is right, against what guessing would give."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from layerscope.audit.accuracy import (
    LIMITS,
    Array,
    ClassAccuracy,
    Classes,
    Confusion,
    Limits,
    Performance,
    calibration_error,
    probable,
    skill_of,
    verdict_of,
)
from layerscope.audit.figures import count, listed, percent, with_interval
from layerscope.audit.findings import Effect, Finding, Panel
from layerscope.audit.several import several_labels
from layerscope.measures.intervals import wilson

LOW = (
    "Check first what makes every model look bad: preprocessing and the order of the classes. "
    "Then training longer, more data or another architecture are worth a try."
)
WORSE_THAN_GUESSING = (
    "This is worse than guessing, which rarely comes from training: the classes are probably in "
    "another order than the outputs. Check --classes and --preprocess."
)
OTHER_ORDER = (
    "Classes are mostly taken for one other class each, no two for the same: they are probably in "
    "another order than the outputs, and the accuracy says nothing until that is settled "
    "(--classes)."
)
NOT_FINITE = (
    "Outputs that are not finite come from broken weights, from numbers too large for half "
    "precision or from inputs unlike those of the training: settle that first, at the first layer "
    "with values that are not finite."
)
"""Advice where the accuracy is low."""


def performance(
    predictions: Array | Mapping[str, Array],
    labels: Array | None,
    names: Sequence[str] | None = None,
    unlabelled: str = "The images carry no labels.",
    limits: Limits = LIMITS,
    paired: bool = False,
) -> Performance:
    """Compare predictions with labels.

    Args:
        predictions: (N, K) outputs, K >= 2: probabilities or logits, the strongest is the answer;
            (N, 1) or (N,): the second of two classes, as probability where all values lie in 0..1
            (threshold .5), otherwise, if ``paired``, as logit (threshold 0). Anything else is not
            tested.
        labels: (N,) output index per image, -1 where unknown; (N, K) of 0 and 1 where an image may
            have several labels, see `layerscope.audit.several`; ``None`` for unlabelled images.
        names: one per class, in output order; without them classes are called by their index.
        unlabelled: the reason to give where there are no labels.
        limits: of the verdict.
        paired: the user gave names of two classes to the one output, so that it is no regression.
    """
    reason = unlabelled if labels is None else _unsuitable(predictions, np.asarray(labels), paired)
    if not reason and labels is not None and np.ndim(labels) == 2:
        return several_labels(np.asarray(predictions), np.asarray(labels), names, limits)
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
        truth, answers, confidence, Classes(classes, names), int((~known).sum()), limits
    )


def _unsuitable(predictions: Array | Mapping[str, Array], labels: Array, paired: bool) -> str:
    """Why accuracy means nothing here, as a sentence; empty if it does."""
    if isinstance(predictions, Mapping):
        return f"The model has {len(predictions)} outputs; only a single one is judged."
    predictions = np.asarray(predictions)
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        return "The labels are numbers, not classes: this looks like regression."
    if predictions.ndim > 2:
        shape = " x ".join(str(side) for side in predictions.shape[1:])
        return f"The output has the shape {shape} per image, not one number per class."
    if labels.ndim > 1:
        fits = labels.shape == predictions.shape
        return "" if fits else "Images have several labels, and not one for each output."
    single = predictions.ndim == 1 or predictions.shape[1] == 1
    if single and labels.size and labels.max() > 1:
        return "The model has one output, and labels go beyond 0 and 1: this looks like regression."
    finite = predictions[np.isfinite(predictions)]
    if single and not paired and finite.size and not probable(finite):
        return (
            "The model has one output, and its values lie between "
            f"{finite.min():.2g} and {finite.max():.2g}: that is no probability but a regression "
            "or a logit. If it is a logit, end the model with a sigmoid or name both classes with "
            "--classes."
        )
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
    if probable(safe[finite]):
        sums = safe[finite].sum(1, dtype=np.float64)
        # half precision: a thousand probabilities do not add up to 1 exactly
        confidence = best[:, 0].astype(np.float64) if np.abs(sums - 1).max() < 0.02 else None
    else:
        confidence = 1 / np.exp(safe - best).sum(1, dtype=np.float64)
    if confidence is not None:
        confidence = np.where(finite, confidence, np.nan)
    return answers, confidence, predictions.shape[1]


def _binary(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], Array, int]:
    finite = np.isfinite(values)
    second = values if probable(values[finite]) else expit(values)
    answers = np.where(finite, second > 0.5, -1).astype(np.int64)
    return answers, np.where(finite, np.maximum(second, 1 - second), np.nan), 2


def _compared(
    truth: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: Array | None,
    classes: Classes,
    unknown: int,
    limits: Limits,
) -> Performance:
    hits = truth == answers
    images = len(truth)
    accuracy, ci95 = float(hits.mean()), wilson(int(hits.sum()), images)
    counts = np.bincount(truth, minlength=classes.number)
    majority, chance = float(counts.max() / images), 1 / classes.number
    base = max(majority, chance)
    skill, skill_ci95 = skill_of(accuracy, ci95, base)
    alike = "All images are of one class, so that guessing is always right."
    verdict, reason = verdict_of(skill_ci95, images, limits, alike)
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


def _per_class(
    truth: NDArray[np.int64], hits: NDArray[np.bool_], classes: Classes
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
    classes: Classes,
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
    if found.other_order:
        doubt = f" {OTHER_ORDER}"
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
        them = "the images" if found.several else "them"
        message += (
            f" For {found.broken:,} of {them} the output is NaN or infinite, which counts as wrong."
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
    answered = found.images - found.broken
    hits = round((found.accuracy or 0) * found.images)
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
    mostly = {(row.true, row.predicted) for row in found.mostly_taken}
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
    frequent = "what is commonest of each label" if found.several else "the most frequent class"
    guess, how = max(
        (found.chance, "for guessing at random"),
        (found.majority, f"for always answering {frequent}"),
    )
    share, images = with_interval(found.accuracy, found.ci95), count(found.images, "image")
    on = f"of the decisions on {images}, one per label," if found.several else f"on {images},"
    return f"Accuracy {share} {on} against {percent(guess)} {how}"
