"""How often a model is right where an image may have several labels: one decision for each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from layerscope.audit.accuracy import (
    LIMITS,
    Array,
    ClassAccuracy,
    Classes,
    Limits,
    Performance,
    calibration_error,
    probable,
    skill_of,
    verdict_of,
)
from layerscope.audit.figures import Interval, count
from layerscope.measures.intervals import wilson

ONE_CLASS = (
    "The outputs add up to 1, so that the model names one class per image, and these images have "
    "several labels each (multi-label)."
)
ALIKE = "Each label is the same in all images, so that guessing is always right."
DECISIONS = (
    "An image may have several labels: accuracy is the share of right decisions, yes or no, one "
    "per image and label. Its interval counts images, since the decisions on one image may all "
    "stand or fall together. What stands at a label is for how many of its images it was said."
)


def several_labels(
    predictions: Array,
    truth: Array,
    names: Sequence[str] | None = None,
    limits: Limits = LIMITS,
) -> Performance:
    """Compare predictions with labels of which an image may have several, or none.

    A label is said where its output is above .5, if all outputs lie in 0..1, or else above 0 (a
    logit). An output that is not finite is wrong either way.

    Args:
        predictions: (N, K), one output per label.
        truth: (N, K), 0 or 1.
        names: one per label, in output order.
        limits: of the verdict.

    Returns:
        ``accuracy`` is the share of right decisions among N x K; ``ci95`` is Wilson's with n = N,
        the number of images, as if the decisions on one image were all right or all wrong together:
        too wide rather than too narrow. ``majority`` is what always answering what is commonest of
        each label gives, the mean over labels of max(p, 1 - p), p the share of images that have it;
        ``chance`` is .5. ``per_class`` is, of the images that have a label, the share for which it
        is said. Nothing is confused with anything. ``calibration_error`` is over decisions.
    """
    truth, images = truth.astype(bool), len(truth)
    finite = np.isfinite(predictions)
    likely = probable(predictions[finite])
    if likely and _one_class(predictions[finite.all(1)]):
        return Performance(reason=ONE_CLASS)
    if not images:
        return Performance(reason="The images carry no labels.")
    said = finite & (predictions > (0.5 if likely else 0))
    right = finite & (said == truth)
    accuracy, prevalence = float(right.mean()), truth.mean(0)
    majority = float(np.maximum(prevalence, 1 - prevalence).mean())
    ci95 = wilson(accuracy * images, images)
    skill, skill_ci95 = skill_of(accuracy, ci95, majority)
    verdict, reason = verdict_of(skill_ci95, images, limits, ALIKE)
    calibrated = likely and images >= limits.fewest_calibrated
    return Performance(
        images=images,
        accuracy=accuracy,
        ci95=ci95,
        majority=majority,
        chance=0.5,
        per_class=_recalls(truth, said, Classes(truth.shape[1], names)),
        calibration_error=calibration_error(_sure(predictions, finite), right.ravel(), limits.bins)
        if calibrated
        else None,
        skill=skill,
        skill_ci95=skill_ci95,
        verdict=verdict,
        reason=reason,
        notes=_notes(predictions, truth, finite, likely, limits),
        broken=int((~finite.all(1)).sum()),
        several=True,
    )


def _one_class(predictions: Array) -> bool:
    """Whether probabilities of each image add up to 1, up to what half precision rounds."""
    sums = predictions.sum(1, dtype=np.float64)
    return bool(len(sums)) and bool(np.abs(sums - 1).max() < 0.02)


def _sure(predictions: Array, finite: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Probability of each decision, (N * K,), NaN where there is none."""
    yes = np.where(finite, predictions, np.nan).ravel().astype(np.float64)
    return np.asarray(np.maximum(yes, 1 - yes))


def _recalls(
    truth: NDArray[np.bool_], said: NDArray[np.bool_], labels: Classes
) -> tuple[ClassAccuracy, ...]:
    rows = []
    for at in np.flatnonzero(truth.any(0)):
        own = said[truth[:, at], at]
        interval: Interval = wilson(int(own.sum()), len(own))
        rows.append(ClassAccuracy(labels[int(at)], len(own), float(own.mean()), interval))
    return tuple(rows)


def _notes(
    predictions: Array,
    truth: NDArray[np.bool_],
    finite: NDArray[np.bool_],
    likely: bool,
    limits: Limits,
) -> tuple[str, ...]:
    said, usable = [DECISIONS], finite.all(1)
    mixed = truth[usable].any(0) & ~truth[usable].all(0)
    if mixed.any():
        area = roc_auc_score(truth[usable][:, mixed], predictions[usable][:, mixed])
        said.append(
            f"ROC area {area:.3f}, the mean over {count(int(mixed.sum()), 'label')} that some of "
            "the images have and some have not; .5 is guessing, 1 perfect."
        )
    if broken := int((~finite).sum()):
        said.append(f"{count(broken, 'decision')} with NaN or infinity counted as wrong.")
    if not likely:
        said.append("No calibration error: the outputs are no probabilities.")
    elif len(truth) < limits.fewest_calibrated:
        said.append(f"No calibration error: it needs {limits.fewest_calibrated} images.")
    return tuple(said)
