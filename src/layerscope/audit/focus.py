"""The focus panel: whether heatmaps of the model can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.figures import conjoined, count, either
from layerscope.audit.findings import Effect, Finding, Panel, untested
from layerscope.focus.gate import Gain, Gate
from layerscope.focus.heat import Heat
from layerscope.focus.names import OVER

OF_EACH = 2
"""Images of a class that are shown of those with the right answer, and of the others."""


@dataclass(frozen=True)
class Looked:
    """What the focus panel rests on.

    Attributes:
        gate: whether the heatmaps can be believed.
        method: name of the method.
        layer: path of the layer it looks at; empty for the image itself.
        no_twin: why there is no untrained twin beside them; empty where there is one.
        tried: the layers in which unused channels were sought.
    """

    gate: Gate
    method: str
    layer: str
    no_twin: str = ""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looks:
    """Heatmaps of some images for the focus panel.

    Attributes:
        panel: what the panel rests on; ``None`` where no heatmap could be made.
        reason: why.
        heat: the heatmaps with their controls.
        labels: the true class of each, -1 where unknown.
        unused: findings on channels that nothing depends on.
    """

    panel: Looked | None
    reason: str = ""
    heat: Heat | None = None
    labels: tuple[int, ...] = ()
    unused: tuple[Finding, ...] = ()


def focus_panel(looked: Looked | None, reason: str = "") -> Panel:
    """The panel of an audit; ``reason`` says why nothing could be looked at."""
    if looked is None:
        return untested(f"No heatmap was made: {reason}")
    gate = looked.gate
    open_questions = (
        f"Whether other methods can be believed: only {looked.method} was tested.",
        *([f"Unused channels: sought in {conjoined(looked.tried)} alone."] if looked.tried else []),
        *([f"The untrained twin beside the heatmaps: {looked.no_twin}"] if looked.no_twin else []),
    )
    if gate.verdict == "not-tested":
        said = f"Whether heatmaps of {_which(looked)} can be believed: {gate.reason}."
        return Panel("not-tested", said, (said, *open_questions))
    if gate.verdict == "believable":
        said = (
            f"{_who(looked)} tell what the decision depends on better than "
            f"{either(OVER.values())}, "
            f"on {count(gate.images, 'image')}."
        )
    else:
        said = (
            f"{_who(looked)} do not tell what the decision depends on better than {_missed(gate)}, "
            f"on {count(gate.images, 'image')}: they are no evidence here."
        )
    return Panel(gate.verdict, said, open_questions)


def unreliable_heatmap(looked: Looked | None) -> list[Finding]:
    """The finding on heatmaps that do not beat what knows nothing of the model."""
    if looked is None or looked.gate.verdict != "unreliable":
        return []
    worst = min(looked.gate.gains, key=lambda gain: gain.low)
    message = (
        f"{_who(looked)} do not tell what the decision depends on better than "
        f"{_missed(looked.gate)} on "
        f"{count(looked.gate.images, 'image')}, measured by covering the most relevant cells of an "
        f"image first against the least relevant first: {_gains(looked.gate.gains)}."
    )
    advice = (
        "Do not read these heatmaps as evidence. Test another method, such as occlusion, or "
        "another layer (layerscope focus --method, --layer). What a region does to the answer is "
        "settled by changing it in the image."
    )
    return [
        Finding(
            "unreliable-heatmap",
            message,
            advice,
            layer=looked.layer or None,
            effect=Effect(
                f"gain over {OVER[worst.over]}", worst.value, (worst.low, worst.high), "number"
            ),
            images=looked.gate.images,
        )
    ]


def cases(
    predicted: NDArray[np.int64],
    labels: NDArray[np.int64],
    read: NDArray[np.bool_],
    most: int,
) -> list[int]:
    """Places of the images to show: of each class some right answers and some wrong ones.

    Classes with most wrong answers come first. Without labels an even spread.

    Args:
        predicted: class of each image, -1 where there is none.
        labels: true class, -1 where unknown.
        read: whether it could be read.
        most: how many to show.
    """
    usable = np.flatnonzero(read & (labels >= 0) & (predicted >= 0))
    if not len(usable):
        known = np.flatnonzero(read)
        spread = np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int)
        return [int(at) for at in known[spread]]
    wrong = predicted != labels
    classes = np.unique(labels[usable])
    misses = [int((wrong & (labels == one))[usable].sum()) for one in classes]
    found: list[int] = []
    for one in classes[np.argsort(-np.array(misses), kind="stable")]:
        own = usable[labels[usable] == one]
        for part in (own[~wrong[own]], own[wrong[own]]):
            found += part[:OF_EACH].tolist()
    return found[:most]


def _who(looked: Looked) -> str:
    return f"Heatmaps of {_which(looked)}"


def _which(looked: Looked) -> str:
    return f"{looked.method} at {looked.layer}" if looked.layer else looked.method


def _missed(gate: Gate) -> str:
    return either(OVER[gain.over] for gain in gate.gains if not gain.low > 0)


def _gains(gains: Sequence[Gain]) -> str:
    return "gain over " + ", over ".join(
        f"{OVER[gain.over]} {gain.value:.2f} (95 % CI {gain.low:.2f} to {gain.high:.2f})"
        for gain in gains
    )
