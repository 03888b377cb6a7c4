"""The sentences on top of a report: what each panel says, and what follows from all together.

Nothing is averaged and there is no total score. Sentences name what was seen, not what it might
mean for a model as a person would.
"""

from collections.abc import Mapping, Sequence

from layerscope.audit.figures import conjoined, listed
from layerscope.audit.findings import PANELS, Finding, Panel, PanelName

LEAK = (
    "A confirmed leak: the accuracy is not to be trusted, whatever the maps look like. Repair the "
    "images and measure again."
)
COMBINED: tuple[tuple[Mapping[PanelName, str], str], ...] = (
    (
        {"clarity": "clear", "performance": "low"},
        "Clear maps and a low accuracy: useful features, not a good model yet. Training longer, "
        "more data or another architecture are worth a try.",
    ),
    (
        {"clarity": "unclear", "performance": "high"},
        "Unclear maps and a high accuracy: the accuracy stands, and these pictures do not explain "
        "it.",
    ),
    (
        {"performance": "high", "leakage": "not-tested"},
        "A high accuracy does not say what it rests on, and whether a leak carries it was not "
        "tested.",
    ),
    (
        {"performance": "high", "leakage": "suspect"},
        "A high accuracy beside a suspected leak: look at the leakage panel before using it.",
    ),
    (
        {"memorisation": "signs"},
        "There are signs that training images were memorised: the accuracy on them says little "
        "about new ones.",
    ),
)
"""What follows from verdicts of several panels (first those that must hold), where no leak is
confirmed."""

SUSPECT = (
    "The preprocessing is suspect, which alone can spoil maps and accuracy: settle that first."
)


_SAID: tuple[PanelName, ...] = ("performance", "leakage", "clarity", "focus")


def sentences(panels: Mapping[PanelName, Panel], findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return what an audit says, a paragraph each, the most urgent first.

    Args:
        panels: those that were run; others count as not tested.
        findings: all of them.
    """
    verdicts = {name: panels[name].verdict if name in panels else "not-tested" for name in PANELS}
    said = [*_broken(findings), *_doubts(findings)]
    said += [panels[name].summary for name in _SAID if name in panels]
    said += _together(verdicts)
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


def _together(verdicts: Mapping[PanelName, str]) -> list[str]:
    if verdicts["leakage"] == "confirmed-used":
        return [LEAK]
    return [
        words
        for needed, words in COMBINED
        if all(verdicts[name] == verdict for name, verdict in needed.items())
    ]
