"""The section of a report on leaks: each pattern, what it does in other images, and the search."""

from collections.abc import Iterator, Sequence

import numpy as np

from layerscope.audit.figures import percent
from layerscope.audit.findings import Finding, Panel
from layerscope.audit.leak_findings import WORDS
from layerscope.audit.leakage import (
    ClassLeak,
    Leaks,
    WholeLeak,
    class_verdict,
    is_of_the_edge,
    power_words,
    whole_verdict,
)
from layerscope.document.colour import Bytes, photo
from layerscope.document.parts import Part, Picture, Section, Strips, Table, Text
from layerscope.vocabulary import Floats

_NOTE = (
    "The pattern is the mean of its copies, and some of them stand beside it. Before and after: "
    "images of other classes as they are and with a copy pasted in, from the one that it moved "
    "most to the one that it moved least."
)
_NOTE_OF_LOOKS = (
    "Images of other classes as they are, and with the property of an image of the class given to "
    "them."
)
_PATTERNS, _LOOKS = "leakage/patterns", "leakage/looks"
_OF_LOOKS = ("confirmed-used", "suspect")
_SEARCHED = (
    "Score: mean correlation of the best fifth of the images of the class with the pattern, less "
    "that of other classes, on images that took no part in choosing it. Effect: rise of the "
    "probability of the class in images of others, less that with a control from a third class."
)


def leak_sections(panel: Panel, leaks: Leaks) -> list[Section]:
    """What the panel says, the patterns found, and what was searched.

    Args:
        panel: the leakage panel.
        leaks: what it rests on.
    """
    parts: list[Part] = [Text(panel.summary)]
    if leaks.power and panel.verdict != "not-found":
        parts.append(Text(power_words(leaks), "small"))
    if found := _patterns(leaks):
        strips = tuple(_strip(one, leaks) for one in found)
        parts.append(Strips("Patterns that recur in a class", strips, _NOTE, _PATTERNS))
    if looks := _looks(leaks):
        strips = tuple(map(_look, looks))
        parts.append(Strips("Looks that move the answers", strips, _NOTE_OF_LOOKS, _LOOKS))
    if leaks.classes:
        columns = (
            "Class", "Verdict", "Images", "Right", "Score", "In the class", "In others", "Effect",
            "p, adjusted",
        )  # fmt: skip
        rows = tuple(_row(one, leaks) for one in leaks.classes)
        parts += [Table(columns, rows, "Every class that was searched.", tuple(range(2, 9))),
                  Text(_SEARCHED, "small")]  # fmt: skip
    if leaks.whole:
        names = ("Class", "Property", "Verdict", "ROC area", "Effect")
        caption = "Properties of whole images that tell a class from the others."
        parts.append(Table(names, tuple(map(_property, leaks.whole)), caption, (3, 4)))
    if leaks.passes:
        parts.append(Text(f"{leaks.passes:,} changed images went through the model.", "small"))
    return [Section("Leakage", "leakage", 2, tuple(parts))]


def pictures_of(found: Finding, leaks: Leaks) -> str:
    """The anchor of the pictures that belong to a finding; empty where there are none."""
    shown: Sequence[ClassLeak | WholeLeak]
    shown, anchor = (_patterns(leaks), _PATTERNS) if found.region else (_looks(leaks), _LOOKS)
    pictured = {one.of.index for one in shown}
    own = found.panel == "leakage" and any(one.index in pictured for one in found.classes)
    return anchor if own else ""


def _patterns(leaks: Leaks) -> list[ClassLeak]:
    return [one for one in leaks.classes if one.copies is not None and one.copies.found]


def _looks(leaks: Leaks) -> list[WholeLeak]:
    return [one for one in leaks.whole if one.shown and whole_verdict(one) in _OF_LOOKS]


def _row(leak: ClassLeak, leaks: Leaks) -> tuple[str, ...]:
    copies, effect = leak.copies, leak.effect
    own = effect.same if effect else None
    return (
        leak.of.name,
        _of_class(leak, leaks),
        f"{leak.images:,}",
        f"{leak.right:,}",
        f"{copies.score.value:z.2f}" if copies else "",
        percent(copies.inside) if copies and copies.found else "",
        percent(copies.outside) if copies and copies.found else "",
        f"{own.value:.2f} ({own.low:.2f} to {own.high:.2f})" if own else "",
        f"{leak.p:.2g}" if np.isfinite(leak.p) else "",
    )


def _property(leak: WholeLeak) -> tuple[str, ...]:
    own, effect = leak.found, leak.effect
    return (
        leak.of.name,
        WORDS.get(own.name, own.name),
        _verdict(whole_verdict(leak), leak),
        f"{own.auc:.2f} ({own.low:.2f} to {own.high:.2f})",
        f"{effect.value:.2f} ({effect.low:.2f} to {effect.high:.2f})" if effect else "",
    )


def _of_class(leak: ClassLeak, leaks: Leaks) -> str:
    """The verdict on the pattern of a class in the words of the report."""
    whole = "part of the outer pixels, which are used"
    return whole if is_of_the_edge(leak, leaks) else _verdict(class_verdict(leak), leak)


def _verdict(verdict: str, leak: ClassLeak | WholeLeak) -> str:
    """The verdict in the words of the report, with what makes it decide nothing."""
    words = verdict.replace("-", " ")
    if leak.expected:
        return f"{words}, declared"
    object_ = leak.may_be_object and verdict in ("suspect", "present-unused")
    return f"{words}, maybe the object" if object_ else words


def _look(leak: WholeLeak) -> tuple[str, str, tuple[Picture, ...]]:
    words = f"{_verdict(whole_verdict(leak), leak)}: {WORDS.get(leak.found.name, leak.found.name)}"
    return f"Class {leak.of.name}", words, tuple(_before_and_after(leak.shown, "changed"))


def _before_and_after(shown: Sequence[tuple[Floats, Floats]], done: str) -> Iterator[Picture]:
    for at, (before, after) in enumerate(shown, 1):
        both = photo(np.stack([before, after]).reshape(-1, *before.shape[1:]))
        for rgb, name in zip(np.split(both, 2), ("before", "after"), strict=True):
            yield Picture(
                np.asarray(rgb), f"Image {at} of another class {name} it was {done}", name
            )


def _strip(leak: ClassLeak, leaks: Leaks) -> tuple[str, str, tuple[Picture, ...]]:
    assert leak.copies is not None
    x0, y0, x1, y1 = leak.copies.box
    words = f"{_of_class(leak, leaks)}, {x1 - x0} × {y1 - y0} pixels"
    pattern = Picture(_fitting(leak.copies.mark), "The pattern", "pattern")
    copies = [
        Picture(rgb, f"The pattern in image {at} of the class", "copy")
        for at, rgb in enumerate(_alike(leak.montage), 1)
    ]
    changed = _before_and_after(leak.shown, "given the pattern")
    return f"Class {leak.of.name}", words, (pattern, *copies, *changed)


def _alike(images: Sequence[Floats]) -> Iterator[Bytes]:
    """Images of any sizes in the same brightness."""
    ends = np.cumsum([one[..., 0].size for one in images])
    if images:
        flat = photo(np.concatenate([one.reshape(-1, 1, one.shape[-1]) for one in images]))
        for one, rgb in zip(images, np.split(flat, ends[:-1]), strict=True):
            yield np.asarray(rgb.reshape(*one.shape[:2], 3))


def _fitting(mark: Floats) -> Bytes:
    """The pattern, its values stretched: the mean of many copies is pale."""
    low, high = float(mark.min()), float(mark.max())
    return photo((mark - low) / max(high - low, 1e-12))
