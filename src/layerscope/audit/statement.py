"""The sentences on top of a report: what each panel says, and what follows from all together.

Nothing is averaged and there is no total score. Sentences name what was seen, not what it might
mean for a model as a person would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from layerscope.audit.figures import conjoined, listed
from layerscope.audit.findings import PANELS, Finding, Panel, PanelName

LEAK = (
    "A confirmed leak: the accuracy is not to be trusted, whatever the maps look like. Repair the "
    "images and measure again; if what was found belongs to the class, declare it (--expected)."
)


@dataclass(frozen=True)
class Combination:
    """What follows from the verdicts of several panels.

    Attributes:
        needed: verdicts that must hold.
        words: what is said.
        unless: another row says it better where one of these verdicts holds.
        learned: False, it is said of a model most of whose layers are like an untrained twin's;
            True, of any other; ``None``, of all.
    """

    needed: Mapping[PanelName, str]
    words: str
    unless: Mapping[PanelName, str] = field(default_factory=dict)
    learned: bool | None = None


COMBINED = (
    Combination(
        {"performance": "low"},
        "A low accuracy, and most layers are not distinguishable from random initialisation, so "
        "clear maps would say nothing: check that the trained weights were loaded, and train "
        "before reading the maps.",
        learned=False,
    ),
    Combination(
        {"clarity": "clear", "performance": "low"},
        "Clear maps and a low accuracy: useful features, not a good model yet. Training longer, "
        "more data or another architecture are worth a try.",
        unless={"memorisation": "signs"},
        learned=True,
    ),
    Combination(
        {"clarity": "clear", "performance": "low", "memorisation": "signs"},
        "Clear maps and a low accuracy: useful features, not a good model yet. The labels of the "
        "training images, more data or stronger regularisation are worth a try; training longer "
        "is not.",
        learned=True,
    ),
    Combination(
        {"clarity": "unclear", "performance": "high"},
        "Unclear maps and a high accuracy: the accuracy stands, and these pictures do not explain "
        "it.",
    ),
    Combination(
        {"clarity": "clear", "performance": "high", "leakage": "not-found"},
        "Clear maps and a high accuracy: neither vouches for the other. Nothing was found that "
        "carries the accuracy beside what the images show, as far as the search for leaks goes.",
    ),
    Combination(
        {"performance": "high", "leakage": "not-tested"},
        "A high accuracy does not say what it rests on, and whether a leak carries it was not "
        "tested.",
    ),
    Combination(
        {"performance": "high", "leakage": "suspect"},
        "A high accuracy beside a suspected leak: look at the leakage panel before using it.",
    ),
    Combination(
        {"memorisation": "signs"},
        "What is known by heart does not carry over: the accuracy on training images says little "
        "about new ones.",
    ),
)
"""What follows from verdicts of several panels. Where a leak is confirmed, nothing is said of the
accuracy but that."""

SUSPECT = (
    "The preprocessing is suspect, which alone can spoil maps and accuracy: settle that first."
)


_SAID: tuple[PanelName, ...] = ("performance", "leakage", "clarity", "focus")


def sentences(
    panels: Mapping[PanelName, Panel], findings: Sequence[Finding], other_order: bool = False
) -> tuple[str, ...]:
    """Return what an audit says, a paragraph each, the most urgent first.

    Args:
        panels: those that were run; others count as not tested.
        findings: all of them.
        other_order: see `layerscope.audit.accuracy.Performance`.
    """
    verdicts = {name: panels[name].verdict if name in panels else "not-tested" for name in PANELS}
    said = [*_broken(findings), *_doubts(findings)]
    said += [panels[name].summary for name in _SAID if name in panels]
    if verdicts["memorisation"] != "not-tested":
        said.append(panels["memorisation"].summary)
    known = dict(verdicts)
    if other_order:
        known["performance"] = "not-tested"  # nothing follows from such an accuracy
    said += _together(known, findings)
    missing = [name for name in PANELS if verdicts[name] == "not-tested"]
    return (*said, f"Not tested: {conjoined(missing)}.") if missing else tuple(said)


def _broken(findings: Sequence[Finding]) -> list[str]:
    layers = [str(found.layer) for found in findings if found.kind == "non-finite"]
    if not layers:
        return []
    where = "A layer gives" if len(layers) == 1 else f"{len(layers)} layers give"
    return [
        f"{where} values that are not finite ({listed(layers)}): repair that before reading on."
    ]


def _doubts(findings: Sequence[Finding]) -> list[str]:
    suspect = any(found.kind == "preprocessing-suspect" for found in findings)
    return [SUSPECT] * suspect + [
        f"The labels of the {found.data} images do not fit the outputs of the model, so these "
        "images count as unlabelled."
        for found in findings
        if found.kind == "label-mismatch"
    ]


def _together(verdicts: Mapping[PanelName, str], findings: Sequence[Finding]) -> list[str]:
    leak = verdicts["leakage"] == "confirmed-used"
    twins = any(one.kind == "like-untrained-twin" and not one.minor for one in findings)
    return [LEAK] * leak + [
        row.words
        for row in COMBINED
        if all(verdicts[name] == verdict for name, verdict in row.needed.items())
        and not any(verdicts[name] == verdict for name, verdict in row.unless.items())
        and row.learned in (None, not twins)
        and not (leak and "performance" in row.needed)
    ]
