"""The picture of one heatmap as pixels: photo, heatmap and controls, and how to read them."""

from layerscope.document.colour import Bytes
from layerscope.document.compose import ends
from layerscope.document.heat import DECIDES_NOTHING, QUESTION
from layerscope.document.parts import Heatmap, Tile, Tone
from layerscope.render.sheet import (
    GREY,
    INK,
    LINE,
    RED,
    Colour,
    Sheet,
    breadth,
    covering,
    fitted,
    framed,
)

SIDE = 224
"""Pixels that the longer side of a tile has at most; that of most models, so that none is lost."""
MARGIN, GAP, APART, HEADING, LABEL, BELOW = 28, 14, 40, 26, 18, 30
FACT, LEAST = 110, 176
"""Widths of the names in the legend, and of what a picture has at least for its title."""
GREEN: Colour = (24, 100, 52)
TONES: dict[Tone, Colour] = {"good": GREEN, "bad": RED, "open": GREY}


def heat_sheet(part: Heatmap) -> Bytes:
    """Return the picture of one image as pixels, uint8 (H, W, 3)."""
    photo = fitted(part.photo, SIDE, SIDE)
    pitch = max(photo.shape[1], LEAST) + GAP
    across = 3 * pitch - GAP + (APART + len(part.controls) * pitch - GAP if part.controls else 0)
    sheet = Sheet(2 * MARGIN + max(across, 3 * SIDE))
    room = sheet.width - 2 * MARGIN
    sheet.say(MARGIN, MARGIN - 6, part.name, room, "title")
    sheet.say(MARGIN, MARGIN + 26, part.explained, room, "strong")
    top = _row(sheet, part, photo, pitch, MARGIN + 58)
    for remark in part.remarks:
        top += sheet.paragraph(MARGIN, top, remark, room) + 2
    top = _verdict(sheet, part, top + 8)
    for name, value in part.facts:
        sheet.say(MARGIN, top, name, FACT - 8, "small", GREY)
        top += sheet.paragraph(MARGIN + FACT, top, value, room - FACT, "small") + 2
    return sheet.draw(top + MARGIN - 6)


def _row(sheet: Sheet, part: Heatmap, photo: Bytes, pitch: int, top: int) -> int:
    """Place the pictures side by side; return where they end."""
    height, width = map(int, photo.shape[:2])
    title, found = part.found
    left = MARGIN
    _picture(sheet, "Photo", photo, left, top)
    left += pitch
    _picture(sheet, "Heatmap over the photo", fitted(part.laid.rgb, SIDE, SIDE), left, top)
    left += pitch
    _map(sheet, title, found, (height, width), left, top)
    left += pitch - GAP + APART
    if part.controls:
        sheet.fill(left - APART // 2, top, 1, HEADING + LABEL + height + BELOW, LINE)
        sheet.say(left, top, "Controls: what is seen without training", 2 * pitch, "name")
    for name, one in part.controls:
        _map(sheet, name, one, (height, width), left, top)
        left += pitch
    sheet.say(MARGIN, top, "What the method found", 3 * pitch - GAP, "name")
    return top + HEADING + LABEL + height + BELOW + 12


def _picture(sheet: Sheet, title: str, rgb: Bytes, left: int, top: int) -> None:
    sheet.say(left, top + HEADING, title, SIDE, "small", GREY)
    sheet.put(left, top + HEADING + LABEL, framed(rgb))


def _map(sheet: Sheet, title: str, one: Tile, size: tuple[int, int], left: int, top: int) -> None:
    """Place a map with its colours below it, or why it has none."""
    _picture(sheet, title, covering(one.values, one.scale, *size), left, top)
    down = top + HEADING + LABEL + size[0] + 8
    if one.words:
        sheet.say(left, down, one.words, SIDE, "small", RED)
        return
    low, high = ends(one.scale, True)
    along = left + sheet.say(left, down, low, 60, "small", GREY) + 6
    sheet.bar(along, down + 2, one.scale, 100)
    sheet.say(along + 108, down, high, 60, "small", GREY)


def _verdict(sheet: Sheet, part: Heatmap, top: int) -> int:
    """Place the verdict and the numbers beside it, with a line of its colour at the left."""
    start, left, room = top, MARGIN + 16, sheet.width - 2 * MARGIN - 16
    colour = TONES[part.verdict.tone]
    used = sheet.say(left, top, QUESTION, room, "strong", INK) + 10
    word = part.verdict.verdict
    _box(sheet, left + used, top - 1, breadth(word, "strong") + 14, 22, colour)
    sheet.say(left + used + 8, top, word, room - used, "strong", colour)
    top += 28
    top += sheet.paragraph(left, top, part.verdict.summary, room, lines=5) + 4
    if part.beside:
        sheet.say(left, top, f"{DECIDES_NOTHING}:", room, "small", GREY)
        top += 18
    for name, value, chance, meaning in part.beside:
        words = f"{name} {value} (chance {chance}): {meaning}"
        top += sheet.paragraph(left, top, words, room, "small", GREY)
    sheet.fill(MARGIN, start - 2, 4, top - start + 4, colour)
    return top + 18


def _box(sheet: Sheet, left: int, top: int, width: int, height: int, colour: Colour) -> None:
    sheet.fill(left, top, width, height, colour)
    sheet.fill(left + 1, top + 1, width - 2, height - 2, (255, 255, 255))
