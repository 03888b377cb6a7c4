"""The leakage panel: what gives the label away in the images, and whether the model uses it.

Copies of a pattern in the images of a class nominate; only the change of the answer when the
pattern is transplanted convicts. Heat alone never does.
"""

from dataclasses import dataclass, field
from typing import Literal

from layerscope.audit.figures import count, listed, percent
from layerscope.audit.findings import Panel, untested
from layerscope.interventions.transplant import Shift, Transplanted
from layerscope.leakage.copies import Copies
from layerscope.leakage.power import Power
from layerscope.leakage.properties import RINGS, Property
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
        box: share of the image that a pattern covers at most; what is larger may be the object.
        frame: area that a property of whole images reaches at their edges; where it tells less
            there than in the middle, it may come from the object.
        common: share of its class that has a pattern which lies at changing places; parts of
            objects recur like that in fewer.
        level: of the adjusted p.
        fewest: rightly classified images below which nothing is said.
        enough: and from which *not found* is said.
    """

    effect: float = 0.15
    surely: float = 0.05
    unused: float = 0.10
    box: float = 0.2
    frame: float = 0.9
    common: float = 0.5
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
        montage: the pattern in some images of the class, raw (h, w, C) each.
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
    montage: tuple[Floats, ...] = field(default=(), repr=False)
    expected: bool = False

    @property
    def may_be_object(self) -> bool:
        """Whether the pattern is as large as objects are."""
        return self.covers > LIMITS.box


@dataclass(frozen=True)
class WholeLeak:
    """A property of whole images that gives a class away, and what it does to the model.

    Attributes:
        of: the class.
        found: how well it tells the class.
        effect: what giving another image that property does; ``None`` where that was not tried.
        p: of the effect, adjusted.
        recipients: how many images it was tried in.
        control: what the effect is compared with, in words.
        shown: some recipients before and after, raw (H, W, C) each.
        expected: the property was declared to belong to the classes.
    """

    of: Class
    found: Property
    effect: Shift | None = None
    p: float = float("nan")
    recipients: int = 0
    control: str = "the same from a third class"
    shown: tuple[tuple[Floats, Floats], ...] = field(default=(), repr=False)
    expected: bool = False

    @property
    def may_be_object(self) -> bool:
        """Whether the edges of the images tell less of it than the middle."""
        return self.found.frame < LIMITS.frame


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


def class_verdict(leak: ClassLeak) -> Verdict:
    """What is said of copies in one class."""
    copies, effect = leak.copies, leak.effect
    if copies is None or leak.right < LIMITS.fewest:
        return "not-tested"
    if not copies.found:
        return "not-found" if leak.right >= LIMITS.enough else "not-tested"
    if effect is None:
        return "suspect"
    if is_used(effect.same, leak.p):
        sure = copies.fixed or copies.inside >= LIMITS.common
        return "confirmed-used" if sure and not leak.may_be_object else "suspect"
    return "present-unused" if effect.same.high < LIMITS.unused else "suspect"


def whole_verdict(leak: WholeLeak) -> Verdict:
    """What is said of a property that gives a class away."""
    if leak.effect is None:
        return "not-tested"
    if is_used(leak.effect, leak.p):
        return "suspect" if leak.may_be_object else "confirmed-used"
    return "present-unused" if leak.effect.high < LIMITS.unused else "suspect"


def is_of_the_edge(leak: ClassLeak, leaks: Leaks) -> bool:
    """Whether an unused pattern is a part of outer pixels that are confirmed to be used.

    Then these are what is told: a part of a border alone need not move an answer.
    """
    if leak.copies is None or leak.expected or class_verdict(leak) != "present-unused":
        return False
    x0, y0, x1, y1 = leak.copies.box
    return min(x0, y0, leaks.size[1] - x1, leaks.size[0] - y1) < max(RINGS.values()) and any(
        one.of == leak.of
        and one.found.name in RINGS
        and whole_verdict(one) == "confirmed-used"
        and not one.expected
        for one in leaks.whole
    )


def is_used(shift: Shift | None, p: float = 0.0) -> bool:
    """Whether an effect is so large, and so sure, that the model uses what causes it."""
    if shift is None:
        return False
    return shift.value >= LIMITS.effect and shift.low > LIMITS.surely and p <= LIMITS.level


def leakage_panel(leaks: Leaks) -> Panel:
    """The panel of an audit."""
    if leaks.reason:
        return untested(leaks.reason)
    # What may be the object, or was declared, is told and decides nothing; a look that the model
    # does not use is a property of the data, maybe for good reasons.
    named: dict[Verdict, list[str]] = {}
    for one in leaks.classes:
        verdict = class_verdict(one)
        passed = one.expected or (one.may_be_object and verdict in ("suspect", "present-unused"))
        named.setdefault("not-found" if passed else verdict, []).append(one.of.name)
    for look in leaks.whole:
        verdict = whole_verdict(look)
        if verdict in ("confirmed-used", "suspect") and not (look.expected or look.may_be_object):
            named.setdefault(verdict, []).append(look.of.name)
    verdict = next((one for one in ORDER if one in named), "not-tested")
    names = list(dict.fromkeys(named.get(verdict, [])))
    said = _VERDICT_WORDS[verdict].format(
        classes=("class " if len(names) == 1 else "classes ") + listed(sorted(names)),
        searched=count(len(named.get("not-found", [])), "class"),
    )
    told = [said, *_passed_over(leaks)]
    if verdict == "not-found":
        told.append(power_words(leaks))
    return Panel(verdict, " ".join(filter(None, told)), (*_few(leaks), *leaks.open_questions))


_VERDICT_WORDS: dict[Verdict, str] = {
    "confirmed-used": "Something in the images gives away {classes}, and moves the answers of "
    "the model.",
    "suspect": "Something in the images may give away {classes}, and whether the model uses it "
    "stays open.",
    "present-unused": "A pattern gives away {classes}, and the model does not use it, as far as "
    "these images tell.",
    "not-found": "No pattern that gives a class away was found in {searched}.",
    "not-tested": "No class could be searched for leaks.",
}


def _passed_over(leaks: Leaks) -> list[str]:
    """What was found and decides nothing: declared, or maybe the object itself."""
    judged: list[tuple[ClassLeak | WholeLeak, Verdict]]
    judged = [(one, class_verdict(one)) for one in leaks.classes]
    judged += [(one, whole_verdict(one)) for one in leaks.whole]
    declared = [one.of.name for one, _ in judged if one.expected]
    objects = [
        one.of.name
        for one, verdict in judged
        if verdict == "suspect" and one.may_be_object and not one.expected
    ]
    said = []
    if declared:
        names = listed(sorted(set(declared)))
        said.append(f"Left out as declared: what was found in {names}.")
    if objects:
        names = listed(sorted(set(objects)))
        said.append(
            f"What moves the answers in {names} is as large as the object, or lies where it lies: "
            "look whether it is the object."
        )
    return said


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
    if not missing:
        return []
    return [
        f"{listed(missing)}: fewer than {LIMITS.fewest} images that the model classifies rightly, "
        f"or, where no pattern was found, fewer than {LIMITS.enough}."
    ]
