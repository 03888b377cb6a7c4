"""Heatmaps as parts of a document: the pictures, their legend, and whether to believe them."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from layerscope.audit.figures import count, either
from layerscope.document.colour import ColourScale, photo, scale_of
from layerscope.document.compose import number, one_value, overlay, percent
from layerscope.document.parts import (
    Document,
    Heatmap,
    Note,
    Part,
    Section,
    Table,
    Tile,
    Verdict,
    Verdicts,
)
from layerscope.focus.names import NAMES, OVER, OVER_SHORT, function_words
from layerscope.vocabulary import Floats

if TYPE_CHECKING:  # these load TensorFlow
    from layerscope.focus.gate import Gain, Gate
    from layerscope.focus.heat import Heat

QUESTION = "Can these heatmaps be believed?"
NO_CONTROLS = "no controls were asked for"
MANY = "A .png holds the picture of one image, and there are more. Save to a folder or an .html."
EMPTY = (
    "Empty: the method found nothing to show (a gradient of zero, a silent layer, or maps that are "
    "the same everywhere). Nothing is drawn, and nothing is stretched to look like something."
)
DECIDES_NOTHING = "Measured beside it, on a few of these images; these numbers decide nothing"
BESIDE = {
    "mosaic_focus": (
        "Mosaic focus",
        "0.50",
        "share of the evidence that falls on the right two of four images put together",
    ),
    "other_class": (
        "Likeness to the heatmap for another class",
        "0",
        "rank correlation; near 1, the method shows the same whatever it is asked about",
    ),
    "twin": (
        "Likeness to the heatmap of the untrained twin",
        "0",
        "rank correlation; near 1, the heatmap owes little to training",
    ),
    "complexity_rise": (
        "Rise of complexity with untrained weights",
        "0",
        "above 0, the heatmap is simpler than that of the untrained twin",
    ),
}
"""The numbers of `layerscope.focus.gate.Gate.beside`: name, chance level and meaning."""


def heatmap(heat: "Heat", at: int, signed: bool, source: str = "", alpha: float = 0.4) -> Heatmap:
    """The picture of one image.

    Args:
        heat: of any number of images.
        at: which of them.
        signed: whether values below 0 speak against the answer, rather than mean little.
        source: the paper of the method.
        alpha: share of the colour of the heatmap over the photo, 0 to 1.

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    one = heat[at]
    seen, values = photo(np.array(one.pixels[0])), one.raw[0].copy()
    empty = bool(one.empty[0])
    scale = _scale(values, signed)
    laid = overlay(seen, one.full[0], 0 if empty else alpha, signed, scale)
    words, name = explained(one, 0), _name(one.ids[0])
    gate = one.controls.gate if one.controls else None
    return Heatmap(
        name=name,
        explained=f"Explained: {words}",
        photo=seen,
        laid=laid,
        found=(f"Heatmap itself, {_shape(values)}", _tile(values, scale, f"Heatmap of {name}")),
        controls=_controls(one, name, signed),
        facts=_facts(one, source, scale, alpha),
        remarks=_remarks(one, empty),
        verdict=verdict(gate, _about(one), one.scale),
        beside=beside(gate),
        alt=f"{one.method} for {words} on {name}",
    )


def explained(heat: "Heat", at: int) -> str:
    """The class or function that is explained for an image, and the number."""
    index, name = int(heat.classes[at]), heat.names[at]
    if heat.function:
        return f"{function_words(heat.function, heat.scale)}, {heat.score[at]:.4g}"
    number = f"{heat.scale} {heat.score[at]:.4g}"
    if index < 0:
        return number
    return f"{name} (class {index}), {number}" if name else f"class {index}, {number}"


def verdict(gate: "Gate | None", about: str, scale: str) -> Verdict:
    """What the gate says, in words.

    Args:
        gate: the gate; ``None`` where nothing was tested.
        about: method and layer.
        scale: what is explained: ``logit``, ``probability`` or ``output``.
    """
    if gate is None or gate.verdict == "not-tested":
        reason = gate.reason if gate else NO_CONTROLS
        return Verdict(about, "not tested", "open", f"{reason[:1].upper()}{reason[1:]}.")
    images = f"On {count(gate.images, 'image')}, asked about the model's own answers,"
    if gate.verdict == "believable":
        return Verdict(
            about,
            "believable",
            "good",
            f"{images} the parts that a heatmap calls most relevant were covered, and then instead "
            f"those that it calls least relevant. The {scale} tells the two apart better than it "
            f"does for {either(OVER.values())}, which know nothing of the network: "
            f"{'; '.join(_gain(gain) for gain in gate.gains)}.",
        )
    lost = [gain for gain in gate.gains if not gain.low > 0]
    return Verdict(
        about,
        "unreliable",
        "bad",
        f"{images} these heatmaps did not tell the decision apart better than "
        f"{either(OVER[gain.over] for gain in lost)}: {'; '.join(_gain(gain) for gain in lost)}. "
        "That speaks against these heatmaps as evidence, and not against the network.",
    )


def verdict_line(heat: "Heat") -> str:
    """What the gate says, in a line: the verdict, and why."""
    gate = heat.controls.gate if heat.controls else None
    if gate is None or gate.verdict == "not-tested":
        return f"{_about(heat)}: not tested: {gate.reason if gate else NO_CONTROLS}."
    lost = [gain.over for gain in gate.gains if not gain.low > 0]
    words = either(OVER[over] for over in lost or OVER)
    better = "no better" if lost else "they tell what the decision depends on better"
    on = f"on {count(gate.images, 'image')}"
    return f"{_about(heat)}: {gate.verdict}, {on}: {better} than {words}."


def beside(gate: "Gate | None") -> tuple[tuple[str, str, str, str], ...]:
    """The numbers that decide nothing: name, value, chance level and meaning."""
    known = gate.beside if gate else {}
    return tuple(
        (name, f"{known[key]:.2f}", chance, meaning)
        for key, (name, chance, meaning) in BESIDE.items()
        if key in known
    )


def beside_table(numbers: tuple[tuple[str, str, str, str], ...]) -> Table:
    """The numbers of `beside` as a table."""
    columns = ("Number", "Value", "Chance level", "What it is")
    return Table(columns, numbers, DECIDES_NOTHING, numbers=(1, 2))


def heat_page(title: str, parts: Sequence[Heatmap], notes: Sequence[Note]) -> Document:
    """All pictures as one page: the verdict, which they share, then a section for each.

    Args:
        title: of the page.
        parts: one per image, one at least.
        notes: what must be known before looking.
    """
    first: list[Part] = [note for note in notes if note.severity != "info"]
    first.append(Verdicts((parts[0].verdict,)))
    if parts[0].beside:
        first.append(beside_table(parts[0].beside))
    first += [note for note in notes if note.severity == "info"]
    sections = [Section(part.name, f"image/{at}", 2, (part,)) for at, part in enumerate(parts, 1)]
    return Document(title, (Section(QUESTION, "gate", 2, tuple(first)), *sections))


def _gain(gain: "Gain") -> str:
    value, low, high = map(_figure, (gain.value, gain.low, gain.high))
    return f"gain over {OVER_SHORT[gain.over]} {value}, 95\u00a0% interval {low} to {high}"


def _figure(value: float) -> str:
    """Two decimals; more where they would hide on which side of 0 a number lies."""
    return f"{value:.2f}" if abs(value) >= 0.005 else f"{value:.1g}"


def _about(heat: "Heat") -> str:
    return f"Heatmaps of {heat.method}{f' at {heat.layer}' if heat.layer else ''}"


def _name(file: str) -> str:
    """A file as it is called within its folder, whose place is nobody's business."""
    return PurePath(file).name if PurePath(file).is_absolute() else file


def _shape(values: Floats) -> str:
    return f"{values.shape[0]} × {values.shape[1]}"


def _scale(values: Floats, signed: bool) -> ColourScale:
    """From 0, unless the sign means something: no evidence looks the same in every picture."""
    found = scale_of(values, signed=signed)
    if signed or found.low <= 0 or found.low == found.high:
        return found
    return ColourScale("map", 0.0, found.high)


def _tile(values: Floats, scale: ColourScale, alt: str) -> Tile:
    still = one_value(values)
    words = ""
    if still:
        value = float(values.flat[0])
        words = "empty" if value == 0 else f"{number(value)} everywhere"
    return Tile(values, scale, words, still, f"{alt}{', ' if words else ''}{words}")


def _controls(one: "Heat", name: str, signed: bool) -> tuple[tuple[str, Tile], ...]:
    controls = one.controls
    if controls is None:
        return ()
    edges = controls.edges[0].copy()
    tiles = [("Edges of the image", _tile(edges, _scale(edges, False), "Strength of the edges"))]
    if not controls.no_twin:
        twin = controls.twin[0].copy()
        alt = f"The same method on an untrained twin for {name}"
        tiles.insert(0, ("The same on an untrained twin", _tile(twin, _scale(twin, signed), alt)))
    return tuple(tiles)


def _facts(
    one: "Heat", source: str, scale: ColourScale, alpha: float
) -> tuple[tuple[str, str], ...]:
    """The legend: what one must know to read the pictures and to make them again."""
    shape = _shape(one.raw[0])
    method = f"{one.method}{f' ({source})' if source else ''}"
    found = [
        ("Method", f"{method}: {NAMES[one.method]}" if one.method in NAMES else method),
        ("Looks at", f"layer {one.layer}, {shape}" if one.layer else f"the image itself, {shape}"),
        ("Colours", _colours(one, scale)),
        ("Over the photo", _over(one, alpha)),
    ]
    given = {"reduction": one.reduction, "baseline": one.baseline}
    others = {name: value for name, value in one.parameters.items() if name not in given}
    settings = [f"{name} {value}" for name, value in others.items() if value is not None]
    settings += [f"{name} {value}" for name, value in given.items() if value]
    if one.seed is not None:
        settings.append(f"seed {one.seed}")
    if settings:
        found.append(("Settings", ", ".join(settings)))
    if one.gap is not None:
        missing = f"{percent(float(one.gap[0]))} of the change from the baseline"
        found.append(("Gap", f"the sum of the heatmap misses {missing}; more steps make it less"))
    if one.controls and np.isfinite(one.controls.resemblance[0]):
        likeness = f"{one.controls.resemblance[0]:.2f}"
        words = "rank correlation of this heatmap with that of the twin; 0 for unrelated maps"
        found.append(("Likeness", f"{likeness}: {words}"))
    return tuple(found)


def _colours(one: "Heat", scale: ColourScale) -> str:
    if scale.low == scale.high:
        return "none: there is one value everywhere"
    meaning = (
        "red speaks for the answer, blue against it"
        if scale.diverging
        else "dark for nothing, yellow for most; only what speaks for the answer is kept"
    )
    own = "; the twin and the edges have scales of their own" if one.controls else ""
    return f"{meaning}. One scale for the heatmap and for what lies over the photo{own}"


def _over(one: "Heat", alpha: float) -> str:
    if one.empty[0]:
        return "nothing; the photo in grey"
    enlarged = f", enlarged ({one.resampler})" if one.resampler else ""
    return f"{percent(alpha)} heatmap{enlarged}, photo in grey"


def _remarks(one: "Heat", empty: bool) -> tuple[str, ...]:
    said = [EMPTY] if empty else []
    controls = one.controls
    if controls is None:
        return tuple(said)
    if controls.no_twin:
        said.append(f"There is no untrained twin: {controls.no_twin}")
    elif not controls.twin.any():
        said.append("The heatmap of the untrained twin is empty.")
    return tuple(said)
