"""The sheet of the maps that decide as pixels."""

from layerscope.document.colour import Bytes
from layerscope.document.deciding import Deciding, DecidingTile
from layerscope.render.sheet import GREY, INK, RED, Colour, Sheet, fitted, framed

SIDE = 204
"""Pixels that the longer side of a tile has."""
COLUMNS, MARGIN, GAP, WORDS = 6, 28, 16, 52
BLUE: Colour = (33, 82, 150)


def deciding_sheet(part: Deciding) -> Bytes:
    """Return a sheet as pixels, uint8 (H, W, 3)."""
    columns = min(COLUMNS, max(3, len(part.tiles)))
    sheet = Sheet(2 * MARGIN + columns * (SIDE + GAP) - GAP)
    top = _head(sheet, part)
    high = max([tile.picture.rgb.shape[0] + 2 for tile in part.tiles], default=0)
    for place, tile in enumerate(part.tiles):
        left = MARGIN + place % columns * (SIDE + GAP)
        _tile(sheet, tile, place + 1, left, top + place // columns * (high + WORDS + GAP))
    top += -(-len(part.tiles) // columns) * (high + WORDS + GAP)
    return sheet.draw(_foot(sheet, part, top) + MARGIN)


def _head(sheet: Sheet, part: Deciding) -> int:
    photo = framed(fitted(part.photo, SIDE - 2, SIDE - 2))
    sheet.put(MARGIN, MARGIN, photo)
    sheet.say(MARGIN, MARGIN + photo.shape[0] + 3, part.name, SIDE, "small", GREY)
    left, top = MARGIN + SIDE + GAP, MARGIN - 5
    room = sheet.width - left - MARGIN
    sheet.say(left, top, part.title, room, "title")
    top += 38
    for text in part.said:
        top += sheet.paragraph(left, top, text, room, lines=5) + 8
    below: int = MARGIN + photo.shape[0] + 18
    return max(top, below) + 20


def _tile(sheet: Sheet, tile: DecidingTile, rank: int, left: int, top: int) -> None:
    colour = RED if tile.supports else BLUE
    used = sheet.say(left, top, f"{rank}. {tile.change}", SIDE, "strong", colour)
    more = f" (and {len(tile.also)} like it)" if tile.also else ""
    said = f"map {tile.channel}{more}"
    sheet.say(left + used + 6, top + 2, said, SIDE - used - 6, "small", right=True)
    sheet.say(left, top + 20, tile.title, SIDE, "name", INK)
    sheet.say(left, top + 36, tile.facts, SIDE, "tiny", GREY)
    sheet.put(left, top + WORDS, framed(tile.picture.rgb))


def _foot(sheet: Sheet, part: Deciding, top: int) -> int:
    scales = [tile.picture.scale for tile in part.tiles if tile.picture.scale]
    sheet.bars(MARGIN, top, scales)
    top += 24 if scales else 0
    return top + sheet.paragraph(MARGIN, top, part.note, sheet.width - 2 * MARGIN, "small", GREY)
