"""From maps to parts of a document: what stands in a grid, and the words that go with it."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from layerscope.audit.figures import listed
from layerscope.document.colour import (
    NON_FINITE_RGB,
    Bytes,
    ColourScale,
    ScaleKind,
    averaged,
    colourise,
    scale_of,
)
from layerscope.document.expectations import EXPECTED, NOT_AS_EXPECTED
from layerscope.document.parts import (
    Badge,
    Document,
    Links,
    MapGrid,
    Note,
    Overview,
    Picture,
    Section,
    Text,
)
from layerscope.document.whole import composite, factors
from layerscope.errors import InputError
from layerscope.measures.depth import regime
from layerscope.measures.specificity import LUMINANCE
from layerscope.measures.vitality import ROUNDING
from layerscope.selection import Selection, select
from layerscope.vocabulary import Floats, Layer

WHOLE_LAYER = (
    "Each layer is shown as a whole first. PCA to RGB: its three strongest directions as red, "
    "green and blue; places of one colour get a similar answer, the colours mean nothing else. "
    "The percentage is how much of a map they explain on average, as for the single maps below. "
    "Factors: a few parts that together make up all its maps (NMF where nothing is below 0, "
    "principal components where maps are signed). Then come the single maps that carry most."
)
WHOLE_SIDE = 112
"""Pictures of whole layers are averaged over blocks of cells until they are not twice as large."""

CROSSED = "Crossed out: one value everywhere on the image."
MOST_NAMES, LONGEST_TITLE = 3, 60

STILL_DRAWN = 16
"""Of a layer without an ordinary map so many are drawn, to show that."""


def grid(
    photos: Sequence[Bytes],
    names: Sequence[str],
    layer: Layer,
    maps: Floats,
    selection: Selection | None = None,
    scale: ScaleKind = "map",
    whole: bool = True,
    robust: float = 0.0,
) -> MapGrid:
    """Return the chosen maps of one layer: for one image, or side by side for several.

    Args:
        photos: one RGB image per row of maps, uint8 (H, W, 3).
        names: their names.
        layer: the row that describes the maps.
        maps: float32 (N, H, W, C), all channels.
        selection: which maps to show; None chooses by coverage.
        scale: one colour scale per ``map`` or one for the ``layer``. All images share it, so that
            one sees whether a map answers alike to images that are alike.
        whole: also picture the layer as a whole: composite and factors.
        robust: per cent of the cells that the scale leaves out and marks as clipped.

    Raises:
        InputError: photos, names and maps differ in number.
    """
    if not len(photos) == len(names) == len(maps):
        raise InputError(
            "A grid needs one photo and one name per image; "
            f"got {len(photos)}, {len(names)} and maps of {len(maps)}."
        )
    selection = select(maps) if selection is None else selection
    if None in layer.shape:
        layer = replace(layer, shape=maps.shape[1:])
    channels = _shown(selection)
    shown = np.ascontiguousarray(maps[..., list(channels)])
    scales = _scales(shown, scale, layer.pre_activation, robust)
    return MapGrid(
        layer=layer,
        facts=facts(layer),
        photos=tuple(photos),
        names=tuple(names),
        maps=shown,
        channels=channels,
        selection=selection,
        scales=scales,
        scale_note=_scale_note(scale, scales, len(maps), _any_still(shown)),
        badges=tuple(_badge(channel, selection) for channel in channels),
        stands_for=_stands_for(channels, selection),
        legend=legend(selection),
        remarks=_remarks(selection, layer, len(maps)),
        whole=whole_layer(maps, layer) if whole else (),
        alt=(
            f"{len(channels)} of {selection.total} feature maps of layer {layer.path} "
            f"for {', '.join(names)}"
        ),
    )


def overview(
    photo: Bytes, name: str, rows: Sequence[MapGrid], predictions: Sequence[tuple[str, float]] = ()
) -> Overview:
    """One image through a whole network.

    Args:
        photo: the input image, uint8 (H, W, 3).
        name: its name.
        rows: the grids of its layers, from the input to the output.
        predictions: the strongest outputs: name and value, strongest first.
    """
    alt = f"{name} through {len(rows)} layers, a row of feature maps for each"
    note = "Single maps of each layer, the one that carries most first, each on its own scale."
    if any(row.scales[0].kind != "map" for row in rows if row.scales):
        note = "Single maps of each layer, the one that carries most first."
    if any(row.whole for row in rows):
        note = (
            "Left: the whole layer, its three strongest directions as red, green and blue. "
            f"Then {note[0].lower()}{note[1:]}"
        )
    if any(CROSSED in row.scale_note for row in rows):
        note += " " + CROSSED
    return Overview(photo, name, tuple(predictions), tuple(rows), note, alt)


def heading(model: str, names: Sequence[str]) -> str:
    """Return a title for some images in a network; many are counted, since a page lists them."""
    listing = ", ".join(names)
    few = len(names) == 1 or (len(names) <= MOST_NAMES and len(listing) <= LONGEST_TITLE)
    return f"{model}: {listing if few else f'{len(names)} images'}"


def document(
    title: str,
    overviews: Sequence[Overview],
    grids: Sequence[MapGrid],
    notes: Sequence[Note] = (),
) -> Document:
    """All about some images in one network: overviews first, then a section per layer.

    Args:
        title: of the document.
        overviews: one per image.
        grids: one per layer, in the order of the network.
        notes: what must be known before looking, such as layers that are not drawn.
    """
    back = Links((("Overview", "overview"),))
    layers = [
        Section(part.layer.path, part.anchor, 3, (*_expected(part), part, back)) for part in grids
    ]
    # how to read an overview is the same for all images
    sheets = [replace(part, note=part.note if at == 0 else "") for at, part in enumerate(overviews)]
    about = (Text(WHOLE_LAYER),) if any(part.whole for part in grids) else ()
    return Document(
        title,
        (
            Section("Overview", "overview", 2, (*notes, *sheets)),
            Section("Layers", "layers", 2, about),
            *layers,
        ),
    )


def _expected(part: MapGrid) -> tuple[Text, ...]:
    """What to expect at this depth, unless the maps are such that it would be beside the point."""
    depth = regime(part.layer)
    # Late in a sound network most maps are silent on one photo; early in it half are too many.
    fewest = 0.1 if depth == "late" else 0.5
    if _varying(part.selection) < fewest * part.selection.total:
        return (Text(NOT_AS_EXPECTED),)
    return () if depth is None else (Text(EXPECTED[depth]),)


def _varying(selection: Selection) -> int:
    odd = (selection.constant, selection.dead, selection.non_finite)
    return selection.total - sum(len(channels) for channels in odd)


def whole_layer(maps: Floats, layer: Layer) -> tuple[tuple[Picture, ...], ...]:
    """Pictures of a whole layer for each image: composite, then factors.

    Colours and factors are found on all images together and mean the same in each. Nothing comes
    back for a layer in which nothing varies, or with a single map, which is itself the whole.
    """
    rgb, share = composite(maps)
    if share == 0 or maps.shape[-1] == 1:
        return ()
    alt = f"Whole layer {layer.path}: three strongest directions as red, green and blue"
    found = factors(maps)
    block = max(1, max(maps.shape[1:3]) // WHOLE_SIDE)
    name = "NMF factor" if found.kind == "NMF" else "PCA factor"
    rows = [[Picture(pixels, alt, f"PCA to RGB ({percent(share)})")] for pixels in rgb]
    for part in range(found.maps.shape[-1]):
        values = [averaged(cells[..., part], block) for cells in found.maps]
        colours = scale_of(np.stack(values), signed=found.kind == "PCA")
        alt = f"Whole layer {layer.path}: {name} {part + 1}"
        for row, cells in zip(rows, values, strict=True):
            row.append(Picture(colourise(cells, colours), alt, f"{name} {part + 1}", colours))
    return tuple(tuple(row) for row in rows)


def overlay(
    photo: Bytes,
    values: Floats,
    alpha: float = 0.4,
    signed: bool = False,
    scale: ColourScale | None = None,
) -> Picture:
    """Lay a map over the photo it comes from, each cell as the rectangle it covers.

    The photo loses its colours, so that all colour is the map's.

    Args:
        photo: uint8 (H, W, 3).
        values: float32 (h, w), one map or heatmap.
        alpha: how much of the colour of the map is seen, 0 to 1.
        signed: the sign of the values means something.
        scale: of another map that this one is to be compared with; default its own.

    Raises:
        InputError: alpha is not between 0 and 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must lie between 0 (photo) and 1 (map); got {alpha:g}.")
    scale = scale_of(values, signed=signed) if scale is None else scale
    rows, columns = (
        np.arange(length) * cells // length
        for length, cells in zip(photo.shape[:2], values.shape, strict=True)
    )
    cells = values[np.ix_(rows, columns)]
    grey = (photo @ np.array(LUMINANCE))[..., None]
    blend = (1 - alpha) * grey + alpha * colourise(cells, scale)
    blend[~np.isfinite(cells)] = NON_FINITE_RGB
    words = f"{percent(alpha)} map over the photo"
    return Picture(blend.round().astype(np.uint8), "A map laid over the photo", words, scale)


def shape_of(layer: Layer) -> str:
    """Return the shape of a map in words; a question mark where the image decides."""
    return " × ".join("?" if side is None else str(side) for side in layer.shape)


def facts(layer: Layer) -> str:
    """Return what one should know about a layer, in one line."""
    field = layer.receptive_field
    said = [
        layer.kind,
        " × ".join("?" if side is None else str(side) for side in layer.shape),
        "receptive field unknown or whole image"
        if field is None
        else f"receptive field {field} px",
    ]
    if layer.stride is not None:
        said.append(f"stride {layer.stride:g}")
    if layer.pre_activation:
        said.append("signed: no activation follows")
    # a line breaks between two facts, not within one
    return " · ".join(fact.replace(" ", "\u00a0") for fact in said)


def short_facts(layer: Layer) -> str:
    """Return what one should know about a layer, in few words for a row of an overview."""
    field = layer.receptive_field
    field_words = "field unknown" if field is None else f"field {field} px"
    return f"{layer.kind} {shape_of(layer).replace(' ', '')} · {field_words}"


def legend(selection: Selection) -> str:
    """How many of how many maps are shown, and what they carry."""
    shown, total = len(selection.channels), selection.total
    if not shown:
        return _none_varies(selection)
    if shown == total:
        return f"all {total} maps" if total > 1 else "the only map"
    count = f"{shown} of {_maps(total)}"
    if selection.exhausted:
        return f"{count}, and no other adds anything"
    if not selection.percent_known:
        return f"{count} (too few pixels to say how much they carry)"
    bound = percent(selection.pca_bound)
    return f"{count}, carrying {percent(selection.coverage)} (PCA bound {bound})"


def short_legend(part: MapGrid, drawn: int) -> str:
    """How many maps a row of an overview draws, and what these carry."""
    selection = part.selection
    if not selection.channels:
        return _none_varies(selection)
    if drawn == selection.total:
        return legend(selection)
    count = f"{drawn} of {_maps(selection.total)}"
    if not selection.percent_known or not selection.curve:
        return count
    return f"{count}, carrying {percent(selection.curve[drawn - 1])}"


def _none_varies(selection: Selection) -> str:
    total = selection.total
    found = [
        (len(selection.non_finite), "hold NaN or infinity", "with NaN or infinity"),
        (len(selection.dead), "are dead", "dead"),
        (len(selection.constant), "are constant", "constant"),
    ]
    kinds = [kind for kind in found if kind[0]]
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {words}" for count, _, words in kinds)
        said = f"no ordinary map among {total}: {counts}"
    elif total == 1:
        said = f"the only map, {kinds[0][2]}"
    else:
        said = f"all {total} maps {kinds[0][1]}"
    return said + (f" ({STILL_DRAWN} are drawn)" if total > STILL_DRAWN else "")


def beside(part: MapGrid, row: int, place: int) -> tuple[tuple[str, ...], bool]:
    """Return what is said beside the number of a map on one image.

    Returns:
        The same in several lengths, the longest first, empty where there is nothing to say; and
        whether it must not be overlooked.
    """
    values, scale, badge = part.maps[row, :, :, place], part.scales[place], part.badges[place]
    own_range = range_of(scale) if scale.kind == "map" else ""
    if badge == "dead":
        return ("dead",), True
    if badge == "constant":
        return (f"constant {number(float(values.flat[0]))}", "constant", "const"), True
    if badge == "non-finite":
        finite = bool(np.isfinite(part.maps[..., place]).any())
        full = (f"non-finite, {own_range}",) if finite and own_range else ()
        return (*full, "non-finite", "NaN"), True
    if one_value(values):
        value = number(float(values.flat[0]))
        return (f"all {value} here", f"all {value}"), True
    return ((own_range,) if own_range else ()), False


def one_value(values: Floats) -> bool:
    """Whether a map holds one finite value everywhere."""
    low, high = float(values.min()), float(values.max())
    within = high - low <= ROUNDING * max(abs(low), abs(high))
    return within and isfinite(low) and isfinite(high)


def _any_still(maps: Floats) -> bool:
    """Whether one of the maps (N, H, W, C) is such a map."""
    return any(one_value(maps[i, :, :, k]) for i in range(len(maps)) for k in range(maps.shape[3]))


def percent(share: float) -> str:
    """Return a share as whole per cent, never rounded up to 100 or down to 0."""
    rounded = round(100 * share)
    if share < 1 and rounded == 100:
        return "> 99 %"
    if share > 0 and rounded == 0:
        return "< 1 %"
    return f"{rounded} %"


def number(value: float) -> str:
    """Return a number short enough for a label."""
    return f"{value:.2g}" if abs(value) < 10 or abs(value) >= 1e5 else f"{value:.0f}"


def range_of(scale: ColourScale) -> str:
    """Return the range of a scale in words."""
    return f"{number(scale.low)} to {number(scale.high)}"


def averaging_note(block: int) -> str:
    """Return what must be said where cells are drawn as means of blocks; empty where not."""
    return f"Drawn smaller: each cell is the mean of {block} × {block}." if block > 1 else ""


def palettes_in_use(scales: Sequence[ColourScale]) -> list[ColourScale]:
    """Return one scale for each palette that colours a cell, for the legend."""
    return list({scale.palette: scale for scale in scales if scale.low < scale.high}.values())


def ends(scale: ColourScale, only: bool) -> tuple[str, str]:
    """Return the words at the ends of a colour bar: numbers, unless it stands for many scales."""
    if only or scale.kind != "map":
        return number(scale.low), number(scale.high)
    return ("below 0", "above 0") if scale.diverging else ("low", "high")


def _shown(selection: Selection) -> tuple[int, ...]:
    """Return the channels to draw: where nothing varies, some that do not, to show that."""
    still = (*selection.non_finite, *selection.constant, *selection.dead)
    return selection.channels or still[:STILL_DRAWN]


def _scales(shown: Floats, kind: ScaleKind, signed: bool, robust: float) -> tuple[ColourScale, ...]:
    if kind == "layer":
        channels: int = shown.shape[-1]
        return (scale_of(shown, kind, signed, robust),) * channels
    return tuple(scale_of(values, kind, signed, robust) for values in np.moveaxis(shown, -1, 0))


def _stands_for(channels: Sequence[int], selection: Selection) -> tuple[tuple[int, ...], ...]:
    hidden: dict[int, list[int]] = {channel: [] for channel in channels}
    for channel, shown in selection.representative.items():
        hidden[shown].append(channel)
    return tuple(tuple(members) for members in hidden.values())


def _badge(channel: int, selection: Selection) -> Badge:
    if channel in selection.non_finite:
        return "non-finite"
    if channel in selection.dead:
        return "dead"
    return "constant" if channel in selection.constant else ""


def _scale_note(
    kind: ScaleKind, scales: tuple[ColourScale, ...], images: int, crossed: bool
) -> str:
    said = [CROSSED] if crossed else []
    stretched = [scale for scale in scales if scale.low < scale.high]
    if stretched:
        said.insert(0, _how_coloured(kind, stretched, images) + ".")
    return " ".join(said)


def _how_coloured(kind: ScaleKind, scales: list[ColourScale], images: int) -> str:
    wide = any(scale.diverging for scale in scales)
    if kind == "layer":
        note = f"One scale for all maps: {range_of(scales[0])}"
    else:
        note = "Each map on its own scale"
        note += ", the same for all images" if images > 1 else ""
        note += ", as wide on both sides of 0" if wide else ", from its lowest to its highest value"
    note += "; blue below 0, red above" if wide else ""
    clipped = max(scale.clipped for scale in scales)
    if clipped:
        marks = sorted({"black" if scale.diverging else "white" for scale in scales})
        note += (
            f"; up to {100 * clipped:.1f} % of the cells lie outside and are {' or '.join(marks)}"
        )
    return note


def _remarks(selection: Selection, layer: Layer, images: int) -> tuple[str, ...]:
    said = [layer.notes] if layer.notes else []
    here = "this image" if images == 1 else f"these {images} images"
    for channels, words in (
        (selection.non_finite, "with NaN or infinity"),
        (selection.dead, f"dead on {here} (0 everywhere)"),
        (selection.constant, f"constant on {here}"),
    ):
        if channels:
            said.append(f"{_maps(len(channels))} {words}: {listed(channels)}.")
    if selection.worst and selection.percent_known:
        worst = ", ".join(f"{channel} ({percent(r2)})" for channel, r2 in selection.worst)
        said.append(f"Hidden maps least explained by the shown ones: {worst}.")
    return tuple(said)


def _maps(count: int) -> str:
    return "1 map" if count == 1 else f"{count} maps"
