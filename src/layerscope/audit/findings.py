"""What an audit finds: the kinds, their severity, and one finding with its evidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from layerscope.audit.figures import Interval, Unit
from layerscope.errors import InputError
from layerscope.vocabulary import Class

Severity = Literal["info", "warn", "fail"]
PanelName = Literal["clarity", "focus", "leakage", "memorisation", "performance"]

SEVERITIES: tuple[Severity, ...] = ("fail", "warn", "info")
"""The gravest first."""
PANELS: tuple[PanelName, ...] = ("clarity", "focus", "leakage", "memorisation", "performance")


@dataclass(frozen=True, slots=True)
class FindingKind:
    """What all findings of a kind share.

    Attributes:
        severity: the gravest that a finding of this kind has; ``info`` where it is `minor`.
        panel: where it is reported.
        title: the kind in words.
    """

    severity: Severity
    panel: PanelName
    title: str


def _kinds(severity: Severity, panel: PanelName, **titles: str) -> dict[str, FindingKind]:
    return {
        name.replace("_", "-"): FindingKind(severity, panel, title)
        for name, title in titles.items()
    }


KINDS: Mapping[str, FindingKind] = {
    **_kinds("fail", "clarity", non_finite="Values that are not finite"),
    **_kinds("fail", "leakage", leak_confirmed="A leak that the model uses"),
    **_kinds(
        "warn",
        "clarity",
        dead_channels="Dead channels",
        constant_channels="Constant channels",
        saturated_channels="Saturated channels",
        noisy_maps="Noisy maps",
        blurry_maps="Blurry maps",
        checkerboard="Checkerboard",
        positional_bias="Maps that depend on the place",
        random_kernels="Kernels not distinguishable from random initialisation",
        like_untrained_twin="Not distinguishable from the untrained twin",
        image_independent="Maps that do not depend on the image",
        inconsistent_maps="Maps that small changes of the image upset",
        redundant_layer="Redundant layer",
    ),
    **_kinds(
        "warn",
        "leakage",
        leak_present_unused="A leak in the images, not used by the model",
        leak_suspect="A suspected leak",
        data_label_property="A property of the images that gives the class away",
        near_duplicates_across_splits="Near-duplicates across train and test images",
        near_duplicates_across_classes="Near-duplicates across classes",
    ),
    **_kinds("warn", "memorisation", memorisation="Signs of memorisation"),
    **_kinds(
        "warn",
        "performance",
        low_accuracy="Low accuracy",
        preprocessing_suspect="Preprocessing suspect",
        label_mismatch="Labels do not match the outputs",
    ),
    **_kinds("warn", "focus", unreliable_heatmap="Heatmaps not to be relied on"),
    **_kinds("info", "focus", unused_channels="Unused channels"),
    **_kinds("info", "clarity", no_class_signal="No class signal"),
    **_kinds("info", "leakage", small_decisive_region="A small region decides"),
}
"""Every kind of finding. A kind is never renamed; new ones may come."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How much of what a finding is about.

    Attributes:
        name: the quantity, such as ``share of channels``.
        value: its value.
        ci95: its 95 % interval; ``None`` where nothing was sampled.
        unit: how it is shown: a share as per cent, a difference of shares in points.
    """

    name: str
    value: float
    ci95: Interval | None = None
    unit: Unit = "share"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a reader should know, with its evidence.

    Attributes:
        kind: a key of `KINDS`.
        message: what was seen, on how much, in words.
        advice: what may be tried or looked at; it promises nothing.
        layer: path of the layer it is about.
        channels: the channels of that layer it is about.
        classes: the classes it is about.
        region: x0, y0, x1, y1 as fractions of the model's input.
        effect: how much.
        p: adjusted p value, where a test was made.
        images: how many images it rests on.
        minor: there to a degree that is ordinary; lowers the severity to ``info``.
        number: tells findings of one kind on one class apart.
        data: the images it was seen on, ``test`` or ``train``.
    """

    kind: str
    message: str
    advice: str
    layer: str | None = None
    channels: tuple[int, ...] = ()
    classes: tuple[Class, ...] = ()
    region: tuple[float, float, float, float] | None = None
    effect: Effect | None = None
    p: float | None = None
    images: int | None = None
    minor: bool = False
    number: int = 0
    data: Literal["test", "train"] = "test"

    @property
    def id(self) -> str:
        """``kind/layer``, ``kind/class/n``, or ``kind/test`` for what is about neither.

        It never holds a measured number, so that audits can be compared.
        """
        if self.layer is not None:
            return f"{self.kind}/{self.layer}"
        if self.classes:
            return f"{self.kind}/{self.classes[0].name}/{self.number}"
        return f"{self.kind}/{self.data}"

    @property
    def severity(self) -> Severity:
        """``info``, ``warn`` or ``fail``."""
        return "info" if self.minor else KINDS[self.kind].severity

    @property
    def panel(self) -> PanelName:
        """The panel it belongs to."""
        return KINDS[self.kind].panel

    @property
    def anchor(self) -> str:
        """The id with anything unfit for a link escaped."""
        return quote(self.id, safe="/@", errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Panel:
    """What one panel says.

    Attributes:
        verdict: one of the words that `VERDICTS` holds for this panel.
        summary: the verdict in a sentence or two, with its numbers.
        not_tested: what was not tested and why, a sentence each.
    """

    verdict: str
    summary: str
    not_tested: tuple[str, ...] = ()


VERDICTS: Mapping[PanelName, tuple[str, ...]] = {
    "clarity": ("clear", "unclear", "unsure", "mixed", "not-tested"),
    "focus": ("believable", "unreliable", "not-tested"),
    "leakage": ("confirmed-used", "present-unused", "suspect", "not-found", "not-tested"),
    "memorisation": ("signs", "no-signs", "not-tested"),
    "performance": ("low", "moderate", "high", "not-tested"),
}


def untested(reason: str) -> Panel:
    """Return a panel that was not run, with the reason as a sentence."""
    return Panel("not-tested", reason, (reason,))


def asked_panels(panels: Sequence[str] | None) -> tuple[PanelName, ...]:
    """Return the panels to run: those asked for, or all there are.

    Raises:
        InputError: one has another name.
    """
    if panels is None:
        return PANELS
    unknown = [name for name in panels if name not in PANELS]
    if unknown or isinstance(panels, str) or not panels:
        raise InputError(
            f"Panels are a list of {', '.join(PANELS)}; got "
            f"{', '.join(map(repr, unknown)) or repr(panels)}."
        )
    return tuple(name for name in PANELS if name in panels)


def check_fail_on(names: Sequence[str]) -> None:
    """Refuse a name that is neither a kind nor ``warn`` or ``fail``.

    Raises:
        InputError: a name is neither; the message lists the choices.
    """
    unknown = [name for name in names if name not in KINDS and name not in ("warn", "fail")]
    if unknown:
        raise InputError(
            f"--fail-on takes warn, fail or kinds of findings; got {', '.join(unknown)!r}. "
            f"The kinds are {', '.join(KINDS)}."
        )


def failing(findings: Iterable[Finding], fail_on: Sequence[str]) -> list[Finding]:
    """Return the findings that ``--fail-on`` names.

    Args:
        findings: of an audit.
        fail_on: kinds, of whatever severity; ``warn`` or ``fail`` for that severity and above.

    Raises:
        InputError: see `check_fail_on`.
    """
    check_fail_on(fail_on)
    wanted = {"warn": {"warn", "fail"}, "fail": {"fail"}}
    severities = set().union(*(wanted.get(name, set()) for name in fail_on))
    return [found for found in findings if found.kind in fail_on or found.severity in severities]
