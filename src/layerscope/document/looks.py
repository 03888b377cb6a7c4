"""The section of a report on heatmaps: right and wrong answers of each class, with controls."""

from collections.abc import Sequence
from dataclasses import replace

from layerscope.audit.figures import count
from layerscope.audit.findings import Panel
from layerscope.audit.focus import Looks
from layerscope.document.heat import beside, beside_table, heatmap
from layerscope.document.parts import Part, Section, Table, Text
from layerscope.focus.methods import METHODS

_SHOWN = (
    "Of each class up to two images with the right answer and two with a wrong one, the class with "
    "most wrong answers first. What is explained is the model's answer. A narrow focus alone is no "
    "evidence of overfitting, and heat on a mark does not prove that the answer depends on it."
)


def focus_sections(panel: Panel, looks: Looks, classes: Sequence[str]) -> list[Section]:
    """What the panel says, the numbers beside the gate, and some images.

    Args:
        panel: the focus panel.
        looks: its heatmaps.
        classes: names in output order; may be fewer than there are.
    """
    first: list[Part] = [Text(panel.summary)]
    heat = looks.heat
    if heat is None or heat.controls is None or not len(heat):
        return [Section("Focus", "focus", 2, tuple(first))]
    if numbers := beside(heat.controls.gate):
        first.append(beside_table(numbers))
    method = METHODS[heat.method]
    parts = [heatmap(heat, at, method.signed, method.source) for at in range(len(heat))]
    settings = [(name, value) for name, value in parts[0].facts if name != "Likeness"]
    first.append(Table(("Heatmaps", "How they are made"), tuple(settings)))
    labelled = any(label >= 0 for label in looks.labels)
    if labelled:
        first.append(Text(_SHOWN, "small"))
    shown = tuple(
        replace(
            part,
            explained=f"{part.name}: {_truth(label, int(answer), classes)}{part.explained}",
            facts=(),
        )
        for part, label, answer in zip(parts, looks.labels, heat.classes, strict=True)
    )
    title, number = "Heatmaps of some images", count(len(shown), "image")
    images = Section(title, "focus/images", 3, shown, folded=number)
    return [Section("Focus", "focus", 2, tuple(first)), images]


def _truth(label: int, answer: int, classes: Sequence[str]) -> str:
    if label < 0:
        return ""
    name = classes[label] if label < len(classes) else str(label)
    return f"class {name}, {'answered right' if label == answer else 'answered wrong'}. "
