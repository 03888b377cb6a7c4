"""A document as one HTML page that needs nothing else: no network, no script, no other file."""

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image as PillowImage

from layerscope.document.colour import (
    NON_FINITE_RGB,
    PALETTES,
    STEPS,
    Bytes,
    ColourScale,
    averaged,
    codes,
    colourise,
)
from layerscope.document.compose import (
    averaging_note,
    beside,
    ends,
    one_value,
    palettes_in_use,
    short_facts,
    short_legend,
)
from layerscope.document.parts import (
    ChannelSheet,
    Document,
    Heatmap,
    MapGrid,
    Overview,
    Part,
    Picture,
    Tile,
    map_anchor,
)
from layerscope.render import write_whole
from layerscope.render.labels import plain
from layerscope.render.png import encode
from layerscope.render.sheet import (
    averaged_rgb,
    crossed,
    enlargement,
    fitted,
    size_of,
)
from layerscope.vocabulary import Floats

TILE, OVERVIEW_TILE, OVERVIEW_TILES = 112, 36, 7
HEAD, STRIP, HEAT = 64, 72, 200
"""Sides of photos at the head of a column, of the pictures of a strip, and of heatmaps."""
FEW_BYTES, SMALL_QUALITY = 2500, 75
COARSER = 7
"""Of the 252 steps of a colour scale, so many look alike in a sheet: a third less to store."""
FEW_LAYERS = 10
"""An overview of more layers has several columns of them, with fewer maps in each row."""
SHARPEST = 2
"""Photos are stored with so many pixels per pixel of the page, for fine screens."""


@dataclass(frozen=True, slots=True)
class Image:
    """An ``img`` element: its data URI, words, and size on the page in pixels."""

    source: str
    alt: str
    width: int
    height: int
    cells: bool = False


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A colour bar with the words at its ends; one colour has words at its right alone."""

    low: str
    image: Image
    high: str


def html(document: Document) -> str:
    """Return a document as one page.

    All text is escaped, and a content security policy forbids the page to fetch or to run
    anything, whatever a file or layer is called.
    """
    style = _file("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            document=document,
            contents=[section for section in document.sections if section.level == 2],
            anchors={section.anchor for section in document.sections},
            style=Markup(style),
            style_hash=f"sha256-{digest}",
        )
    )


def write_html(document: Document, path: str | Path) -> None:
    """Write a document as one HTML file: the whole file, or nothing.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    write_whole(path, html(document).encode())


@lru_cache
def _file(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["plain"] = plain
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    functions: tuple[Callable[..., object], ...] = (
        map_anchor,
        map_image,
        beside,
        heat_image,
        note_of,
        overview_scales,
        picture_image,
        photo_image,
        scale_bars,
        short_facts,
        sheet_note,
        sheet_scales,
        short_legend,
        strip_image,
        tile_image,
    )
    environment.globals.update({function.__name__: function for function in functions})
    environment.globals.update(
        kind_of=_kind_of,
        overview_tiles=OVERVIEW_TILES,
        few_layers=FEW_LAYERS,
        head=HEAD,
        heat=HEAT,
        coarser=COARSER,
    )
    return environment


def _kind_of(part: Part) -> str:
    return type(part).__name__.lower()


def tile_image(
    part: MapGrid, row: int, place: int, wordings: tuple[str, ...], small: bool = False
) -> Image:
    """Return one map, stored with one pixel per cell and enlarged by the reader's browser.

    ``wordings`` is what stands `beside` it.
    """
    alt = f"Map {part.channels[place]} of {part.layer.path} for {part.names[row]}"
    alt = ", ".join((alt, *wordings[:1]))
    target = OVERVIEW_TILE if small else TILE
    return map_image(part.maps[row, :, :, place], part.scales[place], alt, target)


def map_image(
    values: Floats, scale: ColourScale, alt: str, target: int = TILE, coarser: int = 1
) -> Image:
    """Return a map, its longer side near to ``target``; crossed out where it has one value.

    ``coarser`` is how many neighbouring colours become one, for pages with thousands of maps.
    """
    height, width = (side - 2 for side in size_of(values.shape, target))
    if one_value(values):
        colour = colourise(values[:1, :1], scale)[0, 0]
        rgb = crossed(height, width, colour)
        line = (rgb != colour).any(-1).astype(np.uint8)
        source = _uri(encode(line, np.stack([colour, rgb[0, 0]])))
        return Image(source, plain(alt), width, height)
    _, smaller = enlargement(values.shape, target)
    cells = codes(averaged(values, smaller), scale)
    ordinary = cells < STEPS
    cells[ordinary] -= cells[ordinary] % coarser
    used = np.flatnonzero(np.bincount(cells.ravel(), minlength=256))
    place = np.zeros(256, np.uint8)
    place[used] = np.arange(len(used))
    source = _uri(encode(place[cells], PALETTES[scale.palette][used]))
    return Image(source, plain(alt), width, height, True)


def heat_image(part: Heatmap, one: Tile) -> Image:
    """Return a map at the size that the photo beside it has."""
    photo = photo_image(part.photo, "", HEAT)
    shown = map_image(one.values, one.scale, one.alt, HEAT * SHARPEST)
    cells = max(one.values.shape) <= HEAT
    return replace(shown, width=photo.width, height=photo.height, cells=cells)


def picture_image(picture: Picture, cells: bool = False, small: bool = False) -> Image:
    """Return a finished picture; ``cells`` if its pixels are the cells of a map."""
    target = OVERVIEW_TILE if small else TILE
    if not cells:
        height, width = picture.rgb.shape[:2]
        return Image(_uri(encode(picture.rgb)), plain(picture.alt), width, height)
    _, smaller = enlargement(picture.rgb.shape, target)
    height, width = (side - 2 for side in size_of(picture.rgb.shape, target))
    source = _uri(encode(averaged_rgb(picture.rgb, smaller)))
    return Image(source, plain(picture.alt), width, height, True)


def photo_image(photo: Bytes, alt: str, side: int, sharpest: int = SHARPEST) -> Image:
    """Return an input image to fit a square of the page, as JPEG."""
    shown = fitted(photo, side * sharpest, side * sharpest)
    room = min(side / shown.shape[0], side / shown.shape[1])
    height, width = (max(1, round(length * room)) for length in shown.shape[:2])
    return Image(_jpeg(shown, 88 if sharpest > 1 else SMALL_QUALITY), plain(alt), width, height)


def strip_image(picture: Picture) -> Image:
    """Return a picture of a strip: with few details pixel by pixel, with many as JPEG."""
    exact = encode(picture.rgb)
    few = len(exact) <= FEW_BYTES
    room = STRIP / max(picture.rgb.shape[:2])
    height, width = (max(1, round(length * room)) for length in picture.rgb.shape[:2])
    source = _uri(exact) if few else _jpeg(picture.rgb, SMALL_QUALITY)
    return Image(source, plain(picture.alt), width, height, few)


def scale_bars(scales: Sequence[ColourScale]) -> list[ScaleBar]:
    """Return a colour bar for each palette in use, and the colour of what is not finite."""
    bars = []
    for scale in palettes_in_use(scales):
        low, high = ends(scale, len(scales) == 1)
        ramp = _ramp(scale.palette)
        bars.append(ScaleBar(low, Image(ramp, f"Colours from {low} to {high}", 120, 12), high))
    if any(scale.non_finite for scale in scales):
        swatch = _uri(encode(np.array([[NON_FINITE_RGB]], np.uint8)))
        bars.append(ScaleBar("", Image(swatch, "Magenta", 12, 12), "NaN or infinite"))
    return bars


def sheet_scales(part: ChannelSheet) -> list[ColourScale]:
    """Return the scales of all tiles of a sheet."""
    return [tile.scale for _, rows in part.rows for row in rows for tile in row.tiles]


def sheet_note(part: ChannelSheet) -> str:
    """Return how to read the tiles of a sheet."""
    shapes = {tile.values.shape for _, rows in part.rows for row in rows for tile in row.tiles}
    block = max(enlargement(shape, TILE)[1] for shape in shapes)
    return f"{part.note} {averaging_note(block)}".strip()


def note_of(part: MapGrid) -> str:
    """Return how to read the tiles of a grid."""
    _, block = enlargement(part.maps.shape[1:3], TILE)
    return f"{part.scale_note} {averaging_note(block)}".strip()


def overview_scales(part: Overview) -> list[ColourScale]:
    """Return the scales of all tiles of an overview."""
    return [scale for row in part.rows for scale in row.scales]


@lru_cache
def _ramp(palette: str) -> str:
    return _uri(encode(np.arange(STEPS, dtype=np.uint8)[None], PALETTES[palette]))


def _jpeg(rgb: Bytes, quality: int) -> str:
    file = io.BytesIO()
    PillowImage.fromarray(rgb).save(file, "jpeg", quality=quality)
    return _uri(file.getvalue(), "jpeg")


def _uri(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
