"""The leakage panel: what gives the label away in the images, and whether the model uses it.

Copies of a pattern in the images of a class nominate; only the change of the answer when the
pattern is transplanted convicts. Heat alone never does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from layerscope.audit.figures import conjoined, count, listed, percent
from layerscope.audit.findings import Effect, Finding, Panel, untested
from layerscope.images.region import shares
from layerscope.interventions.transplant import Shift, Transplanted
from layerscope.leakage.copies import Copies
from layerscope.leakage.power import Power
from layerscope.leakage.properties import Property
from layerscope.measures.intervals import wilson
from layerscope.vocabulary import Class, Floats

Verdict = Literal["confirmed-used", "present-unused", "suspect", "not-found", "not-tested"]

ORDER: tuple[Verdict, ...] = (
    "confirmed-used", "suspect", "present-unused", "not-found", "not-tested"
)  # fmt: skip
"""The panel has the first that a class has."""


@dataclass(frozen=True)
class LeakLimits:
    """Where verdicts begin (science, leakage, rule).

    Attributes:
        effect: rise of the probability from which a leak counts as used.
        surely: what the lower end of its interval must lie above.
        unused: what the upper end must lie below, to say that it is not used.
        box: share of the image that a pattern covers at most.
        level: of the adjusted p.
        fewest: rightly classified images below which nothing is said.
        enough: and from which *not found* is said.
    """

    effect: float = 0.15
    surely: float = 0.05
    unused: float = 0.10
    box: float = 0.2
    level: float = 0.05
    fewest: int = 8
    enough: int = 20


LIMITS = LeakLimits()


@dataclass(frozen=True)
class ClassLeak:
    """What was found about one class.

    Attributes:
        of: the class.
        images: of the class that were looked at, near-duplicates counted once.
        right: how many of them the model classifies rightly.
        copies: the pattern that recurs most; ``None`` where none was sought.
        covers: share of the image that its box covers.
        effect: what it does in images of other classes; ``None`` where that was not tried.
        p: of the effect, adjusted over everything tried.
        necessity: fall of the probability where the pattern is replaced; NaN where not tried.
        region: x0, y0, x1, y1 as shares of the image, of a region that decides without copies.
        region_effect: what a patch from there does.
        shown: some recipients before and after, raw (H, W, C) each.
        expected: the pattern was declared to belong to the class.
    """

    of: Class
    images: int
    right: int
    copies: Copies | None = None
    covers: float = 0.0
    effect: Transplanted | None = None
    p: float = float("nan")
    necessity: float = float("nan")
    region: tuple[float, float, float, float] | None = None
    region_effect: Shift | None = None
    shown: tuple[tuple[Floats, Floats], ...] = field(default=(), repr=False)
    expected: bool = False


@dataclass(frozen=True)
class WholeLeak:
    """A property of whole images that gives a class away, and what it does to the model.

    Attributes:
        of: the class.
        found: how well it tells the class.
        effect: what giving another image that property does; ``None`` where that was not tried.
        p: of the effect, adjusted.
        recipients: how many images it was tried in.
    """

    of: Class
    found: Property
    effect: Shift | None = None
    p: float = float("nan")
    recipients: int = 0


@dataclass(frozen=True)
class Repeated:
    """Near-duplicates: the files of each group, across classes or across train and test."""

    across: Literal["classes", "splits"]
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Leaks:
    """Everything that the leakage panel rests on.

    Attributes:
        size: height and width of the images.
        classes: one per class that was searched.
        whole: properties beyond the gate.
        repeated: near-duplicates.
        power: how often planted marks were found in these images.
        passes: images that went through the model.
        open_questions: what was not searched and why, a sentence each.
        reason: why nothing was searched at all; empty otherwise.
    """

    size: tuple[int, int]
    classes: tuple[ClassLeak, ...] = ()
    whole: tuple[WholeLeak, ...] = ()
    repeated: tuple[Repeated, ...] = ()
    power: tuple[Power, ...] = ()
    passes: int = 0
    open_questions: tuple[str, ...] = ()
    reason: str = ""


def class_verdict(leak: ClassLeak, limits: LeakLimits = LIMITS) -> Verdict:
    """What is said of copies in one class."""
    copies, effect = leak.copies, leak.effect
    if copies is None or leak.right < limits.fewest:
        return "not-tested"
    if not copies.found:
        return "not-found" if leak.right >= limits.enough else "not-tested"
    if effect is None:
        return "suspect"
    if is_used(effect.same, leak.p, limits) and leak.covers <= limits.box:
        return "confirmed-used"
    return "present-unused" if effect.same.high < limits.unused else "suspect"


def whole_verdict(leak: WholeLeak, limits: LeakLimits = LIMITS) -> Verdict:
    """What is said of a property that gives a class away."""
    if leak.effect is None:
        return "not-tested"
    if is_used(leak.effect, leak.p, limits):
        return "confirmed-used"
    return "present-unused" if leak.effect.high < limits.unused else "suspect"


def is_used(shift: Shift | None, p: float = 0.0, limits: LeakLimits = LIMITS) -> bool:
    """Whether an effect is so large, and so sure, that the model uses what causes it."""
    if shift is None:
        return False
    return shift.value >= limits.effect and shift.low > limits.surely and p <= limits.level


def leakage_panel(leaks: Leaks) -> Panel:
    """The panel of an audit."""
    if leaks.reason:
        return untested(leaks.reason)
    verdicts = [class_verdict(one) for one in leaks.classes if not one.expected]
    # A look that the model does not use is a property of the data, maybe for good reasons.
    whole = [whole_verdict(one) for one in leaks.whole if one.effect is not None]
    verdicts += [one for one in whole if one != "present-unused"]
    verdict = next((one for one in ORDER if one in verdicts), "not-tested")
    searched = sum(class_verdict(one) != "not-tested" for one in leaks.classes)
    said = {
        "confirmed-used": _named(leaks, "confirmed-used", "A pattern gives away", "and moves the "
                                 "answers of the model"),
        "suspect": _named(leaks, "suspect", "A pattern may give away", "and whether the model uses "
                          "it stays open"),
        "present-unused": _named(leaks, "present-unused", "A pattern gives away", "and the model "
                                 "does not use it, as far as these images tell"),
        "not-found": f"No pattern that gives a class away was found in {count(searched, 'class')}. "
                     f"{power_words(leaks)}",
        "not-tested": "No class could be searched for leaks.",
    }[verdict]  # fmt: skip
    return Panel(verdict, said.strip(), (*_few(leaks), *leaks.open_questions))


def _named(leaks: Leaks, verdict: Verdict, begin: str, end: str) -> str:
    of_classes = [one for one in leaks.classes if not one.expected]
    names = [one.of.name for one in of_classes if class_verdict(one) == verdict]
    if verdict != "present-unused":
        names += [one.of.name for one in leaks.whole if whole_verdict(one) == verdict]
    return f"{begin} class {listed(list(dict.fromkeys(names)))}, {end}."


def power_words(leaks: Leaks) -> str:
    """What the search would have found, and how small every effect is."""
    said = [
        f"Of planted marks that cover {percent(one.size**2)} of the image at opacity "
        f"{one.opacity:g}, {one.found} of {one.trials} were found (95 % CI {percent(one.low)} to "
        f"{percent(one.high)})."
        for one in leaks.power
    ]
    return " ".join(said)


def _few(leaks: Leaks) -> list[str]:
    missing = [one.of.name for one in leaks.classes if class_verdict(one) == "not-tested"]
    declared = [one.of.name for one in leaks.classes if one.expected]
    said = [f"The pattern of class {listed(declared)}: it was declared to belong to the class."]
    if not missing:
        return said if declared else []
    return [
        *(said if declared else []),
        f"{listed(missing)}: fewer than {LIMITS.fewest} images that the model classifies rightly, "
        f"or, where no pattern was found, fewer than {LIMITS.enough}.",
    ]


def leak_findings(leaks: Leaks) -> tuple[Finding, ...]:
    """All findings of the panel."""
    found: list[Finding] = []
    for one in leaks.classes:
        found += _of_copies(one, leaks.size)
        found += _of_region(one)
    found += _of_properties(leaks.whole)
    found += [_of_repeated(one) for one in leaks.repeated if one.groups]
    return tuple(found)


_KIND: dict[str, str] = {
    "confirmed-used": "leak-confirmed", "present-unused": "leak-present-unused",
    "suspect": "leak-suspect",
}  # fmt: skip
_ADVICE = {
    "leak-confirmed": (
        "The accuracy on images with this pattern is not to be trusted. Remove it from all images, "
        "or crop it, train again, and audit again. If it belongs to the class, such as a printed "
        "sign, declare it with --expected."
    ),
    "leak-present-unused": (
        "The model does not need it now, and another training may pick it up: remove it from the "
        "images, or declare it with --expected if it belongs to the class."
    ),
    "leak-suspect": (
        "Look at the pattern, and test it by hand with layerscope probe. More images of this class "
        "narrow the interval."
    ),
}


DECLARED = "Nothing, if the pattern is there wherever the class is, also outside these images."


def _of_copies(leak: ClassLeak, size: tuple[int, int]) -> list[Finding]:
    copies, effect = leak.copies, leak.effect
    kind = _KIND.get(class_verdict(leak), "")
    if not kind or copies is None:
        return []
    x0, y0, x1, y1 = copies.box
    where = f"at ({y0}, {x0})" if copies.fixed else "at changing places"
    message = (
        f"The same {y1 - y0}x{x1 - x0} pattern {where}, in {percent(copies.inside)} of class "
        f"{leak.of.name} and {percent(copies.outside)} of others"
    )
    if copies.shared:
        message += f" (also in {count(len(copies.shared), 'other class')}, left out)"
    if effect is None:
        message += "; what it does to the answer could not be tried."
    else:
        number = len(effect.recipients)
        hits = round(effect.moved[0] * number)
        low, high = wilson(hits, number)
        message += (
            f", moves {percent(effect.moved[0])} (CI {100 * low:.0f}-{100 * high:.0f}) of "
            f"{number} other-class images to {leak.of.name}, and the same box from unrelated "
            f"images {percent(effect.moved[1])}. The probability of {leak.of.name} rises by "
            f"{effect.same.value:z.2f} more than with the control (95 % CI "
            f"{effect.same.low:z.2f} to {effect.same.high:z.2f}), at random places by "
            f"{effect.anywhere.value:z.2f}."
        )
    if leak.covers > LIMITS.box:
        message += f" The box covers {percent(leak.covers)} of the image."
    if np.isfinite(leak.necessity):
        message += f" Without it the class loses {leak.necessity:.2f}."
    if leak.expected:
        message += " It was declared to belong to the class."
    return [
        Finding(
            kind,
            message,
            DECLARED if leak.expected else _ADVICE[kind],
            classes=(leak.of,),
            region=shares(copies.box, size),
            effect=_effect(effect.same) if effect else None,
            p=leak.p if np.isfinite(leak.p) else None,
            images=len(effect.recipients) if effect else leak.images,
            minor=leak.expected,
        )
    ]


def _effect(shift: Shift) -> Effect:
    return Effect("rise of the probability", shift.value, (shift.low, shift.high))


def _of_region(leak: ClassLeak) -> list[Finding]:
    if leak.region is None or leak.region_effect is None or not is_used(leak.region_effect):
        return []
    return [
        Finding(
            "small-decisive-region",
            f"A patch of class {leak.of.name} from one small region raises its probability in "
            f"images of other classes by {leak.region_effect.value:z.2f} (95 % CI "
            f"{leak.region_effect.low:z.2f} to {leak.region_effect.high:z.2f}). Nothing there "
            "repeats from image to image, as a mark would: small objects do this too.",
            "Look at what lies there. This is information and no leak.",
            classes=(leak.of,),
            region=leak.region,
            effect=_effect(leak.region_effect),
        )
    ]


_KIND_OF_WHOLE = {name: kind for name, kind in _KIND.items() if name != "present-unused"}


def _of_properties(whole: Iterable[WholeLeak]) -> list[Finding]:
    """One finding for a class: the look that the model uses most, and the others beside it."""
    of_class: dict[int, list[WholeLeak]] = {}
    for leak in whole:
        of_class.setdefault(leak.of.index, []).append(leak)
    return [_of_look(*sorted(looks, key=_gravity)) for looks in of_class.values()]


def _gravity(leak: WholeLeak) -> tuple[int, float]:
    return ORDER.index(whole_verdict(leak)), -(leak.effect.low if leak.effect else leak.found.auc)


def _of_look(leak: WholeLeak, *others: WholeLeak) -> Finding:
    own, effect = leak.found, leak.effect
    kind = _KIND_OF_WHOLE.get(whole_verdict(leak), "data-label-property")
    message = (
        f"Class {leak.of.name} can be told from the others by {_lower(own.name)} alone: "
        f"ROC area {own.auc:.2f} (95 % CI {own.low:.2f} to {own.high:.2f}), cross-validated "
        f"over {count(own.images, 'image')}; predicting all classes from it is right for "
        f"{percent(own.accuracy)}, always answering the commonest class for "
        f"{percent(own.majority)}."
    )
    if effect is not None:
        message += (
            f" Given to images of other classes, it raises the probability of {leak.of.name} "
            f"by {effect.value:z.2f} more than the same from a third class (95 % CI "
            f"{effect.low:z.2f} to {effect.high:z.2f}, {leak.recipients} images)."
        )
    if others:
        named = [
            f"{_lower(one.found.name)} (ROC area {one.found.auc:.2f}{_rise_words(one.effect)})"
            for one in others
        ]
        message += f" It can also be told by {conjoined(named)}."
    return Finding(
        kind,
        message,
        _ADVICE.get(kind, _ADVICE_DATA),
        classes=(leak.of,),
        effect=_effect(effect) if effect else Effect("ROC area", own.auc, (own.low, own.high)),
        p=leak.p if np.isfinite(leak.p) else None,
        images=own.images,
        number=1,
    )


def _rise_words(effect: Shift | None) -> str:
    return f", rise {effect.value:z.2f}" if effect else ""


def _lower(name: str) -> str:
    """What a property is called within a sentence."""
    words = WORDS.get(name, name)
    return words[:1].lower() + words[1:]


_ADVICE_DATA = (
    "A class may have such a look for good reasons. If it comes from how the images were made or "
    "saved, make them alike for all classes before training."
)
WORDS = {
    "colour": "The median colour", "contrast": "Brightness and contrast",
    "spectrum": "How fine the detail is", "sharpness": "Sharpness",
    "ring-1": "The outermost pixels", "ring-2": "The outer two rings of pixels",
    "aspect": "The aspect ratio", "size": "The size of the file or image",
    "file-type": "The type of the file", "exif": "The camera or program in the file",
    "jpeg": "How strongly the JPEG is compressed",
}  # fmt: skip


def _of_repeated(found: Repeated) -> Finding:
    images = sum(len(group) for group in found.groups)
    example = conjoined(found.groups[0][:3])
    if found.across == "classes":
        words = "with different labels: at least one label is wrong, or the picture shows both"
        advice = "Look at each group, and correct or drop labels. Each picture counts once here."
    else:
        words = "among both training and test images: their accuracy tells nothing of new images"
        advice = "Drop the test images that are in the training set, and measure again."
    return Finding(
        f"near-duplicates-across-{found.across}",
        f"{count(len(found.groups), 'picture')} ({count(images, 'image')}) are there more than "
        f"once {words}, such as {example}.",
        advice,
        effect=Effect("groups", float(len(found.groups)), counts=True),
        images=images,
    )
