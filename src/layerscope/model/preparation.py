"""Which preprocessing image files get, who chose it, and what speaks for or against it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images.preprocess import CANDIDATES, Preprocessing, preprocessing
from layerscope.model.contradiction import contradicts
from layerscope.model.fingerprint import (
    FEWEST,
    MOST,
    Fingerprint,
    Trial,
    by_accuracy,
    fingerprint,
)
from layerscope.model.preprocessing import own_preprocessing
from layerscope.model.traced import TracedModel
from layerscope.vocabulary import Alternative, Floats

CHOICES = "none, 0..1, -1..1, caffe, torch, keras:NAME or mean=127,std=128"
AS_GIVEN = "The images are arrays and were used as given."


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to images before the model sees them, and why.

    Attributes:
        steps: what is done.
        chosen_by: the user, who also chooses by giving arrays; the model, which prepares its
            images itself; its BatchNorm statistics; or its accuracy on labelled images.
        evidence: a sentence on what the choice rests on.
        suspect: empty, or why a choice of the user is doubtful.
        alternatives: every candidate that was measured, the best first.
    """

    steps: Preprocessing
    chosen_by: Literal["user", "model", "fingerprint", "accuracy"]
    evidence: str
    suspect: str = ""
    alternatives: tuple[Alternative, ...] = ()

    def __str__(self) -> str:
        return f"Preprocessing {self.steps.name}. {self.evidence}"


def checked(traced: TracedModel, explicit: Preprocessing, images: Floats) -> Preparation:
    """The user's own choice, held against the BatchNorm statistics of the model.

    Args:
        traced: the model.
        explicit: what the user asked for.
        images: float32 (N, H, W, C) before preprocessing; fewer than `FEWEST` say nothing.
    """
    steps, evidence = explicit, "It was asked for by name."
    if len(images) < FEWEST:
        return Preparation(steps, "user", evidence, _scaled_twice(traced, steps, images))
    others = [c for c in CANDIDATES if c.name != explicit.name]
    found = fingerprint(traced, _spread(images), (*others, explicit))
    suspect = contradicts(found, explicit.name)
    if found.chosen is None:  # the statistics do not vouch for the choice
        suspect = suspect or _scaled_twice(traced, steps, images)
    return Preparation(steps, "user", evidence, suspect, _by_divergence(found))


def as_given(traced: TracedModel, named: Preprocessing | None, images: Floats) -> Preparation:
    """What is done to arrays and streams: nothing, unless a preprocessing was named.

    Args:
        traced: a model with one image input.
        named: what the user asked for, if anything.
        images: float32 (N, H, W, C) as they came, as for `checked`.
    """
    if named is not None:
        found = checked(traced, named, images)
        return replace(found, suspect=found.suspect or _scaled_already(named, images))
    name, raw = _as_files(images)
    found = checked(traced, preprocessing(name), raw)
    suspect = found.suspect and (
        f"{found.suspect} Arrays are used as given unless --preprocess (in Python preprocess=) "
        "names what is to be done to values from 0 to 255."
    )
    return Preparation(preprocessing("none"), "user", AS_GIVEN, suspect)


def _as_files(images: Floats) -> tuple[str, Floats]:
    """The scale that arrays seem to have been brought to, and their values before."""
    if not _scaled(images):
        return "none", images
    return ("0..1", images * 255) if images.min() >= 0 else ("-1..1", (images + 1) * 127.5)


def _scaled(images: Floats) -> bool:
    return bool(images.size and np.abs(images).max() <= 1 and (images % 1 != 0).any())


def one_per_input() -> Preparation:
    """What is done to arrays for a model of several inputs: nothing."""
    evidence = "The images are arrays, one array per input, and were used as given."
    return Preparation(preprocessing("none"), "user", evidence)


def _scaled_already(named: Preprocessing, images: Floats) -> str:
    if named.name == "none" or not _scaled(images):
        return ""
    return (
        f"Preprocessing {named.name} is made for values from 0 to 255, and those given lie "
        f"between {images.min():.2g} and {images.max():.2g}. Give the values as files hold them, "
        "or use none."
    )


def _scaled_twice(traced: TracedModel, steps: Preprocessing, images: Floats) -> str:
    """Why small values are doubtful: the model divides pixels 0..255 itself."""
    given = steps.apply(images) if images.size else images
    where = own_preprocessing(traced) if _scaled(given) else ""
    return where and (
        f"The model brings values from 0 to 255 to its own scale, at '{where}', and those that it "
        f"is given lie between {given.min():.2g} and {given.max():.2g} already. Give it the values "
        "as files hold them, with preprocessing none."
    )


def own(traced: TracedModel) -> Preparation | None:
    """No change, where the model prepares its images itself."""
    where = own_preprocessing(traced)
    if not where:
        return None
    return Preparation(
        preprocessing("none"), "model", f"The model prepares its images itself, at '{where}'."
    )


def found_out(traced: TracedModel, images: Floats, labels: NDArray[np.int64] | None) -> Preparation:
    """The preprocessing that the model was trained with, as far as images can tell.

    Args:
        traced: a model with one image input.
        images: float32 (N, H, W, C), values 0..255 before preprocessing, at best 16 to 64.
        labels: class index per image, -1 where unknown; ``None`` if there are none.

    Raises:
        InputError: neither the BatchNorm statistics nor the labels tell; the message says why and
            names the choices.
    """
    found = fingerprint(traced, _spread(images))
    if found.chosen is not None:
        return Preparation(
            preprocessing(found.chosen),
            "fingerprint",
            found.reason,
            alternatives=_by_divergence(found),
        )
    reasons = [found.reason]
    if labels is not None and (labels >= 0).any():
        trial = by_accuracy(traced, images, labels)
        if trial.chosen is not None:
            return Preparation(
                preprocessing(trial.chosen),
                "accuracy",
                trial.reason,
                alternatives=_by_accuracy(trial, found),
            )
        reasons.append(trial.reason)
    raise InputError(unknown(traced.model.name, reasons))


def unknown(model: str, reasons: Sequence[str]) -> str:
    """The sentence for a user whose model does not tell its preprocessing."""
    return (
        f"How '{model}' was fed in training must be known to prepare image files, and it cannot "
        f"be found out: {' '.join(reasons)} Name it with --preprocess (in Python preprocess=): "
        f"{CHOICES}."
    )


def _spread(images: Floats) -> Floats:
    """As many as the fingerprint uses, from the first to the last: files come class by class."""
    places = np.linspace(0, len(images) - 1, min(MOST, len(images)))
    spread: Floats = images[places.round().astype(int)]
    return spread


def _by_divergence(found: Fingerprint) -> tuple[Alternative, ...]:
    first = {name: figures[0] for name, figures in found.divergences.items()}
    return tuple(Alternative(name, first[name]) for name in sorted(first, key=first.__getitem__))


def _by_accuracy(trial: Trial, found: Fingerprint) -> tuple[Alternative, ...]:
    names = sorted(trial.correct, key=lambda name: -trial.correct[name])
    divergences = {name: figures[0] for name, figures in found.divergences.items()}
    return tuple(
        Alternative(name, divergences.get(name), trial.correct[name] / trial.images)
        for name in names
    )
