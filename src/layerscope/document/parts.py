"""The parts a document is made of. Read this file before anything that draws.

A document is composed once, as a frozen tree, and then lowered to PNG, HTML, a terminal or a
notebook. Maps stay numbers with a colour scale until they are lowered. Every picture carries the
words that say what it shows (alt), for readers who cannot see it.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from layerscope.document.colour import Bytes, ColourScale
from layerscope.selection import Selection
from layerscope.vocabulary import Floats, Layer

Badge = Literal["", "dead", "constant", "non-finite"]
Tone = Literal["good", "bad", "open"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph.

    Attributes:
        text: its words.
        style: empty, ``lead`` for the most important one, ``small`` for a remark on what is near.
    """

    text: str
    style: Literal["", "lead", "small"] = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that must not be overlooked."""

    text: str
    severity: Literal["info", "warn", "fail"] = "info"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under column names, all of them text.

    Attributes:
        columns: their names.
        rows: one cell for each column.
        caption: printed with it.
        numbers: places of the columns that hold numbers, which stand at the right.
        anchors: a permanent name for each row, which its first cell then links to; empty for none.
        links: for each row a place in the same document that its first cell links to instead;
            empty for none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numbers: tuple[int, ...] = ()
    anchors: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Links:
    """Links to places in the same document: a label and an anchor each."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FindingCard:
    """One finding: what was seen, how much of it, and what may be tried.

    Attributes:
        anchor: permanent name of the finding.
        severity: ``info``, ``warn`` or ``fail``.
        title: the kind of finding in words.
        where: what it is about: a label and an anchor, an empty anchor for none.
        message: what was seen.
        facts: names and values of the evidence.
        advice: what may be tried.
    """

    anchor: str
    severity: Literal["info", "warn", "fail"]
    title: str
    where: tuple[tuple[str, str], ...]
    message: str
    facts: tuple[tuple[str, str], ...]
    advice: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one panel of an audit says.

    Attributes:
        name: of the panel.
        verdict: its word.
        tone: ``good``, ``bad`` or ``open`` (neither, or not tested); never the only sign.
        summary: the verdict in a sentence or two.
    """

    name: str
    verdict: str
    tone: Tone
    summary: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The panels of an audit side by side."""

    items: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Finished pixels.

    Attributes:
        rgb: uint8 (H, W, 3).
        alt: what it shows, in a sentence.
        caption: printed with it.
        scale: the scale that made the colours, where numbers did.
    """

    rgb: Bytes
    alt: str
    caption: str = ""
    scale: ColourScale | None = None


@dataclass(frozen=True, slots=True)
class MapGrid:
    """Maps of one layer: a row of tiles for each image, a column for each channel.

    Attributes:
        layer: the row that describes the layer.
        facts: that row in words.
        photos: one input image per row, uint8 (H, W, 3).
        names: the name of each image.
        maps: float32 (N, H, W, K), the K shown channels.
        channels: their K numbers.
        selection: how they were chosen, and what is known of the hidden ones.
        scales: their K colour scales, each shared by all images.
        scale_note: how to read the colours.
        badges: for each shown channel, empty or why it is not an ordinary map.
        stands_for: for each shown channel, the hidden ones it is most alike to.
        legend: how many of how many maps, and what they carry.
        remarks: sentences on what is not shown or not ordinary.
        whole: for each image pictures of the whole layer: its PCA composite, then its factors;
            empty where nothing varies or the layer has a single map.
        alt: what the grid shows, in a sentence.
    """

    layer: Layer
    facts: str
    photos: tuple[Bytes, ...]
    names: tuple[str, ...]
    maps: Floats
    channels: tuple[int, ...]
    selection: Selection
    scales: tuple[ColourScale, ...]
    scale_note: str
    badges: tuple[Badge, ...]
    stands_for: tuple[tuple[int, ...], ...]
    legend: str
    remarks: tuple[str, ...]
    whole: tuple[tuple[Picture, ...], ...]
    alt: str

    @property
    def anchor(self) -> str:
        """Permanent name of the layer in a document."""
        return layer_anchor(self.layer.path)


@dataclass(frozen=True, slots=True)
class Overview:
    """One image through a whole network: a row per layer.

    Attributes:
        photo: the input image, uint8 (H, W, 3).
        name: its name.
        predictions: the strongest outputs: name and value.
        rows: one grid per layer, from the input to the output.
        note: how to read it; empty where that was said before.
        alt: what it shows, in a sentence.
    """

    photo: Bytes
    name: str
    predictions: tuple[tuple[str, float], ...]
    rows: tuple[MapGrid, ...]
    note: str
    alt: str


@dataclass(frozen=True, slots=True)
class Column:
    """One of the inputs under which maps stand.

    Attributes:
        title: what it is.
        picture: the input itself, uint8 (H, W, 3).
        alt: what that shows.
    """

    title: str
    picture: Bytes
    alt: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One map.

    Attributes:
        values: float32 (h, w).
        scale: its colours.
        words: what stands above it: its range, or why it has none; empty where said before.
        odd: whether the words must not be overlooked.
        alt: what it shows.
    """

    values: Floats
    scale: ColourScale
    words: str
    odd: bool
    alt: str


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel on several inputs.

    Attributes:
        channel: its number.
        anchor: its permanent name.
        verdict: in words.
        tone: ``good``, ``bad`` or ``open`` (not judged, or unsure); never the only sign.
        reason: what decided the verdict, in words; empty where there is nothing to say.
        tiles: a map for each column.
    """

    channel: int
    anchor: str
    verdict: str
    tone: Tone
    reason: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class ChannelSheet:
    """Channels of one layer: a row for each, a column for each input.

    Attributes:
        headings: groups of neighbouring columns: what they have in common, and their number.
        columns: the inputs.
        rows: groups of rows under a heading each.
        note: how to read the colours.
        caption: what it shows, in a sentence.
    """

    headings: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[ChannelRow, ...]], ...]
    note: str
    caption: str


@dataclass(frozen=True, slots=True)
class Heatmap:
    """What one image shows about the evidence for an answer, with controls beside it.

    Attributes:
        name: of the image.
        explained: what is explained, and its value.
        photo: the image, uint8 (H, W, 3).
        laid: the heatmap over the photo.
        found: a title and the heatmap itself at its own resolution.
        controls: a title and a map each, what is seen without the network or without training.
        facts: names and values of the legend.
        remarks: sentences on what is missing or not ordinary.
        verdict: whether such heatmaps can be believed.
        beside: numbers that decide nothing: name, value, chance level and meaning.
        alt: what it shows, in a sentence.
    """

    name: str
    explained: str
    photo: Bytes
    laid: Picture
    found: tuple[str, Tile]
    controls: tuple[tuple[str, Tile], ...]
    facts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    verdict: Verdict
    beside: tuple[tuple[str, str, str, str], ...]
    alt: str


@dataclass(frozen=True, slots=True)
class Strips:
    """Rows of small pictures, each with a heading and a remark.

    Attributes:
        title: of all.
        rows: heading, remark and pictures.
        note: how to read them.
        anchor: permanent name; empty for none.
    """

    title: str
    rows: tuple[tuple[str, str, tuple[Picture, ...]], ...]
    note: str
    anchor: str = ""


Part = (
    Text
    | Note
    | Table
    | Links
    | FindingCard
    | Verdicts
    | Picture
    | MapGrid
    | Overview
    | ChannelSheet
    | Heatmap
    | Strips
)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with parts below it.

    Attributes:
        title: the heading.
        anchor: permanent name, unique in the document.
        level: depth of the heading, 2 or more; the title of the document is 1.
        parts: what stands below the heading.
        folded: what is said beside the heading where the parts are out of sight until they are
            asked for; empty for parts that are always in sight.
    """

    title: str
    anchor: str
    level: int
    parts: tuple[Part, ...]
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A title and its sections, in reading order."""

    title: str
    sections: tuple[Section, ...]


def layer_anchor(path: str) -> str:
    """Permanent name of a layer: its path, with anything unfit for a link escaped."""
    return f"layer/{_linkable(path)}"


def map_anchor(path: str, channel: int) -> str:
    """Permanent name of one channel of a layer."""
    return f"map/{_linkable(path)}/{channel}"


def _linkable(path: str) -> str:
    return quote(path, safe="/@", errors="backslashreplace")
