"""Parts as PNG, and as images in memory."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from layerscope.document.colour import NON_FINITE_RGB, Bytes
from layerscope.document.compose import averaging_note, ends, palettes_in_use, range_of
from layerscope.document.parts import MapGrid, Overview, Picture
from layerscope.render import write_whole
from layerscope.render.sheet import (
    GREY,
    LINE,
    RED,
    Sheet,
    breadth,
    enlargement,
    fitted,
    size_of,
    sized,
    tile,
)

Drawable = MapGrid | Overview | Picture

MARGIN, GAP, LABEL, LABEL_WIDTH = 28, 14, 18, 36
TILE, ROW_TILE, SMALL_TILE = 112, 96, 56
COLUMNS, MANY = 8, 64
PHOTO = 190
OVERVIEW_WIDTH, NAME_WIDTH, OVERVIEW_GAP = 1440, 280, 6


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
    return _picture(part)


def encode(pixels: Bytes, palette: Bytes | None = None) -> bytes:
    """Return pixels as a PNG file.

    Pillow tries five filters on each row, which takes longer than all the rest of a picture and
    gains nothing on enlarged tiles. So the chunks are written here.

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
    chunks += [(b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
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
    for picture in part.whole:
        rgb = sized(picture.rgb, TILE)
        sheet.say(left, top, picture.caption, rgb.shape[1] + GAP - 4, "small", GREY)
        sheet.put(left, top + LABEL, rgb)
        left += rgb.shape[1] + GAP
    if part.whole:
        height, _ = size_of(part.whole[0].rgb.shape, TILE)
        top += LABEL + height
    below_photo: int = MARGIN + photo.shape[0] + LABEL
    return max(top, below_photo) + 22


def _several(part: MapGrid, native: bool) -> Bytes:
    """Several images: a row for each, a column for each channel."""
    target = max(part.maps.shape[1:3]) if native else ROW_TILE
    height, width = _cell(part, target)
    sheet = Sheet(max((len(part.channels) + 1) * (width + GAP) - GAP, 700) + 2 * MARGIN)
    room = sheet.width - 2 * MARGIN
    sheet.say(MARGIN, MARGIN, part.layer.path, room, "title")
    top = MARGIN + 34
    top += sheet.paragraph(MARGIN, top, part.facts, room, "normal", GREY) + 10
    sheet.say(MARGIN, top, _sentence(part.legend), room, "strong")
    top += 30
    for row, photo in enumerate(part.photos):
        sheet.say(MARGIN, top, part.names[row], width, "small", GREY)
        sheet.put(MARGIN, top + LABEL, fitted(photo, width, height))
        for place in range(len(part.channels)):
            left = MARGIN + (place + 1) * (width + GAP)
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
) -> None:
    """Place one map with its channel number and, where there is room, its badge or range."""
    badge, scale = part.badges[place], part.scales[place]
    rgb = tile(part.maps[row, :, :, place], scale, badge, target)
    sheet.put(left, top + LABEL, rgb)
    room = max(rgb.shape[1], LABEL_WIDTH)
    used = sheet.say(left, top, str(part.channels[place]), room, "small")
    words = badge or (range_of(scale) if scale.kind == "map" and ranges else "")
    if words and used + 6 + breadth(words, "tiny") <= room:
        sheet.say(left, top + 1, words, room, "tiny", RED if badge else GREY, right=True)


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
    left = MARGIN
    scales = [scale for part in parts for scale in part.scales]
    for scale in palettes_in_use(scales):
        low, high = ends(scale, len(scales) == 1)
        left += sheet.say(left, top, low, 80, "small", GREY) + 6
        sheet.bar(left, top + 2, scale)
        left += 130
        left += sheet.say(left, top, high, 80, "small", GREY) + 24
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
    sheet = Sheet(OVERVIEW_WIDTH)
    photo = fitted(part.photo, 320, 180)
    sheet.put(MARGIN, MARGIN, photo)
    left, top = MARGIN + photo.shape[1] + 24, MARGIN - 5
    sheet.say(left, top, part.name, OVERVIEW_WIDTH - left - MARGIN, "title")
    top += 42
    likely = all(0 <= value <= 1 for _, value in part.predictions)
    bar = 172 if likely else 0
    for name, value in part.predictions[:5]:
        if likely:
            sheet.fill(left, top + 4, max(1, round(160 * value)), 10, (106, 110, 116))
        sheet.say(left + bar, top, f"{value:.3f}", 60, "normal", GREY)
        sheet.say(left + bar + 64, top, name, 600)
        top += 25
    top = MARGIN + max(180, photo.shape[0]) + 20
    top = _colours(sheet, part.rows, part.note, top)
    for row in part.rows:
        top = _overview_row(sheet, row, top)
    return sheet.draw(top + MARGIN)


def _overview_row(sheet: Sheet, part: MapGrid, top: int) -> int:
    height, width = _cell(part, SMALL_TILE)
    sheet.fill(MARGIN, top, sheet.width - 2 * MARGIN, 1, LINE)
    top += 7
    left = MARGIN + NAME_WIDTH
    if part.whole:
        sheet.say(left, top, "whole", width, "small", GREY)
        sheet.put(left, top + LABEL, sized(part.whole[0].rgb, SMALL_TILE))
    left += width + 20
    pitch = width + OVERVIEW_GAP
    drawn = min(len(part.channels), (sheet.width - MARGIN - left + OVERVIEW_GAP) // pitch)
    for place in range(drawn):
        _tile(sheet, part, 0, place, left, top, SMALL_TILE, ranges=False)
        left += pitch
    room = NAME_WIDTH - 16
    legend = part.legend
    if drawn < len(part.channels):
        legend += f"; the first {drawn} are drawn here"
    sheet.say(MARGIN, top, part.layer.path, room, "strong")
    down = top + 22
    down += sheet.paragraph(MARGIN, down, part.facts, room, "tiny", GREY, lines=2)
    down += sheet.paragraph(MARGIN, down, _sentence(legend), room, "tiny", lines=2)
    return max(top + LABEL + height, down) + 9


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
