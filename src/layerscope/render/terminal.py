"""Parts as text in a terminal, with small previews where it can show colours."""

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table as Columns
from rich.text import Text as Words

from layerscope.document.colour import Bytes
from layerscope.document.compose import beside, range_of, shape_of
from layerscope.document.parts import (
    ChannelSheet,
    Document,
    FindingCard,
    Heatmap,
    Links,
    MapGrid,
    Note,
    Overview,
    Part,
    Picture,
    Strips,
    Table,
    Text,
    Verdicts,
)
from layerscope.render.labels import plain
from layerscope.render.sheet import fitted, tile

TILE, PHOTO = 14, 28
"""Sides of previews in half characters: a character is two of them high."""

HALF_BLOCK = "▀"


def show(shown: Document | Part, console: Console) -> None:
    """Print a document or a part.

    Names come from files and models, so none of them is read as markup or reaches the terminal
    with control characters. Previews appear on terminals with at least 256 colours; elsewhere
    the same facts stand in tables.
    """
    if not isinstance(shown, Document):
        console.print(_lowered(shown, console))
        return
    console.print(_words(shown.title, "bold"))
    for section in shown.sections:
        console.print()
        console.print(_words(section.title, "bold"))
        for part in section.parts:
            if not isinstance(part, Links):
                console.print(_lowered(part, console))


def pictures_fit(console: Console) -> bool:
    """Whether a terminal has the colours and the characters for previews."""
    colours = console.color_system in ("256", "truecolor")
    return console.is_terminal and colours and "utf" in console.encoding.lower()


def _lowered(part: Part, console: Console) -> RenderableType:
    previews = pictures_fit(console)
    match part:
        case MapGrid():
            tiles = _tiles(part, console.width) if previews else _map_table(part)
            return Group(
                _words(part.layer.path, "bold"),
                _words(part.facts),
                _words(part.legend),
                tiles,
                _words(part.scale_note, "dim"),
                *(_words(remark, "dim") for remark in part.remarks),
            )
        case Overview():
            photo = [blocks(fitted(part.photo, 2 * PHOTO, PHOTO))] if previews else []
            return Group(_words(part.name, "bold"), *photo, _predictions(part), _layers(part))
        case Picture():
            return blocks(fitted(part.rgb, 64, 64)) if previews else _words(part.alt)
        case ChannelSheet():
            return _channels(part)
        case Heatmap():
            return _heatmap(part, previews)
        case Strips():
            return Group(*(_words(f"{head}: {words}") for head, words, _ in part.rows))
        case Table():
            return _table(part)
        case FindingCard():
            return _finding(part)
        case Verdicts():
            return _verdicts(part)
        case Note():
            return _words(f"{part.severity}: {part.text}", _weight(part.severity))
        case Text():
            return _words(part.text)
        case Links():
            return _words(", ".join(label for label, _ in part.items))


def _channels(part: ChannelSheet) -> Columns:
    columns = Columns("channel", "verdict", "reason", *(c.title for c in part.columns), box=None)
    for _, rows in part.rows:
        for row in rows:
            cells = (row.verdict, row.reason, *(tile.words for tile in row.tiles))
            columns.add_row(str(row.channel), *map(_words, cells))
    return columns


def _heatmap(part: Heatmap, previews: bool) -> RenderableType:
    pictures = [blocks(fitted(part.laid.rgb, 2 * PHOTO, PHOTO))] if previews else []
    facts = [_words(f"{name}: {value}", "dim") for name, value in part.facts]
    remarks = [_words(remark) for remark in part.remarks]
    head = (_words(part.name, "bold"), _words(part.explained), _words(part.verdict.verdict))
    return Group(*head, *pictures, *facts, *remarks)


def _weight(severity: str) -> str:
    return "" if severity == "info" else "bold"


def _finding(part: FindingCard) -> RenderableType:
    about = ", ".join(label for label, _ in part.where)
    head = f"{part.severity}: {part.title}{f' ({about})' if about else ''}"
    facts = ", ".join(f"{name} {value}" for name, value in part.facts)
    lines = (part.message, facts, part.advice)
    return Group(_words(head, _weight(part.severity)), *(_words(line) for line in lines if line))


def _verdicts(part: Verdicts) -> Columns:
    columns = Columns.grid(padding=(0, 2))
    for item in part.items:
        weight = "bold" if item.tone == "bad" else ""
        columns.add_row(_words(item.name), _words(item.verdict, weight), _words(item.summary))
    return columns


def blocks(rgb: Bytes) -> Words:
    """Return pixels as half-block characters, two rows of pixels in a line of text."""
    words = Words(no_wrap=True)
    for top in range(0, len(rgb), 2):
        if top:
            words.append("\n")
        below = rgb[top + 1] if top + 1 < len(rgb) else [None] * rgb.shape[1]
        for upper, lower in zip(rgb[top], below, strict=True):
            background = None if lower is None else _colour(lower)
            words.append(HALF_BLOCK, Style(color=_colour(upper), bgcolor=background))
    return words


def _colour(pixel: Bytes) -> str:
    red, green, blue = (int(value) for value in pixel)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _words(text: str, style: str = "") -> Words:
    return Words(plain(text), style=style)


def _tiles(part: MapGrid, width: int) -> Columns:
    """Previews of the maps, as many in a line as fit."""
    columns = Columns.grid(padding=(1, 2, 0, 0))
    across = max(1, width // (TILE + 2))
    cells = [
        Words.assemble(_words(_heading(part, row, place)), "\n", blocks(_preview(part, row, place)))
        for row in range(len(part.photos))
        for place in range(len(part.channels))
    ]
    for start in range(0, len(cells), across):
        columns.add_row(*cells[start : start + across])
    return columns


def _heading(part: MapGrid, row: int, place: int) -> str:
    wordings, important = beside(part, row, place)
    about = wordings[-1] if wordings else ""
    if len(part.names) > 1 and not important:
        about = part.names[row]
    return f"{part.channels[place]} {about}"[:TILE]


def _preview(part: MapGrid, row: int, place: int) -> Bytes:
    return tile(part.maps[row, :, :, place], part.scales[place], TILE)[1:-1, 1:-1]


def _map_table(part: MapGrid) -> Columns:
    columns = Columns("channel", "range", "remark", "stands for", box=None)
    for place, channel in enumerate(part.channels):
        hidden = len(part.stands_for[place])
        columns.add_row(
            str(channel),
            range_of(part.scales[place]),
            part.badges[place],
            f"{hidden} hidden" if hidden else "",
        )
    return columns


def _predictions(part: Overview) -> Columns:
    columns = Columns.grid(padding=(0, 2))
    for name, value in part.predictions:
        columns.add_row(f"{value:.3f}", _words(name))
    return columns


def _layers(part: Overview) -> Columns:
    columns = Columns("layer", "kind", "map", "receptive field", "stride", "shown", box=None)
    for row in part.rows:
        layer = row.layer
        stride = "" if layer.stride is None else f"{layer.stride:g}"
        field = "" if layer.receptive_field is None else f"{layer.receptive_field} px"
        columns.add_row(
            _words(layer.path), layer.kind, shape_of(layer), field, stride, _words(row.legend)
        )
    return columns


def _table(part: Table) -> Columns:
    columns = Columns(title=_words(part.caption) if part.caption else None)
    for place, name in enumerate(part.columns):
        columns.add_column(_words(name), justify="right" if place in part.numbers else "left")
    for cells in part.rows:
        columns.add_row(*(_words(cell) for cell in cells))
    return columns
