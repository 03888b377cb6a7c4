"""The report of an audit: from its result to the parts of a document.

Order: what it says, the panels, the findings with the gravest first, performance, memorisation,
leaks, heatmaps, layer by layer, the data and how it was prepared, how to repeat it, and what was
not tested.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from layerscope.audit.accuracy import Performance
from layerscope.audit.clarity import CHANNEL_VERDICTS
from layerscope.audit.figures import amount, count, listed, percent, with_interval
from layerscope.audit.findings import KINDS, PANELS, SEVERITIES, Finding, Severity
from layerscope.audit.focus import Looks
from layerscope.audit.leakage import Leaks
from layerscope.audit.result import Audit, DataSet, LayerResult
from layerscope.document.compose import shape_of
from layerscope.document.layers import reading, sections
from layerscope.document.leaks import leak_sections, pictures_of
from layerscope.document.looks import focus_sections
from layerscope.document.memorised import memorisation_section
from layerscope.document.parts import (
    Document,
    FindingCard,
    Note,
    Part,
    Section,
    Table,
    Text,
    Verdict,
    Verdicts,
    layer_anchor,
)
from layerscope.run.evidence import Gallery

MOST_ROWS = 40
"""Of a table that may be as long as the data; audit.json holds the rest."""

MOST_CARDS = 6
"""Of one kind of finding; the others are rows of a table."""

MOST_NOTES = 10
"""Findings for information that stay unfolded."""

ORDINARY = "most are ordinary in trained nets"
MORE = "The same kinds of findings in other places; what may help is said above."
MINOR = "There to a degree that is ordinary in trained nets; nothing has to be done."

ASSUMED = (
    "The outputs were given no names (--classes). The classes of the images are taken for the "
    "outputs of the model in this order, which is an assumption"
)

ALL_SAMPLED = ("sampled_images", None)
"""What an audit notes of a stream, whose length it does not know beforehand."""

GOOD = {"clear", "believable", "not-found", "no-signs", "high"}
BAD = {"unclear", "unreliable", "confirmed-used", "suspect", "signs", "low"}

_HEADINGS: dict[Severity, str] = {"fail": "Problems", "warn": "Warnings", "info": "Notes"}

_NO_SCORE = (
    "The panels answer different questions and are never added up: clear maps do not make a good "
    "model, and a high accuracy does not make an honest one."
)


def report(
    audit: Audit,
    gallery: Gallery | None = None,
    looks: Looks | None = None,
    leaks: Leaks | None = None,
) -> Document:
    """Compose the report of an audit.

    Args:
        audit: its result.
        gallery: what to show of each layer; ``None`` for a table of the layers alone.
        looks: heatmaps of some images; ``None`` where there are none.
        leaks: patterns that give classes away; ``None`` where none were sought.
    """
    layers = f"{count(len(audit.layers), 'layer')}, " if audit.layers else ""
    about = (
        f"{audit.model.path}: {count(audit.model.parameters, 'parameter')}, "
        f"{layers}{count(audit.test.images, 'test image')}. "
        f"{audit.created:%Y-%m-%d %H:%M %Z}."
    )
    cut = () if audit.complete else (Note("This audit was cut short: it is not complete.", "warn"),)
    lead = tuple(Text(words, "lead") for words in audit.sentences)
    return Document(
        "Layerscope audit",
        (
            Section(
                "Statement",
                "statement",
                2,
                (*cut, *lead, Text(about, "small")),
            ),
            Section("Panels", "panels", 2, (_verdicts(audit), Text(_NO_SCORE, "small"))),
            *_findings(audit.findings, leaks),
            *_if_run(audit, Section("Performance", "performance", 2, _performance(audit))),
            *_memorised(audit),
            *(leak_sections(audit.panel("leakage"), leaks) if leaks else ()),
            *(focus_sections(audit.panel("focus"), looks, audit.test.classes) if looks else ()),
            Section("Layers", "layers", 2, _layers(audit, gallery)),
            *(sections(audit.layers, gallery) if gallery else ()),
            Section("Data", "data", 2, _data(audit)),
            Section("Preprocessing", "preprocessing", 2, _preprocessing(audit)),
            Section("Not tested", "not-tested", 2, _untested(audit)),
            Section("Provenance", "provenance", 2, (_provenance(audit),)),
        ),
    )


def _if_run(audit: Audit, section: Section) -> list[Section]:
    """The section of a panel, if that was asked for."""
    return [section] if section.anchor in audit.panels else []


def _memorised(audit: Audit) -> list[Section]:
    panel, found = audit.panel("memorisation"), audit.memorised
    shown = {row.layer.path for row in audit.layers}
    return [] if found is None else [memorisation_section(panel, found, shown)]


def _verdicts(audit: Audit) -> Verdicts:
    panels = [(name, audit.panel(name)) for name in PANELS]
    return Verdicts(
        tuple(
            Verdict(name, panel.verdict.replace("-", " "), _tone(panel.verdict), panel.summary)
            for name, panel in panels
        )
    )


def _tone(verdict: str) -> Literal["good", "bad", "open"]:
    return "good" if verdict in GOOD else "bad" if verdict in BAD else "open"


def _findings(findings: Sequence[Finding], leaks: Leaks | None) -> list[Section]:
    if not findings:
        none = "No findings. What was looked at is under Panels, what was not under Not tested."
        return [Section("Findings", "findings", 2, (Text(none),))]
    sections = [Section("Findings", "findings", 2, ())]
    for severity in SEVERITIES:
        own = [found for found in findings if found.severity == severity]
        if own:
            title = f"{_HEADINGS[severity]} ({len(own)})"
            brief = ORDINARY if severity == "info" and len(own) > MOST_NOTES else ""
            sections.append(
                Section(title, f"findings/{severity}", 3, _cards(own, leaks), folded=brief)
            )
    return sections


def _cards(findings: Sequence[Finding], leaks: Leaks | None) -> tuple[Part, ...]:
    """Return a card for each finding, but rows of tables where a reader would drown in them."""
    seen: Counter[str] = Counter()
    cards: list[Part] = []
    more, minor = [], []
    for found in findings:
        seen[found.kind] += not found.minor
        if found.minor:
            minor.append(found)
        elif seen[found.kind] > MOST_CARDS:
            more.append(found)
        else:
            cards.append(_card(found, leaks))
    return (*cards, *_rows(more, MORE), *_rows(minor, MINOR))


def _rows(findings: Sequence[Finding], heading: str) -> list[Part]:
    if not findings:
        return []
    rows = tuple((KINDS[found.kind].title, found.message) for found in findings)
    anchors = tuple(found.anchor for found in findings)
    return [Text(heading, "small"), Table(("Finding", "What was seen"), rows, anchors=anchors)]


def _card(found: Finding, leaks: Leaks | None) -> FindingCard:
    where = [] if found.layer is None else [(found.layer, layer_anchor(found.layer))]
    where += [(f"class {one.name}", "") for one in found.classes]
    if leaks is not None and (anchor := pictures_of(found, leaks)):
        where.append(("pictures", anchor))
    facts = []
    if found.effect is not None:
        effect = found.effect
        facts.append((effect.name, amount(effect.value, effect.ci95, effect.unit)))
    if found.channels:
        facts.append(("channels", listed(found.channels)))
    if found.p is not None:
        facts.append(("p, adjusted", f"{found.p:.2g}"))
    if found.images is not None:
        facts.append(("images", f"{found.images:,}"))
    return FindingCard(
        found.anchor,
        found.severity,
        KINDS[found.kind].title,
        tuple(where),
        found.message,
        tuple(facts),
        found.advice,
    )


def _performance(audit: Audit) -> tuple[Part, ...]:
    parts: list[Part] = []
    splits = {"Test images": audit.performance, "Training images": audit.train_performance}
    for title, found in splits.items():
        if found is not None:
            parts += _measured(title, found)
    return tuple(parts)


def _measured(title: str, found: Performance) -> list[Part]:
    if found.accuracy is None:
        return [Note(f"{title}: not tested. {found.reason}")]
    return [
        Table((title, "Value"), tuple(_numbers(found)), numbers=(1,)),
        *(Text(note, "small") for note in (*found.notes, found.reason) if note),
        *_per_class(found),
        *_confused(found),
    ]


def _numbers(found: Performance) -> list[tuple[str, str]]:
    what, frequent, sure = (
        ("Right decisions, one per image and label", "what is commonest of each label", "each")
        if found.several
        else ("Accuracy", "the most frequent class", "the strongest")
    )
    calibration = f"Calibration error (15 bins of {sure} probability)"
    shares = (
        (f"{what} (95 % Wilson interval)", found.accuracy, found.ci95),
        (f"Always answering {frequent}", found.majority, None),
        ("Guessing at random", found.chance, None),
        (calibration, found.calibration_error, None),
    )
    rows = [(name, with_interval(share, ci)) for name, share, ci in shares if share is not None]
    if found.skill is not None and found.skill_ci95 is not None:
        low, high = found.skill_ci95
        skill = f"{found.skill:.2f} (95 % CI {low:.2f} to {high:.2f})"
        rows.insert(1, ("Of the way from guessing (0) to always right (1)", skill))
    return [("Images", f"{found.images:,}"), *rows]


def _per_class(found: Performance) -> list[Part]:
    worst = sorted(found.per_class, key=lambda row: (row.accuracy, row.ci95[1], row.of.index))
    cells = tuple(
        (row.of.name, f"{row.images:,}", percent(row.accuracy), _limits(row.ci95)) for row in worst
    )
    columns = ("Class", "Images", "Accuracy", "95 % CI")
    title = "Accuracy per class"
    if found.several:
        columns = ("Label", "Images with it", "It is said for", "95 % CI")
        title = "Of the images with a label, for how many it is said"
    caption = _cut(f"{title}, the worst first", len(cells))
    return [Table(columns, cells[:MOST_ROWS], caption, (1, 2, 3))]


def _confused(found: Performance) -> list[Part]:
    if not found.confused:
        return []
    cells = tuple(
        (row.true.name, row.predicted.name, f"{row.images:,}", percent(row.share))
        for row in found.confused
    )
    columns = ("Class", "Taken for", "Images", "Of the class")
    return [Table(columns, cells, "Classes confused most often", (2, 3))]


def _limits(ci95: tuple[float, float]) -> str:
    return f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f}"


def _cut(caption: str, rows: int) -> str:
    if rows <= MOST_ROWS:
        return f"{caption}."
    return f"{caption}; {MOST_ROWS} of {rows:,} shown, all are in audit.json."


def _layers(audit: Audit, gallery: Gallery | None) -> tuple[Part, ...]:
    if not audit.layers:
        return (Text("No layer was measured."),)
    used = [name for name in CHANNEL_VERDICTS if audit.channels[name]]
    names = ("Layer", "Kind", "Map", "Receptive field", "Depth", "Signed", "Learned", "Channels")
    columns = (*names, *(name.replace("_", " ").capitalize() for name in used))
    note = (
        "Each channel counts once, under the first verdict that applies. Maps of signed layers, "
        "taken before an activation or after one that lets negative values pass, are never dead. "
        "Learned: whether the layer can be told from those of untrained twins."
    )
    anchors = tuple(layer_anchor(result.layer.path) for result in audit.layers)
    table = Table(
        columns,
        tuple(_layer(result, used) for result in audit.layers),
        "Layers in the order of the network, and how many of their channels have each verdict.",
        tuple(range(7, len(columns))),
        () if gallery else anchors,
        anchors if gallery else (),
    )
    shown = reading(audit.layers, gallery) if gallery else ()
    return (table, Text(note, "small"), *shown)


def _layer(result: LayerResult, used: Sequence[str]) -> tuple[str, ...]:
    layer = result.layer
    field = "" if layer.receptive_field is None else f"{layer.receptive_field} px"
    numbers = [f"{result.channels[name]:,}" if result.channels[name] else "" for name in used]
    signed = "yes" if layer.pre_activation else ""
    total = f"{result.channels['total']:,}"
    return (
        layer.path,
        layer.kind,
        shape_of(layer),
        field,
        result.regime or "",
        signed,
        result.learned.replace("-", " "),
        total,
        *numbers,
    )


def _data(audit: Audit) -> tuple[Part, ...]:
    parts = _images("Test images", audit.test)
    if audit.train is None:
        return (*parts, Text("No training images were given."))
    return (*parts, *_images("Training images", audit.train))


def _images(title: str, data: DataSet) -> list[Part]:
    labelled = f"in {count(len(data.classes), 'class')}" if data.classes else "without labels"
    parts: list[Part] = [Text(f"{title}: {data.images:,} {labelled}.")]
    if data.order_assumed:
        parts.append(Text(f"{ASSUMED}: {listed(data.classes)}."))
    if data.skipped:
        rows = tuple((item.file, item.reason) for item in data.skipped)
        caption = _cut(f"{title} that could not be used ({len(rows):,})", len(rows))
        parts.append(Table(("File", "Reason"), rows[:MOST_ROWS], caption))
    return parts


_CHOSEN_BY = {
    "user": "given by the user",
    "model": "chosen since the model prepares its images itself",
    "fingerprint": "chosen by the fingerprint of the BatchNorm layers",
    "accuracy": "chosen by the accuracy on a small labelled sample",
}


def _preprocessing(audit: Audit) -> tuple[Part, ...]:
    chosen = audit.preprocess
    said = Text(f"Preprocessing {chosen.name}, {_CHOSEN_BY[chosen.chosen_by]}.")
    if not chosen.alternatives:
        return (said,)
    rows = tuple(
        (
            other.name,
            "" if other.divergence is None else f"{other.divergence:.3g}",
            "" if other.accuracy is None else percent(other.accuracy),
            "chosen" if other.name == chosen.name else "",
        )
        for other in chosen.alternatives
    )
    note = (
        "Divergence: how far the inputs of the first BatchNorm layer are from those of the "
        "training; 0 is no difference."
    )
    columns = ("Considered", "Divergence", "Accuracy", "Choice")
    return (said, Table(columns, rows, numbers=(1, 2)), Text(note, "small"))


def _untested(audit: Audit) -> tuple[Part, ...]:
    rows = tuple((name, reason) for name in PANELS for reason in audit.panel(name).not_tested)
    if not rows:
        return (Text("All panels were tested in full."),)
    return (Table(("Panel", "What was not tested, and why"), rows),)


def _provenance(audit: Audit) -> Table:
    rows = {
        "Model": audit.model.path,
        "SHA-256 of its weights": audit.model.sha256,
        "Created": audit.created.isoformat(),
        **{
            str(name).replace("_", " "): "all" if (name, value) == ALL_SAMPLED else _worded(value)
            for name, value in audit.provenance.items()
        },
    }
    return Table(("What", "Value"), tuple(rows.items()))


def _worded(value: object) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {_worded(inner)}" for name, inner in value.items()]
    if isinstance(value, list | tuple):
        value = ", ".join(map(_worded, value))
    return "none" if value is None or value == "" else str(value)
