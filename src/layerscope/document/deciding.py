"""The sheet of the maps that decide as parts: tiles over a photo and the words with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from layerscope.document.colour import Bytes
from layerscope.document.compose import overlay, range_of, short_facts
from layerscope.document.parts import Document, Note, Part, Picture, Section, Table
from layerscope.focus.names import function_words
from layerscope.vocabulary import Floats, Layer

ALPHA = 0.55
"""Share of the colour of a map over its photo."""


@dataclass(frozen=True, slots=True)
class DecidingTile:
    """One map over the photo.

    Attributes:
        title: the layer.
        channel: the number of the map.
        change: what happens to the answer without it, in few words.
        supports: whether the answer falls without the map.
        facts: of the layer, in few words.
        picture: the map over the photo.
        also: layers that pass this map on.
    """

    title: str
    channel: int
    change: str
    supports: bool
    facts: str
    picture: Picture
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deciding:
    """The maps that decide one photo.

    Attributes:
        title: what is decided.
        name: of the photo.
        photo: uint8 (H, W, 3).
        said: how the maps were found, sentences.
        tiles: the largest change first.
        note: how to read them.
        alt: what it shows, in a sentence.
    """

    title: str
    name: str
    photo: Bytes
    said: tuple[str, ...]
    tiles: tuple[DecidingTile, ...]
    note: str
    alt: str


def deciding_tile(
    photo: Bytes,
    layer: Layer,
    channel: int,
    values: Floats,
    change: float,
    also: Sequence[str] = (),
) -> DecidingTile:
    """Lay a map that decides over its photo.

    Args:
        photo: uint8 (H, W, 3), at the size of the tile.
        layer: the row that describes its layer.
        channel: its number.
        values: float32 (h, w), the map.
        change: of the explained number without it.
        also: layers that pass this map on.
    """
    laid = overlay(photo, values, ALPHA, layer.pre_activation)
    return DecidingTile(
        layer.path,
        channel,
        f"{change:+.2f}" if abs(change) >= 0.005 else f"{change:+.1g}",
        change < 0,
        short_facts(layer),
        Picture(laid.rgb, f"Map {channel} of {layer.path} over the photo", "", laid.scale),
        tuple(also),
    )


def deciding(
    name: str,
    photo: Bytes,
    target: str,
    scale: str,
    score: float,
    tiles: Sequence[DecidingTile],
    searched: str,
    level: str,
    function: str = "",
) -> Deciding:
    """The sheet of one photo.

    Args:
        name: of the photo.
        photo: uint8 (H, W, 3).
        target: what is explained, in words; empty for the output itself.
        scale: ``logit``, ``probability`` or ``output``.
        score: the explained number.
        tiles: the largest change first.
        searched: how many maps were looked at, in a sentence.
        level: what maps were held at, in words.
        function: what is explained instead of a class, see `layerscope.focus.names.called`.
    """
    about = f"the {scale} of {target}" if target else f"the {scale}"
    about = function_words(function, scale) if function else about
    found = (
        f"One map at a time was held at {level}, everywhere, and the rest computed again: the "
        f"number is what that does to {about}, {score:.2f} with all maps."
        if tiles
        else f"No map that was held changes {about} by more than rounding."
    )
    note = (
        "Each map on its own scale, as rectangles over the photo in grey. Red numbers: the map "
        "speaks for the answer, which falls without it. Blue, with a plus: it speaks against it. "
        "A map that a depthwise convolution or a residual sum passes on is shown once, where it "
        "counts most."
    )
    return Deciding(
        f"The maps that decide: {target or function or scale}",
        name,
        photo,
        (found, searched),
        tuple(tiles),
        note if tiles else "",
        f"{len(tiles)} maps laid over {name}, those without which {about} changes most. {found} "
        f"{searched}",
    )


def deciding_page(
    title: str, sheets: Sequence[Deciding], drawn: Sequence[Bytes], notes: Sequence[str]
) -> Document:
    """All sheets as a page, with the numbers as tables.

    Args:
        title: of the page.
        sheets: one per photo.
        drawn: the same as pictures.
        notes: what must be known before looking.
    """
    sections = []
    for place, (sheet, rgb) in enumerate(zip(sheets, drawn, strict=True)):
        parts: list[Part] = [Note(text) for text in notes] if place == 0 else []
        parts.append(Picture(rgb, sheet.alt))
        parts += [_table(sheet)] if sheet.tiles else []
        name = f"{sheet.name}: {sheet.title}" if len(sheets) > 1 else sheet.title
        sections.append(Section(name, f"photo/{place}", 2, tuple(parts)))
    return Document(title, tuple(sections))


def _table(sheet: Deciding) -> Table:
    rows = tuple(
        (
            tile.title,
            str(tile.channel),
            tile.change,
            "for" if tile.supports else "against",
            range_of(tile.picture.scale) if tile.picture.scale else "",
            tile.facts,
            ", ".join(tile.also),
        )
        for tile in sheet.tiles
    )
    columns = (
        "Layer",
        "Map",
        "Without it",
        "Speaks",
        "Range of the map",
        "Layer in words",
        "Passed on by",
    )
    return Table(columns, rows, "The same in numbers", numbers=(1, 2))
