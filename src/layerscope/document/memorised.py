"""The section of a report on memorisation: what decides, and what is only described."""

import math
from collections.abc import Collection

from layerscope.audit.described import NARROW, Described, NoiseRow, ShiftRow
from layerscope.audit.figures import count, with_interval
from layerscope.audit.findings import Panel
from layerscope.audit.memorisation import Memorised
from layerscope.document.parts import Part, Section, Table, Text, layer_anchor

_DATA = {"train": "training images", "test": "test images"}
_NOISE = (
    "Described only: Gaussian noise, its standard deviation given as a share of the range of the "
    "pixels. Steepness is the length of the gradient of the strongest logit by the noisy image, "
    "times that range. Neither rises reliably with the share of wrong labels, so neither decides."
)
_SHIFT = (
    "Described only: how many standard deviations apart the mean answers of the channels are, less "
    "what chance adds. Chance: what 95 % of random divisions of the same images stay below. Other "
    "classes or other light in one of the sets shift a layer as well."
)


def memorisation_section(panel: Panel, found: Memorised, shown: Collection[str] = ()) -> Section:
    """What the panel says, and what stands beside it.

    Args:
        panel: the memorisation panel.
        found: what it rests on.
        shown: paths of the layers that the document has a place for.
    """
    parts: list[Part] = [Text(panel.summary)]
    if not found.reason:
        low, high = found.auc_ci95
        area = f"{found.auc:.2f} (95 % CI {low:.2f} to {high:.2f})"
        rows = (
            ("Accuracy on training images less that on test images",
             with_interval(found.gap, found.gap_ci95)),
            ("ROC area of the confidence, training against test images", area),
        )  # fmt: skip
        parts.append(Table(("What decides", "Value"), rows, numbers=(1,)))
    beside = found.described
    if beside.reason:
        parts.append(Text(f"Training and test images were not compared. {beside.reason}", "small"))
    parts += [*_noise(beside), *_shifts(beside, shown)]
    parts.append(Text(str(beside.concentration) if beside.concentration else NARROW, "small"))
    return Section("Memorisation", "memorisation", 2, tuple(parts))


def _noise(beside: Described) -> list[Part]:
    if not beside.noise:
        return []
    columns = ("Images", "Noise", "Number", "Another answer", "Steepness")
    rows = tuple(map(_noise_row, beside.noise))
    return [Table(columns, rows, "Answers under noise.", (1, 2, 3, 4)), Text(_NOISE, "small")]


def _noise_row(row: NoiseRow) -> tuple[str, ...]:
    steep = "" if row.steepness is None else f"{row.steepness:.3g}"
    flips = with_interval(row.flips, row.ci95)
    return (_DATA[row.data], f"{100 * row.level:g} %", f"{row.images:,}", flips, steep)


def _shifts(beside: Described, shown: Collection[str]) -> list[Part]:
    if not beside.shifts:
        return []
    train, test = beside.images
    caption = (
        f"Layers on {count(train, 'training image')} against {count(test, 'test image')}, in the "
        "order of the network."
    )
    known = all(row.layer in shown for row in beside.shifts)
    anchors = tuple(layer_anchor(row.layer) for row in beside.shifts) if known else ()
    rows = tuple(map(_shift_row, beside.shifts))
    table = Table(("Layer", "Shift", "Chance"), rows, caption, (1, 2), links=anchors)
    return [table, Text(_SHIFT, "small")]


def _shift_row(row: ShiftRow) -> tuple[str, ...]:
    return (row.layer, _number(row.shift.value), _number(row.shift.chance))


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""
