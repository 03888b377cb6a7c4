"""Parts as PNG, and as images in memory."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import isal_zlib
from PIL import Image

from layerscope.document.colour import NON_FINITE_RGB, Bytes
from layerscope.document.compose import (
    averaging_note,
    beside,
    range_of,
    short_facts,
    short_legend,
)
from layerscope.document.parts import Heatmap, MapGrid, Overview, Picture
from layerscope.render import write_whole
from layerscope.render.heat import heat_sheet
from layerscope.render.sheet import (
    GREY,
    INK,
    LINE,
    RED,
    Sheet,
    Style,
    breadth,
    enlargement,
    fitted,
    size_of,
    sized,
    tile,
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How an overview is laid out: columns of layers, on a sheet that fits on a screen."""

    columns: int
    sheet: int
    tile: int
    name: int

    @property
    def column(self) -> int:
        """Width of a column of layers."""
        return (self.sheet - 2 * MARGIN - (self.columns - 1) * COLUMN_GAP) // self.columns


COLUMN_GAP = 28
PLANS = (
    (10, _Plan(1, 1440, 56, 250)),
    (26, _Plan(2, 1920, 48, 206)),
    (10**9, _Plan(3, 1920, 34, 200)),
)
"""Up to how many layers a plan serves: a screen holds about ten rows of large tiles, and sixty of
small ones in three columns."""

Drawable = MapGrid | Overview | Picture | Heatmap

MARGIN, GAP, LABEL, LABEL_WIDTH = 28, 14, 18, 36
TILE, ROW_TILE, SMALL_TILE = 112, 96, 56
COLUMNS, MANY = 8, 64
PHOTO = 190
OVERVIEW_GAP, NUMBER, NAME_LINE, FACT_LINE = 4, 12, 17, 14


def png(part: Drawable, native: bool = False) -> Image.Image:
    """Return a part as an image; see `draw`."""
    return Image.fromarray(draw(part, native))


def write_png(part: Drawable, path: str | Path, native: bool = False) -> None:
    """Write a part as a PNG file: the whole file, or nothing; see `draw`.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    write_whole(path, encode(draw(part, native)))


def draw(part: Drawable, native: bool = False) -> Bytes:
    """Return a part as pixels, uint8 (H, W, 3).

    Maps are enlarged by whole factors without smoothing; maps too large for their place are
    averaged over whole blocks.

    Args:
        part: what to draw.
        native: draw the maps of a grid with one pixel per cell instead.
    """
    if isinstance(part, MapGrid):
        return _several(part, native) if len(part.photos) > 1 else _grid(part, native)
    if isinstance(part, Overview):
        return _overview(part)
    if isinstance(part, Heatmap):
        return heat_sheet(part)
    return _picture(part)


def encode(pixels: Bytes, palette: Bytes | None = None) -> bytes:
    """Return pixels as a PNG file.

    Pillow tries five filters on each row, which takes longer than all the rest of a picture and
    gains nothing on enlarged tiles. So the chunks are written here, and compressed with ISA-L,
    which takes a sixth of the time of zlib at its fastest for files of about that size.

    Args:
        pixels: uint8 (H, W, 3), or (H, W) positions in the palette.
        palette: uint8 (n, 3), the colours of the positions.
    """
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    colour_type = 2 if palette is None else 3
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette.tobytes()))
    chunks += [(b"IDAT", isal_zlib.compress(rows.data, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", isal_zlib.crc32(name + body))
        for name, body in chunks
    )


def _grid(part: MapGrid, native: bool) -> Bytes:
    """One image: photo, words and whole layer on top, then the tiles in rows."""
    count = len(part.channels)
    many = count > MANY
    target, most = (SMALL_TILE, 2 * COLUMNS) if many else (TILE, COLUMNS)
    rows = -(-count // most)
    columns = most if many else -(-count // rows)
    target = max(part.maps.shape[1:3]) if native else target
    height, width = _cell(part, target)
    sheet = Sheet(max(columns * (width + GAP) - GAP, 1010) + 2 * MARGIN)
    top = _head(sheet, part)
    sheet.say(MARGIN, top, _sentence(part.legend), sheet.width - 2 * MARGIN, "strong")
    top += 30
    for place in range(count):
        left = MARGIN + place % columns * (width + GAP)
        down = top + place // columns * (height + LABEL + GAP)
        _tile(sheet, part, 0, place, left, down, target, ranges=not many)
    top += rows * (height + LABEL + GAP)
    return sheet.draw(_foot(sheet, part, top, target) + MARGIN)


def _cell(part: MapGrid, target: int) -> tuple[int, int]:
    """Height and width of a framed tile, wide enough for its channel number."""
    height, width = size_of(part.maps.shape[1:3], target)
    return height, max(width, LABEL_WIDTH)


def _head(sheet: Sheet, part: MapGrid) -> int:
    """Place photo, words and the pictures of the whole layer; return where they end."""
    photo = fitted(part.photos[0], PHOTO + 60, PHOTO)
    sheet.put(MARGIN, MARGIN, photo)
    sheet.say(MARGIN, MARGIN + photo.shape[0] + 3, part.names[0], photo.shape[1], "small", GREY)
    left, top = MARGIN + max(photo.shape[1], 60) + 24, MARGIN - 5
    room = sheet.width - left - MARGIN
    sheet.say(left, top, part.layer.path, room, "title")
    top += 30
    top += sheet.paragraph(left, top, part.facts, room, "normal", GREY, lines=2) + 10
    whole = part.whole[0] if part.whole else ()
    for picture in whole:
        rgb = sized(picture.rgb, TILE)
        sheet.say(left, top, picture.caption, rgb.shape[1] + GAP - 4, "small", GREY)
        sheet.put(left, top + LABEL, rgb)
        left += rgb.shape[1] + GAP
    if whole:
        height, _ = size_of(whole[0].rgb.shape, TILE)
        top += LABEL + height
    below_photo: int = MARGIN + photo.shape[0] + LABEL
    return max(top, below_photo) + 22


def _several(part: MapGrid, native: bool) -> Bytes:
    """Several images: a row for each; a column for each picture of the layer and each channel."""
    target = max(part.maps.shape[1:3]) if native else ROW_TILE
    height, width = _cell(part, target)
    whole = len(part.whole[0]) if part.whole else 0
    pitch, apart = width + GAP, GAP if whole else 0
    across = (1 + whole + len(part.channels)) * pitch - GAP + apart
    sheet = Sheet(max(across, 700) + 2 * MARGIN)
    room = sheet.width - 2 * MARGIN
    sheet.say(MARGIN, MARGIN, part.layer.path, room, "title")
    top = MARGIN + 34
    top += sheet.paragraph(MARGIN, top, part.facts, room, "normal", GREY) + 10
    sheet.say(MARGIN, top, _sentence(part.legend), room, "strong")
    top += 30
    for row, photo in enumerate(part.photos):
        sheet.say(MARGIN, top, part.names[row], width, "small", GREY)
        sheet.put(MARGIN, top + LABEL, fitted(photo, width, height))
        for place, picture in enumerate(part.whole[row] if whole else ()):
            left = MARGIN + (place + 1) * pitch
            sheet.say(left, top, picture.caption, width + GAP - 4, "tiny", GREY)
            sheet.put(left, top + LABEL, sized(picture.rgb, target))
        for place in range(len(part.channels)):
            left = MARGIN + (place + 1 + whole) * pitch + apart
            _tile(sheet, part, row, place, left, top, target, ranges=width > 80)
        top += height + LABEL + GAP
    return sheet.draw(_foot(sheet, part, top, target) + MARGIN)


def _tile(
    sheet: Sheet,
    part: MapGrid,
    row: int,
    place: int,
    left: int,
    top: int,
    target: int,
    ranges: bool,
    label: int = LABEL,
) -> None:
    """Place one map with its channel number and, where there is room, what is said of it."""
    rgb = tile(part.maps[row, :, :, place], part.scales[place], target)
    sheet.put(left, top + label, rgb)
    room = max(rgb.shape[1], LABEL_WIDTH)
    wordings, important = beside(part, row, place)
    style: Style = "small" if label == LABEL else "tiny"
    colour = RED if important else INK
    used = sheet.say(left, top, str(part.channels[place]), room, style, colour)
    for words in wordings if ranges or important else ():
        if used + 6 + breadth(words, "tiny") <= room:
            colour = RED if important else GREY
            sheet.say(left, top + (label == LABEL), words, room, "tiny", colour, right=True)
            break


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _foot(sheet: Sheet, part: MapGrid, top: int, target: int) -> int:
    """Place the colours, the note on the scale and the remarks; return where they end."""
    _, block = enlargement(part.maps.shape[1:3], target)
    note = f"{part.scale_note} {averaging_note(block)}".strip()
    top = _colours(sheet, (part,), note, top)
    for remark in part.remarks:
        room = sheet.width - 2 * MARGIN
        top += sheet.paragraph(MARGIN, top, remark, room, "small", GREY)
    return top


def _colours(sheet: Sheet, parts: tuple[MapGrid, ...], note: str, top: int) -> int:
    """Place a bar for each palette in use and what the special colours mean."""
    scales = [scale for part in parts for scale in part.scales]
    left = sheet.bars(MARGIN, top, scales)
    if any(scale.non_finite for scale in scales):
        sheet.fill(left, top + 2, 12, 12, NON_FINITE_RGB)
        left += 18 + sheet.say(left + 18, top, "NaN or infinite", 120, "small", RED) + 24
    room = sheet.width - left - MARGIN
    if breadth(note, "small") <= room:
        sheet.say(left, top, note, room, "small", GREY)
        return top + 26
    top += 22
    return top + sheet.paragraph(MARGIN, top, note, sheet.width - 2 * MARGIN, "small", GREY)


def _overview(part: Overview) -> Bytes:
    plan = next(plan for most, plan in PLANS if len(part.rows) <= most)
    sheet = Sheet(plan.sheet)
    head = _overview_head(sheet, part, plan.column)
    heights = [_row_height(row, plan) for row in part.rows]
    deepest = _column_height(heights, head, plan.columns)
    column, top = 0, MARGIN + head
    for row, height in zip(part.rows, heights, strict=True):
        if top + height > MARGIN + deepest and column < plan.columns - 1:
            column, top = column + 1, MARGIN
        left = MARGIN + column * (plan.column + COLUMN_GAP)
        _overview_row(sheet, row, left, top, plan)
        top += height
    return sheet.draw(_colours(sheet, part.rows, part.note, MARGIN + deepest + 14) + 6)


def _overview_head(sheet: Sheet, part: Overview, room: int) -> int:
    """Place the photo, its name and the strongest outputs; return their height."""
    photo = fitted(part.photo, 240, 150)
    sheet.put(MARGIN, MARGIN, photo)
    left, top, right = MARGIN + photo.shape[1] + 20, MARGIN - 4, MARGIN + room
    sheet.say(left, top, part.name, right - left, "title")
    top += 36
    likely = all(0 <= value <= 1 for _, value in part.predictions)
    bar = 92 if likely else 0
    for name, value in part.predictions[:5]:
        if likely:
            sheet.fill(left, top + 4, max(1, round(80 * value)), 9, (106, 110, 116))
        sheet.say(left + bar, top, f"{value:.3f}", 60, "normal", GREY)
        sheet.say(left + bar + 50, top, name, right - left - bar - 50)
        top += 22
    height: int = max(photo.shape[0], top - MARGIN)
    return height + 18


def _row_height(part: MapGrid, plan: _Plan) -> int:
    height, _ = _cell(part, plan.tile)
    return max(NUMBER + height, NAME_LINE + 2 * FACT_LINE) + 7


def _column_height(heights: list[int], head: int, columns: int) -> int:
    """The least height of columns into which all rows fit, one after the other."""

    def fits(deepest: int) -> bool:
        column, top = 1, head
        for height in heights:
            if top + height > deepest:
                column, top = column + 1, 0
            top += height
        return column <= columns

    deepest = max([head, (head + sum(heights)) // columns])
    while not fits(deepest):
        deepest += 4
    return deepest


def _overview_row(sheet: Sheet, part: MapGrid, left: int, top: int, plan: _Plan) -> None:
    """Place what a layer is, its picture as a whole, and as many maps as there is room for."""
    _, width = _cell(part, plan.tile)
    end = left + plan.column
    sheet.fill(left, top, plan.column, 1, LINE)
    top += 3
    across = left + plan.name
    if part.whole:
        sheet.put(across, top + NUMBER, sized(part.whole[0][0].rgb, plan.tile))
    across += width + 3 * OVERVIEW_GAP
    pitch = width + OVERVIEW_GAP
    drawn = min(len(part.channels), max(1, (end - across + OVERVIEW_GAP) // pitch))
    for place in range(drawn):
        at = across + place * pitch
        _tile(sheet, part, 0, place, at, top, plan.tile, ranges=False, label=NUMBER)
    room = plan.name - 10
    sheet.say(left, top, part.layer.path, room, "name")
    sheet.say(left, top + NAME_LINE, short_facts(part.layer), room, "tiny", GREY)
    sheet.say(left, top + NAME_LINE + FACT_LINE, _sentence(short_legend(part, drawn)), room, "tiny")


def _picture(part: Picture) -> Bytes:
    rgb = sized(part.rgb, 480)
    sheet = Sheet(max(rgb.shape[1], 240) + 2 * MARGIN)
    sheet.put(MARGIN, MARGIN, rgb)
    top, room = MARGIN + rgb.shape[0] + 8, sheet.width - 2 * MARGIN
    if part.scale is not None:
        sheet.bar(MARGIN, top + 2, part.scale)
        sheet.say(MARGIN + 130, top, range_of(part.scale), room - 130, "small", GREY)
        top += 22
    top += sheet.paragraph(MARGIN, top, part.caption, room, "small", GREY)
    return sheet.draw(top + MARGIN)
