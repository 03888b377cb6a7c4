"""Which preprocessing a model was trained with, read from its BatchNorm layers or from labels.

A BatchNorm layer stores the mean M and the variance V that its input had in training. Under the
right preprocessing a few dozen unlabelled images give that input a mean m and a variance v near
these. The divergence per channel is ``.5 (log(V/v) + (v + (m - M)^2)/V - 1)``, that of Gaussian
distributions. Both ways, this one and labels, rather give no answer than a wrong one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from layerscope.errors import InputError
from layerscope.images.preprocess import CANDIDATES, Preprocessing
from layerscope.model.traced import TracedModel, view
from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]

FEWEST, MOST = 8, 64
"""Images that the fingerprint needs, and beyond which more add nothing. Single photos mislead:
one of low contrast passes for one under another scale."""

# benchmarks/fingerprint.py says on which nets these were found and measures them on others.
FIT = 0.15
"""Median over channels of the divergence of a candidate that fits, sampling noise taken off."""
SPREAD = 0.15
"""The same for its 75 % quantile, with .9 / images on top. Unlike the median it sees statistics
that were not settled. Higher quantiles also see the few channels of an odd colour, which other
photos excite otherwise."""
LEAD, LOOSE = 8.0, 0.45
"""From this factor to the next different candidate on, a larger spread is borne: layers before the
first BatchNorm that bend values answer strongly to images of another contrast."""
REVERSED = 0.8
"""Share of its mean divergence below which the reversed order of colours refutes a candidate."""
RATIO, GAP = 2.5, 0.15
"""How far the next different candidate must be away, as a factor and as a difference."""
SUPPORT = 0.75
"""Share of resamples of the images in which the best candidate must stay the best."""
CONTRAST = (40.0, 95.0)
"""Standard deviation of ordinary images, of 0..255. Beyond it a candidate that differs by its
scale alone (`torch` and `-1..1`: 2.2) could be mistaken, so the next one must be `FAR`."""
FAR = 1.0
YOUNG = (0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)
"""Shares of what they began with that young statistics may hold."""
ALPHA = 0.01
"""Level of the tests on accuracy, shared among the rivals."""

_LAYERS, _BATCH, _RESAMPLES, _LABELLED = 3, 16, 100, 128


@dataclass(frozen=True)
class Fingerprint:
    """What the BatchNorm layers say about the preprocessing.

    Attributes:
        chosen: name of a candidate, or ``None``: no answer.
        runner_up: the next different candidate, ``None`` if there is none.
        reason: why it was chosen or why there is no answer, in words.
        groups: names of candidates that come to the same, the best group first.
        divergences: name -> median over channels at each of ``layers``: 0 where the input has the
            stored mean and variance, infinite where it is not finite. The first layer decides,
            the others inform. Candidates that do not fit the model's channels are left out.
        layers: paths of the first BatchNorm layers, in the order of computation.
        images: how many were used.
    """

    chosen: str | None
    runner_up: str | None
    reason: str
    groups: tuple[tuple[str, ...], ...] = ()
    divergences: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    images: int = 0

    def rows(self) -> list[dict[str, str | float]]:
        """One row per candidate for a report, best first: name, verdict, divergence by layer."""
        found: list[dict[str, str | float]] = []
        for place, name in enumerate(name for group in self.groups for name in group):
            group = next(group for group in self.groups if name in group)
            chosen = self.chosen in group
            verdict = "same as chosen" if chosen and name != self.chosen else ""
            verdict = "chosen" if name == self.chosen else verdict
            row: dict[str, str | float] = {"rank": place + 1, "name": name, "verdict": verdict}
            found.append(row | dict(zip(self.layers, self.divergences[name], strict=True)))
        return found


def fingerprint(
    traced: TracedModel,
    images: Floats,
    candidates: Sequence[Preprocessing] = CANDIDATES,
) -> Fingerprint:
    """Find the candidate under which the first BatchNorm layer sees what it saw in training.

    Args:
        traced: a model with one image input.
        images: float32 (N, H, W, C) of the model's size, values 0..255 before preprocessing, at
            best 16 to 64 of the kind the model was trained on; more than `MOST` are not used.
        candidates: to choose from; those for another number of channels are left out.

    Raises:
        InputError: the images do not fit the model.
    """
    images = images[:MOST]
    traced.check_inputs([images])
    norms = _norms(traced)
    if not norms:
        return Fingerprint(
            None, None, "The model has no BatchNorm layer whose statistics were trained."
        )
    if len(images) < FEWEST:
        return Fingerprint(
            None,
            None,
            f"The BatchNorm fingerprint needs at least {FEWEST} images, and {len(images)} were "
            "given.",
        )
    usable = {c.name: c for c in candidates if _applies(c, images.shape[-1])}
    seen = {name: _measure(traced, norms, c, images) for name, c in usable.items()}
    divergences = {
        name: tuple(float(np.median(_divergence(part))) for part in parts)
        for name, parts in seen.items()
    }
    groups = _groups(usable, images, {name: d[0] for name, d in divergences.items()})
    first = {name: parts[0] for name, parts in seen.items()}
    chosen, reason = _verdict(groups, first, _contrast(images), norms[0].path)
    if chosen and images.shape[-1] == 3:
        swapped = _measure(traced, norms[:1], _swapped(usable[chosen]), images)[0]
        if _divergence(swapped).mean() < REVERSED * _divergence(first[chosen]).mean():
            reason = (
                f"{chosen} fits best, and with the colours in reversed order it fits better "
                f"still: '{norms[0].path}' was trained with another order."
            )
            chosen = None
    if chosen and (other := _young(first, groups)):
        reason = (
            f"{chosen} fits best, and {other} would fit better still if the statistics of "
            f"'{norms[0].path}' had not settled in training, and hold part of the values that "
            "they began with."
        )
        chosen = None
    runner_up = groups[1][0] if len(groups) > 1 else None
    paths = tuple(norm.path for norm in norms)
    return Fingerprint(chosen, runner_up, reason, groups, divergences, paths, len(images))


@dataclass(frozen=True)
class Trial:
    """What labelled images say about the preprocessing.

    Attributes:
        chosen: name of a candidate, or ``None``: no answer.
        runner_up: the next different candidate, ``None`` if there is none.
        reason: why it was chosen or why there is no answer, in words.
        correct: name -> number of images classified as labelled.
        images: how many were used, nearly as many of each class.
    """

    chosen: str | None
    runner_up: str | None
    reason: str
    correct: Mapping[str, int] = field(default_factory=dict)
    images: int = 0


def by_accuracy(
    traced: TracedModel,
    images: Floats,
    labels: NDArray[np.int64],
    candidates: Sequence[Preprocessing] = CANDIDATES,
) -> Trial:
    """Find the candidate under which the model is right most often, if that is clear.

    It is clear if the best candidate beats every different one in an exact sign test on the
    images where just one of the two is right (McNemar), and beats the most frequent class of the
    sample, each at `ALPHA` shared among the rivals.

    Args:
        traced: a classifier with one image input and one output.
        images: as for `fingerprint`.
        labels: class index per image, -1 where unknown.
        candidates: as for `fingerprint`.

    Raises:
        InputError: the images do not fit the model, or labels and images differ in number.
    """
    if len(labels) != len(images):
        raise InputError(
            f"Each image needs a label, -1 where unknown; got {len(labels)} labels for "
            f"{len(images)} images."
        )
    outputs = list(traced.outputs.values())
    if len(outputs) != 1 or traced.tensor(outputs[0]).shape.rank != 2:
        return Trial(None, None, "Accuracy needs a classifier with one output.")
    picked = _balanced(np.asarray(labels))
    images, labels = images[picked], np.asarray(labels)[picked]
    if len(np.unique(labels)) < 2:
        return Trial(None, None, "Accuracy needs labelled images of at least two classes.")
    traced.check_inputs([images])
    usable = {c.name: c for c in candidates if _applies(c, images.shape[-1])}
    right = {name: _right(traced, c.apply(images), labels) for name, c in usable.items()}
    correct = {name: int(hits.sum()) for name, hits in right.items()}
    groups = _groups(usable, images, {name: float(-hits.mean()) for name, hits in right.items()})
    chosen, reason = _clearly_best(groups, right, labels)
    return Trial(chosen, groups[1][0] if len(groups) > 1 else None, reason, correct, len(labels))


# Measuring


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm layer: where its input is and what it stored."""

    path: str
    tensor: str
    axis: int
    mean: Doubles
    variance: Doubles


@dataclass(frozen=True)
class _Moments:
    """Mean and mean square of each live channel around the stored mean, (images, channels)."""

    first: Doubles
    second: Doubles
    stored: Doubles  # variance
    centre: Doubles  # the stored mean


def _norms(traced: TracedModel) -> list[_Norm]:
    """The first BatchNorm layers that see the image and whose statistics are not as at the start.

    Channels that were constant in training have a stored variance of nearly zero and say nothing;
    they are cut by `_measure`.
    """
    found: list[_Norm] = []
    for call in traced.trace.calls[1:]:
        layer = call.layer
        if not isinstance(layer, keras.layers.BatchNormalization) or not call.inputs:
            continue
        mean, variance = (
            np.asarray(keras.ops.convert_to_numpy(value), np.float64)
            for value in (layer.moving_mean, layer.moving_variance)
        )
        untouched = not mean.any() and bool((variance == 1).all())
        sound = bool(np.isfinite(mean).all() and np.isfinite(variance).all() and variance.any())
        if call.inputs[0] in traced.wiring.moving and sound and not untouched:
            rank = traced.tensor(call.inputs[0]).shape.rank
            found.append(_Norm(call.path, call.inputs[0], layer.axis % rank, mean, variance))
    return found[:_LAYERS]


def _applies(candidate: Preprocessing, channels: int) -> bool:
    figures = max(len(candidate.mean), len(candidate.std))
    return (figures == 1 or figures == channels) and not (candidate.bgr and channels != 3)


def _swapped(candidate: Preprocessing) -> Preprocessing:
    """The same figures for the same colours, in the reversed order of colours."""
    mean, std = candidate.mean[::-1], candidate.std[::-1]
    return replace(candidate, mean=mean, std=std, bgr=not candidate.bgr)


def _measure(
    traced: TracedModel, norms: Sequence[_Norm], candidate: Preprocessing, images: Floats
) -> list[_Moments]:
    fetches = [norm.tensor for norm in norms]
    parts: list[list[tuple[Doubles, Doubles]]] = [[] for _ in norms]
    for at in range(0, len(images), _BATCH):
        ready = candidate.apply(images[at : at + _BATCH])
        for part, norm, tensor in zip(parts, norms, traced.run([ready], fetches), strict=True):
            part.extend(_of_image(values, norm) for values in view(tensor))
    measured = []
    for part, norm in zip(parts, norms, strict=True):
        live = norm.variance > 1e-6 * norm.variance.max()
        first, second = (np.array(sums)[:, live] for sums in zip(*part, strict=True))
        measured.append(_Moments(first, second, norm.variance[live], norm.mean[live]))
    return measured


def _of_image(values: Floats, norm: _Norm) -> tuple[Doubles, Doubles]:
    """Mean and mean square of each channel of one image, around the stored mean in float64."""
    channels = np.moveaxis(values, norm.axis - 1, -1)
    around = channels.reshape(-1, channels.shape[-1]) - norm.mean
    return around.mean(0), np.einsum("pc,pc->c", around, around) / len(around)


def _divergence(seen: _Moments, rows: NDArray[np.intp] | slice = slice(None)) -> Doubles:
    """Gaussian divergence per live channel; infinite where the input is not finite."""
    m = seen.first[rows].mean(0)
    mean_square = seen.second[rows].mean(0)
    with np.errstate(all="ignore"):
        v = np.maximum(mean_square - m**2, 1e-12 * seen.stored)
        found = 0.5 * (np.log(seen.stored / v) + mean_square / seen.stored - 1)
    result: Doubles = np.where(np.isfinite(found), found, np.inf)
    return result


def _young(seen: Mapping[str, _Moments], groups: Sequence[Sequence[str]]) -> str:
    """A different candidate that fits better than the best one, if statistics are young.

    A share a of what a BatchNorm layer stores is still the 0 and 1 that it began with, where few
    steps were trained. Under the right candidate settled statistics leave no room for that. No
    stored variance is then below a, which rules out most shares for most nets.
    """
    best = float(np.median(_divergence(seen[groups[0][0]])))
    for group in groups[1:]:
        moments = seen[group[0]]
        around = moments.first.mean(0)
        m, v = moments.centre + around, moments.second.mean(0) - around**2
        for share in (share for share in YOUNG if share <= moments.stored.min()):
            mean, variance = (1 - share) * m, (1 - share) * v + share
            square = variance + (mean - moments.centre) ** 2
            with np.errstate(all="ignore"):
                d = 0.5 * (np.log(moments.stored / variance) + square / moments.stored - 1)
            if float(np.median(d)) < best:
                return group[0]
    return ""


# Deciding


def _groups(
    usable: Mapping[str, Preprocessing], images: Floats, scores: Mapping[str, float]
) -> tuple[tuple[str, ...], ...]:
    """Candidates whose inputs and scores nearly agree, the group of the lowest score first.

    A group begins with the candidate that was listed first, so that the choice between equals
    does not depend on noise.
    """
    sample = images[:FEWEST]
    inputs = {name: candidate.apply(sample) for name, candidate in usable.items()}
    groups: list[list[str]] = []
    for name in usable:
        for group in groups:
            near = abs(scores[name] - scores[group[0]]) <= 0.05 + 0.1 * abs(scores[name])
            if (near or scores[name] == scores[group[0]]) and alike(inputs[name], inputs[group[0]]):
                group.append(name)
                break
        else:
            groups.append([name])
    return tuple(map(tuple, sorted(groups, key=lambda group: min(scores[n] for n in group))))


def alike(one: Floats, other: Floats) -> bool:
    """Whether two arrays of inputs differ by little."""
    difference = float(np.sqrt(np.mean(np.square(one - other), dtype=np.float64)))
    return difference <= 0.05 * float(np.std(other, dtype=np.float64))


def _contrast(images: Floats) -> float:
    """Standard deviation over all pixels of all images, the mean over the channels."""
    return float(np.std(images, axis=(0, 1, 2), dtype=np.float64).mean())


def _verdict(
    groups: Sequence[Sequence[str]], seen: Mapping[str, _Moments], contrast: float, path: str
) -> tuple[str | None, str]:
    """The choice, if there is one, and why."""
    best = groups[0][0]
    score = float(np.median(_divergence(seen[best])))
    images = len(seen[best].first)
    base, spread, support = _resampled(seen, groups)
    rival = min(
        (float(np.median(_divergence(seen[name]))) for group in groups[1:2] for name in group),
        default=0.0,
    )
    allowed = LOOSE if rival >= LEAD * score else SPREAD + 0.9 / images
    evidence = f"'{path}' stored in training (divergence {score:.2g} from {images} images"
    if base > FIT or spread > allowed:
        return None, (
            f"No candidate gives the statistics that {evidence} under the best, {best}, and "
            f"{spread:.2g} at its 75 % quantile, where {allowed:.2g} is the limit): the images "
            "differ from those of training, the statistics had not settled, or the preprocessing "
            "is another one."
        )
    if len(groups) == 1:
        return None, f"There is nothing to compare {best} with: all candidates come to the same."
    other = groups[1][0]
    if rival < RATIO * score or rival - score < GAP or support < SUPPORT:
        return None, (
            f"Two candidates are too close at '{path}': {best} with a divergence of {score:.2g}, "
            f"{other} with {rival:.2g} ({images} images)."
        )
    if not CONTRAST[0] <= contrast <= CONTRAST[1] and rival < FAR:
        return None, (
            f"{best} fits best (divergence {score:.2g}) and {other} next ({rival:.2g}), but the "
            f"contrast of the images is unusual (standard deviation {contrast:.0f} of 255), so "
            "that the scale of the values cannot be told."
        )
    return best, (
        f"{together(groups[0])} gives the mean and variance that {evidence}; next is {other} "
        f"with {rival:.2g})."
    )


def _resampled(
    seen: Mapping[str, _Moments], groups: Sequence[Sequence[str]]
) -> tuple[float, float, float]:
    """Bootstrap over images.

    Returns:
        Median and 75 % quantile over channels of the best candidate's divergence, both less the
        part that sampling adds to it; share of the resamples in which it stays the best.
    """
    best = groups[0][0]
    random = np.random.default_rng(0)
    draws = random.integers(0, len(seen[best].first), (_RESAMPLES, len(seen[best].first)))
    own = _divergence(seen[best])
    again = np.array([_divergence(seen[best], rows) for rows in draws])
    if not np.isfinite(own).all() or not np.isfinite(again).all():
        return np.inf, np.inf, 0.0
    settled = 2 * own - again.mean(0)
    wins = np.ones(_RESAMPLES, bool)
    for group in groups[1:]:
        rival = [float(np.median(_divergence(seen[group[0]], rows))) for rows in draws]
        wins &= np.median(again, axis=1) < np.array(rival)
    return float(np.median(settled)), float(np.quantile(settled, 0.75)), float(wins.mean())


def together(group: Sequence[str]) -> str:
    """The names of candidates that come to the same, as one."""
    return group[0] + (f" (the same as {', '.join(group[1:])})" if len(group) > 1 else "")


# Labels


def _balanced(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Positions of up to `_LABELLED` labelled images, the same most of each class, seeded."""
    random = np.random.default_rng(0)
    classes = [random.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels) if c >= 0]
    most = max(2, _LABELLED // max(1, len(classes)))
    # With more classes than fit, a random choice of them.
    order = random.permutation(len(classes))[: _LABELLED // 2]
    picked = [classes[i][:most] for i in order]
    return np.sort(np.concatenate([*picked, []]).astype(np.intp))


def _right(traced: TracedModel, inputs: Floats, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images are classified as labelled."""
    (output,) = traced.outputs.values()
    values = np.concatenate(
        [
            view(traced.run([inputs[at : at + _BATCH]], [output])[0])
            for at in range(0, len(inputs), _BATCH)
        ]
    )
    if values.shape[1] == 1:
        probabilities = bool((values >= 0).all() and (values <= 1).all())
        return np.asarray((values[:, 0] > (0.5 if probabilities else 0)) == (labels == 1))
    # A NaN would be the maximum.
    return np.asarray((values.argmax(1) == labels) & np.isfinite(values).all(1))


def _clearly_best(
    groups: Sequence[Sequence[str]],
    right: Mapping[str, NDArray[np.bool_]],
    labels: NDArray[np.int64],
) -> tuple[str | None, str]:
    best = groups[0][0]
    hits, count = right[best], len(labels)
    share = f"{hits.sum()} of {count}"
    level = ALPHA / max(1, len(groups) - 1)
    majority = float(np.unique(labels, return_counts=True)[1].max() / count)
    if binomtest(int(hits.sum()), count, majority, alternative="greater").pvalue > level:
        return None, (
            f"The best candidate, {best}, gets {share} images right, which is not clearly more "
            f"than the most frequent class would ({majority:.0%})."
        )
    for group in groups[1:]:
        wins, losses = (
            int((one & ~other).sum())
            for one, other in ((hits, right[group[0]]), (right[group[0]], hits))
        )
        p = binomtest(wins, wins + losses, alternative="greater").pvalue if wins + losses else 1.0
        if p > level:
            return None, (
                f"{best} gets {share} images right and {group[0]} {right[group[0]].sum()}, which "
                f"is no clear difference (p = {p:.2g})."
            )
    if len(groups) == 1:
        return None, f"There is nothing to compare {best} with: all candidates come to the same."
    second = groups[1][0]
    return (
        best,
        f"{together(groups[0])} gets {share} images right, {second} {right[second].sum()}.",
    )
