"""The memorisation panel: whether the model knows its training images better than it should.

Two signs have to agree: a gap between the accuracy on training and on test images, and confidence
that tells the two apart. Either alone is ordinary for a sound net that saw little data. Where a
heatmap is narrow says nothing about it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from layerscope.audit.accuracy import Performance
from layerscope.audit.described import Described
from layerscope.audit.figures import Interval, count, with_interval
from layerscope.audit.findings import Effect, Finding, Panel, untested
from layerscope.audit.performance import answers_of
from layerscope.images.labels import SEVERAL


@dataclass(frozen=True)
class MemorisationLimits:
    """Where signs begin: clearly above what little data does to a clean net (docs/evidence.md).

    Attributes:
        gap: what the lower end of the gap must reach.
        auc: what the lower end of the area under the ROC curve must reach.
        fewest_train: labelled training images below which nothing is said: a clean net that saw a
            hundred images knows them about as well as one that memorised thousands.
        fewest_test: the same for test images.
    """

    gap: float = 0.15
    auc: float = 0.65
    fewest_train: int = 200
    fewest_test: int = 50


LIMITS = MemorisationLimits()


@dataclass(frozen=True)
class Memorised:
    """What the panel rests on.

    Attributes:
        train: number of labelled training images.
        test: number of labelled test images.
        gap: accuracy on training images less that on test images.
        gap_ci95: its 95 % interval (Newcombe 1998, from two Wilson intervals).
        auc: chance that the model is surer of a training image than of a test image, 0 to 1; .5
            where it does not tell them apart.
        auc_ci95: its 95 % interval (DeLong 1988).
        reason: why nothing can be said; empty otherwise.
        described: what stands beside it and decides nothing.
    """

    train: int = 0
    test: int = 0
    gap: float = 0.0
    gap_ci95: Interval = (0.0, 0.0)
    auc: float = 0.5
    auc_ci95: Interval = (0.0, 1.0)
    reason: str = ""
    described: Described = field(default_factory=Described)

    @property
    def signs(self) -> bool:
        """Whether both signs are there."""
        return not self.reason and self.gap_ci95[0] >= LIMITS.gap and self.auc_ci95[0] >= LIMITS.auc


SAME = (
    "The training images are the test images (the same files, labels and contents), so that "
    "nothing tells what is known by heart from what was learned: give images that the model was "
    "not trained on."
)

Outputs = tuple[NDArray[np.floating], NDArray[np.int64]]
"""Predictions (N, K) and labels (N,), -1 where unknown."""


def memorised(
    train: Performance | None,
    test: Performance,
    of_train: Outputs | None,
    of_test: Outputs | None,
    same: bool = False,
) -> Memorised:
    """Compare training and test images.

    Args:
        train: accuracy on training images; ``None`` if there are none.
        test: accuracy on test images.
        of_train: outputs for training images.
        of_test: outputs for test images.
        same: both are the same images.
    """
    if train is None or of_train is None:
        return Memorised(reason="No training images were given (--train).")
    if same:
        return Memorised(reason=SAME)
    if train.several or test.several:
        return Memorised(reason=SEVERAL)
    fewest = LIMITS.fewest_train, LIMITS.fewest_test
    for name, found, least in zip(("training", "test"), (train, test), fewest, strict=True):
        if found.accuracy is None:
            return Memorised(reason=f"Of the {name} images: {found.reason}")
        if found.images < least:
            return Memorised(
                reason=f"It takes {least} labelled {name} images, and there are {found.images}."
            )
    sure = [_confidence(one) for one in (of_train, of_test) if one is not None]
    if len(sure) < 2 or any(one is None for one in sure):
        return Memorised(reason="The outputs are no probabilities, so that confidence is unknown.")
    assert train.accuracy is not None
    assert test.accuracy is not None
    auc, auc_ci95 = area(sure[0], sure[1])  # type: ignore[arg-type]
    return Memorised(
        train.images,
        test.images,
        train.accuracy - test.accuracy,
        difference(train, test),
        auc,
        auc_ci95,
    )


def _confidence(outputs: Outputs) -> NDArray[np.float64] | None:
    """Probability of the strongest class, of the labelled images."""
    predictions, labels = outputs
    confidence = answers_of(predictions[labels >= 0])[1]
    return None if confidence is None else np.asarray(confidence[np.isfinite(confidence)])


def difference(one: Performance, other: Performance) -> Interval:
    """95 % interval of the difference of two accuracies (Newcombe 1998, method 10)."""
    assert one.accuracy is not None
    assert other.accuracy is not None
    assert one.ci95 is not None
    assert other.ci95 is not None
    gap = one.accuracy - other.accuracy
    below = np.hypot(one.accuracy - one.ci95[0], other.ci95[1] - other.accuracy)
    above = np.hypot(one.ci95[1] - one.accuracy, other.accuracy - other.ci95[0])
    return float(gap - below), float(gap + above)


def area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> tuple[float, Interval]:
    """Chance that a value inside is the larger, with its 95 % interval (DeLong 1988).

    Args:
        inside: (m,).
        outside: (n,).
    """
    m, n = len(inside), len(outside)
    ranks = rankdata(np.concatenate([inside, outside]))
    of_inside = (ranks[:m] - rankdata(inside)) / n
    of_outside = 1 - (ranks[m:] - rankdata(outside)) / m
    value = float(of_inside.mean())
    spread = np.sqrt(of_inside.var(ddof=1) / m + of_outside.var(ddof=1) / n)
    return value, (
        max(0.0, value - 1.959964 * float(spread)),
        min(1.0, value + 1.959964 * float(spread)),
    )


def memorisation_panel(found: Memorised) -> Panel:
    """The panel of an audit."""
    if found.reason:
        return untested(found.reason)
    figures = _figures(found)
    if found.signs:
        said = f"Signs that training images were memorised: {figures}."
    else:
        said = (
            f"No signs that training images were memorised: {figures}. Signs would be both, a gap "
            f"surely above {100 * LIMITS.gap:.0f} % and an area surely above {LIMITS.auc:g}."
        )
    return Panel("signs" if found.signs else "no-signs", said)


def memorisation_finding(found: Memorised) -> list[Finding]:
    """The finding where both signs are there."""
    if not found.signs:
        return []
    return [
        Finding(
            "memorisation",
            f"The model knows its training images far better than new ones: {_figures(found)}.",
            "The accuracy on training images says little. Wrong labels among them, too many passes "
            "over too few images, and missing augmentation are the usual causes; more images or "
            "stronger regularisation may help.",
            effect=Effect("gap of the accuracies", found.gap, found.gap_ci95, "points"),
            images=found.train + found.test,
        )
    ]


def _figures(found: Memorised) -> str:
    low, high = found.auc_ci95
    gap, ends, word = found.gap, found.gap_ci95, "higher"
    if gap < 0:
        gap, ends, word = -gap, (-ends[1], -ends[0]), "lower"
    return (
        f"the accuracy is {with_interval(gap, ends)} {word} on "
        f"{count(found.train, 'training image')} than on {count(found.test, 'test image')}, and "
        f"confidence tells the two apart with an ROC area of {found.auc:.2f} (95 % CI {low:.2f} to "
        f"{high:.2f})"
    )
