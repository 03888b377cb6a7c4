"""From what a pasted mark does to the answers to words and a page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from layerscope.audit.figures import count, percent
from layerscope.document.parts import Document, Note, Part, Picture, Section, Table, Text
from layerscope.measures.intervals import FEWEST

LISTED = 10
"""Classes in the table."""

READING = (
    "Rise: mean change of the {scale} over the images. Moved: the share of the images answered "
    "otherwise before that are answered as this class after. In brackets 95 % limits over images. "
    "p: of the lead of the rise over the better control, corrected for all {classes}."
)
_SHORT = {"block": "with the block", "shuffled": "with it shuffled", "third": "with a control"}
DOES_NOT_SAY = (
    "This says what the pasted pixels do to the answers. It does not say that images with them "
    "occur, or that the model was trained on such images."
)


@dataclass(frozen=True, slots=True)
class Told:
    """What was pasted.

    Attributes:
        what: in words, such as ``the mark``.
        where: its size and its place.
        onto: what kind of images.
        controls: column prefix and words of each control.
        label: the class that it was taken from; ``None`` for a mark.
        images: how many there were.
        photos: how many photos they come from.
    """

    what: str
    where: str
    onto: str
    controls: tuple[tuple[str, str], ...]
    label: int | None = None
    images: int = 0
    photos: int = 0

    def counted(self, images: int, photos: int) -> "Told":
        """The same with the number of images and photos."""
        return replace(self, images=images, photos=photos)

    @property
    def number(self) -> str:
        """How many images, in words."""
        crops = f" (crops of {count(self.photos, 'photo')})" if self.photos < self.images else ""
        kind = self.onto.removeprefix("images").strip()
        return f"{count(self.images, 'image')}{f' {kind}' if kind else ''}{crops}"


def statement(told: Told, classes: pd.DataFrame, scale: str) -> str:
    """What was found, in a sentence or two.

    Args:
        told: what was pasted.
        classes: see `layerscope.probing.Probe`, the largest rise first.
        scale: what rises.
    """
    what = _sentence(told.what)
    if not np.isfinite(classes["rise_low"]).any():
        return (
            f"{what} was pasted onto {told.number}: too few for a statement, which takes "
            f"{FEWEST} photos. The table holds means without limits."
        )
    pushed = classes[classes["pushed"]]
    own = classes[classes["class"] == told.label]
    if len(own) and not own["pushed"].any():
        return _not_its_own(what, told, own.iloc[0], pushed, scale)
    if pushed.empty:
        return _nothing(what, told, classes, scale)
    row = (own if len(own) else pushed).iloc[0]
    rank = int(np.flatnonzero(classes["class"] == row["class"])[0]) + 1
    most = f"the most of all {len(classes):,} classes" if rank == 1 else f"rank {rank} of all"
    moves = (
        f"moves {_share(row['moved'])} (95\u00a0% CI {_ends(row, 'moved', 100, '.0f')}) of "
        f"{told.number} to {row['name']}; {_moves(told, row)} (those that were {row['name']} "
        "before do not count)."
    )
    rises = [f"{words} {row[f'{key}_rise']:+.2f}" for key, words in told.controls]
    raises = (
        f"raises the {scale} of {row['name']} by {row['rise']:+.2f} "
        f"(95\u00a0% CI {_ends(row, 'rise', 1, '+.2f')}), {most}; {', '.join(rises)}."
    )
    # What counts is the answer; a thousand classes often rise far and still win no image.
    order = (moves, raises) if row["moved_low"] > _most_moved(told, row) else (raises, moves)
    said = f"{what} {order[0]} It {order[1]}"
    first = classes.iloc[int(classes["moved"].argmax())]
    if first["class"] != row["class"] and first["pushed"] and first["moved"] > row["moved"]:
        said += f" Most images move to {first['name']}: {_share(first['moved'])}."
    return said


def _nothing(what: str, told: Told, classes: pd.DataFrame, scale: str) -> str:
    """No class pushed: up to what size an effect would have gone unseen."""
    highs = np.min([classes[f"{key}_rise_lead_high"] for key, _ in told.controls], axis=0)
    limit = classes.iloc[int(np.argmax(highs))]
    moved = classes.iloc[int(classes["moved"].argmax())]
    return (
        f"{what} pushes none of {count(len(classes), 'class')} beyond what its controls do, on "
        f"{told.number}. Upper 95\u00a0% limit: no class rises by more than {highs.max():+.2f} of "
        f"the {scale} beyond its controls ({limit['name']}). Most images move to {moved['name']}: "
        f"{_share(moved['moved'])} (95\u00a0% CI {_ends(moved, 'moved', 100, '.0f')}); "
        f"{_moves(told, moved)}."
    )


def _not_its_own(
    what: str, told: Told, own: "pd.Series[float]", pushed: pd.DataFrame, scale: str
) -> str:
    """The region of a class does not push that class; others it may."""
    lead = min(float(own[f"{key}_rise_lead_high"]) for key, _ in told.controls)
    said = (
        f"{what} does not push {own['name']} beyond what its control does, on {told.number}. Upper "
        f"95 % limits: its {scale} rises by no more than {lead:+.2f} beyond the control, and at "
        f"most {_share(own['moved_high'])} of images move to it (seen: {_share(own['moved'])}; "
        f"{_moves(told, own)})."
    )
    if len(pushed):
        first = pushed.iloc[0]
        said += f" Of the other classes {first['name']} rises most, by {first['rise']:+.2f}."
    return said


def _moves(told: Told, row: "pd.Series[float]") -> str:
    """How many images the controls move to a class."""
    shares = [f"{words} {{}}{_share(row[f'{key}_moved'])}" for key, words in told.controls]
    return ", ".join(text.format("" if at else "moves ") for at, text in enumerate(shares))


def _most_moved(told: Told, row: "pd.Series[float]") -> float:
    return max(float(row[f"{key}_moved"]) for key, _ in told.controls)


def probe_page(
    title: str,
    told: Told,
    classes: pd.DataFrame,
    scale: str,
    looks: Sequence[Picture],
    shown: Sequence[Picture],
    notes: Sequence[Note],
) -> Document:
    """The statement, the mark, the classes that rise most, and some images before and after.

    Args:
        title: of the page.
        told: what was pasted.
        classes: see `layerscope.probing.Probe`.
        scale: what rises.
        looks: the mark and its controls.
        shown: some images before and after.
        notes: what must be known before looking.
    """
    found: list[Part] = [note for note in notes if note.severity != "info"]
    found += [
        Text(statement(told, classes, scale), "lead"),
        _table(told, classes, scale),
        Text(READING.format(scale=scale, classes=count(len(classes), "class")), "small"),
        Text(DOES_NOT_SAY, "small"),
        *[note for note in notes if note.severity == "info"],
    ]
    order = ["before", f"with {told.what}", *[f"with {words}" for _, words in told.controls]]
    pictures: list[Part] = [Text(f"From left to right: {', '.join(order)}. Answers as captions.")]
    sections = (
        Section(f"Which classes {told.what} pushes", "pushes", 2, tuple(found)),
        Section("What was pasted", "mark", 2, (Text(f"{_sentence(told.where)}."), *looks)),
        Section("Before and after", "images", 2, (*pictures, *shown)),
    )
    return Document(f"{title}: what {told.what} does", sections)


def _table(told: Told, classes: pd.DataFrame, scale: str) -> Table:
    top = classes.head(LISTED)
    kinds = ["", *[key for key, _ in told.controls]]
    columns = ["Class", "Pushed"]
    cells = [list(top["name"]), ["yes" if one else "no" for one in top["pushed"]]]
    for key in kinds:
        columns.append(_SHORT[key] if key else f"Rise of the {scale}")
        cells.append([_rise(row, f"{key}_rise" if key else "rise") for _, row in top.iterrows()])
    columns.append("p")
    cells.append([f"{value:.3f}" if np.isfinite(value) else "" for value in top["p"]])
    columns.append("Moved")
    cells.append([_moved(row, "moved") for _, row in top.iterrows()])
    for key in kinds[1:]:
        columns.append(_SHORT[key])
        cells.append([_share(share) for share in top[f"{key}_moved"]])
    all_of = count(len(classes), "class")
    which = f"The {len(top)} of {all_of}" if len(classes) > len(top) else f"All {all_of}"
    caption = f"{which}, by the rise of the {scale}, on {told.number}"
    rows = tuple(tuple(map(str, row)) for row in zip(*cells, strict=True))
    return Table(tuple(columns), rows, caption, tuple(range(2, len(columns))))


def _rise(row: "pd.Series[float]", name: str) -> str:
    limits = f" ({_ends(row, name, 1, '+.2f')})" if np.isfinite(row[f"{name}_low"]) else ""
    return f"{row[name]:+.2f}{limits}"


def _moved(row: "pd.Series[float]", name: str) -> str:
    return f"{_share(row[name])} ({_ends(row, name, 100, '.0f')})"


def _ends(row: "pd.Series[float]", name: str, times: float, form: str) -> str:
    low, high = (times * row[f"{name}_{end}"] for end in ("low", "high"))
    return f"{low:{form}} to {high:{form}}"


def _share(share: float) -> str:
    return percent(share).replace(".0 %", " %").replace(" %", "\u00a0%")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
