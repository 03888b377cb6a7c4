"""A white sheet to put pictures and words on, and the tiles that go there."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

from layerscope.document.colour import (
    PALETTES,
    STEPS,
    Bytes,
    ColourScale,
    averaged,
    colourise,
)
from layerscope.document.compose import ends, one_value, palettes_in_use
from layerscope.render.labels import NO_BREAK, REPLACEMENT, plain, shorten
from layerscope.vocabulary import Floats

Colour = tuple[int, int, int]
Style = Literal["title", "strong", "name", "normal", "small", "tiny"]

INK: Colour = (26, 26, 26)
GREY: Colour = (92, 96, 102)
RED: Colour = (179, 38, 30)
LINE: Colour = (214, 214, 214)
SIZES: dict[Style, int] = {
    "title": 22,
    "strong": 15,
    "name": 13,
    "normal": 14,
    "small": 12,
    "tiny": 11,
}
LEADING = 1.4


@dataclass
class Sheet:
    """Pictures and words with their places, in pixels from the top left; drawn in one go."""

    width: int
    blocks: list[tuple[int, int, Bytes]] = field(default_factory=list)
    words: list[tuple[int, int, str, Style, Colour]] = field(default_factory=list)

    def put(self, left: int, top: int, rgb: Bytes) -> None:
        """Place a picture, uint8 (h, w, 3)."""
        self.blocks.append((left, top, rgb))

    def fill(self, left: int, top: int, width: int, height: int, colour: Colour) -> None:
        """Place a rectangle of one colour."""
        self.put(left, top, np.full((height, width, 3), colour, np.uint8))

    def say(
        self,
        left: int,
        top: int,
        text: str,
        room: int,
        style: Style = "normal",
        colour: Colour = INK,
        right: bool = False,
    ) -> int:
        """Place one line of text, shortened in the middle to fit; return its width.

        ``right`` places it at the right end of the room.
        """
        line = shorten(printable(text), lambda part: breadth(part, style) <= room)
        width = breadth(line, style)
        self.words.append((left + room - width if right else left, top, line, style, colour))
        return width

    def paragraph(
        self,
        left: int,
        top: int,
        text: str,
        room: int,
        style: Style = "normal",
        colour: Colour = INK,
        lines: int = 3,
    ) -> int:
        """Place text in several lines; return its height. What does not fit is cut and says so."""
        wrapped = wrap(plain(text), room, style)
        if len(wrapped) > lines:
            wrapped = [*wrapped[: lines - 1], " ".join(wrapped[lines - 1 :])]
        height = round(SIZES[style] * LEADING)
        for place, line in enumerate(wrapped):
            self.say(left, top + place * height, line, room, style, colour)
        return height * len(wrapped)

    def bar(self, left: int, top: int, scale: ColourScale, width: int = 120) -> None:
        """Place the ramp of a scale, 10 pixels high."""
        ramp = PALETTES[scale.palette][np.arange(width) * STEPS // width]
        self.put(left, top, framed(np.broadcast_to(ramp, (10, width, 3))))

    def bars(self, left: int, top: int, scales: Sequence[ColourScale]) -> int:
        """Place a bar with its ends for each palette in use; return where the next thing goes."""
        for scale in palettes_in_use(scales):
            low, high = ends(scale, len(scales) == 1)
            left += self.say(left, top, low, 80, "small", GREY) + 6
            self.bar(left, top + 2, scale)
            left += 130
            left += self.say(left, top, high, 80, "small", GREY) + 24
        return left

    def draw(self, height: int) -> Bytes:
        """Return the sheet as uint8 (height, width, 3); what lies outside is cut off."""
        canvas = np.full((height, self.width, 3), 255, np.uint8)
        for left, top, rgb in self.blocks:
            place = canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]]
            place[...] = rgb[: place.shape[0], : place.shape[1]]
        for left, top, text, style, colour in self.words:
            ink, right, down = _ink(text, style)
            place = canvas[top + down : top + down + ink.shape[0], left + right :][
                :, : ink.shape[1]
            ]
            share = ink[: place.shape[0], : place.shape[1]]
            place[...] = place + (np.array(colour, np.float32) - place) * share
        return canvas


def wrap(text: str, room: int, style: Style) -> list[str]:
    """Split text into lines that fit, at spaces that may break."""
    lines: list[list[str]] = []
    left = 0.0
    space = _advance(" ", style)
    for word in text.split(" "):
        needed = breadth(printable(word), style) + space
        if not lines or needed - space > left:
            lines.append([])
            left = room
        lines[-1].append(word)
        left -= needed
    return [" ".join(words) for words in lines]


def printable(text: str) -> str:
    """Return text in characters that the font has: without accents where need be, or as "?"."""
    text = unicodedata.normalize("NFC", plain(text)).replace(NO_BREAK, " ")
    return text if text.isascii() else "".join(_spelled(character) for character in text)


def breadth(text: str, style: Style) -> int:
    """Width of a line of text in pixels, rounded up."""
    return int(np.ceil(sum(_advance(character, style) for character in text)))


@lru_cache
def _font(style: Style) -> ImageFont.FreeTypeFont:
    """Roboto, which has Latin, Greek and Cyrillic; placed letter by letter, alike everywhere."""
    weight = "Medium" if style in ("title", "strong", "name") else "Regular"
    file = BytesIO((files("font_roboto") / "files" / f"Roboto-{weight}.ttf").read_bytes())
    return ImageFont.truetype(file, SIZES[style], layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _spelled(character: str) -> str:
    if _has(character):
        return character
    simpler = unicodedata.normalize("NFKD", character)
    kept = [part for part in simpler if _has(part) and not unicodedata.combining(part)]
    return "".join(kept) or REPLACEMENT


def _has(character: str) -> bool:
    """Whether the font has a character: U+FFFF is none, and shows what stands for missing ones."""
    font = _font("normal")
    found, missing = font.getmask(character), font.getmask("\uffff")
    return found.size != missing.size or bytes(found) != bytes(missing)


# Measuring and drawing letters is most of the work of a sheet, and sheets repeat their words.


@lru_cache(maxsize=4096)
def _advance(character: str, style: Style) -> float:
    return _font(style).getlength(character)


@lru_cache(maxsize=4096)
def _ink(text: str, style: Style) -> tuple[NDArray[np.float32], int, int]:
    """Return how much ink a line has, 0 to 1 (h, w, 1), and where it starts: right and down."""
    font = _font(style)
    mask = font.getmask(text)
    left, top = (int(side) for side in font.getbbox(text)[:2])
    width, height = mask.size
    ink = np.asarray(mask, np.uint8).reshape(height, width, 1)
    return np.asarray(ink / 255, np.float32), left, top


def enlargement(shape: tuple[int, ...], target: int) -> tuple[int, int]:
    """Return the whole numbers by which to enlarge and to shrink a map, one of them 1.

    The longer side comes as near to ``target`` as whole numbers allow, by ratio.
    """
    longest = max(shape[:2])
    if longest <= target:
        larger = target // longest
        return larger + (larger * (larger + 1) * longest**2 < target**2), 1
    smaller = longest // target
    return 1, smaller + (longest**2 > smaller * (smaller + 1) * target**2)


def size_of(shape: tuple[int, ...], target: int) -> tuple[int, int]:
    """Height and width of the tile of a map, with its frame."""
    larger, smaller = enlargement(shape, target)
    return -(-shape[0] // smaller) * larger + 2, -(-shape[1] // smaller) * larger + 2


def tile(values: Floats, scale: ColourScale, target: int) -> Bytes:
    """Return one map as a framed picture, its longer side near to ``target``.

    A map with one value everywhere is crossed out, in the colour of that value.
    """
    if one_value(values):
        height, width = size_of(values.shape, target)
        return framed(crossed(height - 2, width - 2, colourise(values[:1, :1], scale)[0, 0]))
    larger, smaller = enlargement(values.shape, target)
    return framed(_enlarged(colourise(averaged(values, smaller), scale), larger))


def covering(values: Floats, scale: ColourScale, height: int, width: int) -> Bytes:
    """Return one map as a picture of exactly this size: each cell as the rectangle it covers.

    Where there are more cells than pixels, a pixel has the mean of what it covers.
    """
    if one_value(values):
        return crossed(height, width, colourise(values[:1, :1], scale)[0, 0])
    kept = min(values.shape[0], height), min(values.shape[1], width)
    if kept != values.shape:
        small = Image.fromarray(values).resize(kept[::-1], Image.Resampling.BOX)
        values = np.asarray(small, np.float32)
    rows, columns = (
        np.arange(length) * cells // length
        for length, cells in zip((height, width), values.shape, strict=True)
    )
    return colourise(values[np.ix_(rows, columns)], scale)


def sized(rgb: Bytes, target: int) -> Bytes:
    """Return a small picture with a frame, enlarged or averaged like a tile."""
    larger, smaller = enlargement(rgb.shape, target)
    return framed(_enlarged(averaged_rgb(rgb, smaller), larger))


def fitted(rgb: Bytes, width: int, height: int) -> Bytes:
    """Return a photo, smoothly shrunk or enlarged by a whole factor to fit into a rectangle."""
    room = min(width / rgb.shape[1], height / rgb.shape[0])
    if room >= 1:
        return _enlarged(rgb, int(room))
    size = (max(1, round(rgb.shape[1] * room)), max(1, round(rgb.shape[0] * room)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=2))


def framed(rgb: Bytes) -> Bytes:
    """Draw a line round a picture that may be as white as the sheet."""
    frame = np.full((rgb.shape[0] + 2, rgb.shape[1] + 2, 3), LINE[0], np.uint8)
    frame[1:-1, 1:-1] = rgb
    return frame


def averaged_rgb(rgb: Bytes, block: int) -> Bytes:
    """Means of block x block pixels of a picture."""
    if block == 1:
        return rgb
    planes = [averaged(rgb[..., plane].astype(np.float32), block) for plane in range(3)]
    return np.stack(planes, -1).round().astype(np.uint8)


def _enlarged(rgb: Bytes, factor: int) -> Bytes:
    """Repeat each pixel; never smooth, so that a coarse map looks coarse."""
    return rgb if factor == 1 else rgb.repeat(factor, 1).repeat(factor, 0)


def crossed(height: int, width: int, colour: Bytes) -> Bytes:
    """Return a tile of one colour (3,) with a cross: here nothing is to be seen."""
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = colour
    along = np.arange(max(height, width))
    down, right = along * height // len(along), along * width // len(along)
    rgb[down, right] = rgb[down, width - 1 - right] = GREY if colour.mean() > 127 else LINE
    return rgb
