"""The layer by layer part of a report: of each layer some channels, and what to make of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerscope.audit.clarity import CHANNEL_VERDICTS, Counts
from layerscope.audit.figures import conjoined, count
from layerscope.audit.result import LayerResult
from layerscope.document.colour import Bytes, ColourScale, scale_of
from layerscope.document.compose import facts, number, one_value, range_of
from layerscope.document.expectations import EXPECTED, NOT_AS_EXPECTED
from layerscope.document.parts import (
    ChannelRow,
    ChannelSheet,
    Column,
    Part,
    Picture,
    Section,
    Strips,
    Table,
    Text,
    Tile,
    Tone,
    layer_anchor,
    map_anchor,
)
from layerscope.run.crops import WHOLE, Exemplar
from layerscope.run.evidence import CLEAR, NOT_JUDGED, Chosen, Evidence, Gallery, Sight
from layerscope.vocabulary import Floats, Layer

THIS, NOISE, TWIN = "This photo", "Noise input", "Untrained twin"

MOST_OPEN = 4
"""Layers of a report up to which all are in sight at once."""

FRAME = (255, 0, 255)
FINE_LINES = 72
"""Pixels that a small crop has at most, once it is enlarged so that a frame is thin in it."""

HOW_TO_READ = (
    "Each layer has a section below. A row there is one channel of the layer, and each picture in "
    "it one feature map: what that channel answers to the image at the head of the column."
)
ON_NOISE = (
    "The same trained network gets random pixels with the brightness and contrast of your images. "
    "A map that looks as orderly here as on the photo owes its order to the layer, not to the "
    "photo."
)
IN_TWIN = (
    "The same architecture with fresh random weights gets the photo. What looks alike here comes "
    "from the architecture, not from training. A channel of the twin has nothing but its number in "
    "common with yours: compare the kind of picture."
)
EXCITING = "Where in your images a channel answers most strongly, and how strongly."
FRAMED = "The frame holds what one pixel of the map sees; the rest is for orientation."

WORDS = {
    "non_finite": ("NaN or infinity", "gives numbers that are not finite"),
    "dead": ("dead", "0 everywhere in all images"),
    "constant": ("constant", "one value everywhere in all images"),
    "saturated": ("saturated", "mostly at the upper bound of its activation"),
    "artefact": ("artefact", "a checkerboard, or a pattern at the border, whatever the image is"),
    "noisy": ("noisy", "much of what varies is fine unrest, even in its quietest places"),
    "blurry": ("blurry", "little of the fine detail of the photo is left"),
    NOT_JUDGED: (
        "not judged",
        "too few images; or late in the network, where a map is too small, or sees too much of the "
        "image, to be judged by its looks",
    ),
    "unsure": ("unsure", "the numbers do not decide, or maps are as orderly on noise input"),
    CLEAR: ("clear", "more orderly than on noise input, and nothing speaks against it"),
}
"""Verdict -> its name, and what it means in a few words."""

NUMBERS = {
    "position": "share of the variance that is a pattern which stays whatever the input is",
    "checkerboard": "share of a map that repeats with the upsampling of the layer",
    "noise": "share of the variance of a map that is noise",
    "detail": "fine detail of a map, 1 for as much as the photo has at the same size",
    "own image": "by how much a map follows its own image better than another one",
    "repeats": "correlation that is left after a small change of the image, such as a shift",
    "order": "how much more neighbouring pixels are alike than on noise input",
}
"""How a reason begins -> what its number is."""

LEARNED = {
    "yes": "This layer can be told from untrained ones: by its kernels, its dimension or how well "
    "its channels tell classes apart.",
    "no": "This layer is like an untrained one in all that was tested.",
    "unsure": "Whether this layer can be told from an untrained one is not sure.",
}


def reading(results: Sequence[LayerResult], gallery: Gallery) -> tuple[Part, ...]:
    """How to read the sections, and the meaning of the verdicts that occur."""
    used = [name for name in CHANNEL_VERDICTS if any(one.channels[name] for one in results)]
    columns = [(THIS, f"{gallery.photo.name}, the same for all channels of all layers.")]
    if gallery.similar:
        names = conjoined([sight.name for sight in gallery.similar])
        alike = "A channel that stands for something should answer alike to images that are alike."
        columns.append((_sentence(_others(gallery)), f"{names}. {alike if gallery.kind else ''}"))
    columns += [(NOISE, ON_NOISE), (TWIN, IN_TWIN)]
    return (
        Text(HOW_TO_READ),
        Table(("Column", "What it shows"), tuple(columns)),
        Table(("Verdict", "Meaning"), tuple(WORDS[name] for name in used)),
        *_numbers(gallery),
    )


def _numbers(gallery: Gallery) -> tuple[Table, ...]:
    """What the numbers beside the verdicts mean, those that occur."""
    reasons = [one.reason for shown in gallery.layers.values() for one in shown.channels]
    rows = [row for row in NUMBERS.items() if any(why.startswith(row[0]) for why in reasons)]
    caption = "The number that decided stands below the verdict, with its 95 % interval."
    return (Table(("Number", "Meaning"), tuple(rows), caption),) if rows else ()


def sections(results: Sequence[LayerResult], gallery: Gallery) -> tuple[Section, ...]:
    """A section for each layer, in the order of the network.

    Args:
        results: what was said about each layer.
        gallery: what is shown of them.
    """
    folded = len(results) > MOST_OPEN
    return tuple(
        Section(
            result.layer.path,
            layer_anchor(result.layer.path),
            3,
            _parts(result, gallery),
            _brief(result) if folded else "",
        )
        for result in results
    )


def _parts(result: LayerResult, gallery: Gallery) -> tuple[Part, ...]:
    layer, evidence = result.layer, gallery.layers.get(result.layer.path)
    said = [Text(facts(layer), "small"), *_expected(result)]
    said += [Text(LEARNED[result.learned])] if result.learned in LEARNED else []
    if evidence is None or not evidence.channels:
        why = layer.not_shown or "no channel was measured"
        return (*said, Text(f"Not drawn: {why}."))
    strips = _strips(evidence, layer)
    return (
        *said,
        Text(_counted(result.channels, evidence.channels)),
        _sheet(layer, evidence, gallery),
        *([strips] if strips.rows else []),
    )


def _expected(result: LayerResult) -> tuple[Text, ...]:
    odd = sum(result.channels[name] for name in ("non_finite", "dead", "constant"))
    if odd > result.channels["total"] / 2:
        return (Text(NOT_AS_EXPECTED),)
    return (Text(EXPECTED[result.regime]),) if result.regime in EXPECTED else ()


def _brief(result: LayerResult) -> str:
    depth = f"{result.regime} · " if result.regime else ""
    return f"{depth}{count(result.channels['total'], 'channel')}: {_tally(result.channels)}"


def _tally(counts: Counts) -> str:
    return ", ".join(
        f"{counts[name]:,} {WORDS[name][0]}" for name in reversed(CHANNEL_VERDICTS) if counts[name]
    )


def _counted(counts: Counts, shown: Sequence[Chosen]) -> str:
    """How many are shown, and what the others are, so that nothing is left out unsaid."""
    own = {name: sum(one.verdict == name for one in shown) for name in CHANNEL_VERDICTS}
    rest = {name: counts[name] - own[name] for name in CHANNEL_VERDICTS}
    head = f"{len(shown)} of {count(counts['total'], 'channel')} shown: {_tally(own)}."
    if not any(rest.values()):
        return head
    return f"{head} Not shown: {_tally(rest)}; all are in verdicts.parquet."


def _sheet(layer: Layer, evidence: Evidence, gallery: Gallery) -> ChannelSheet:
    others = len(evidence.similar)
    columns = [Column(THIS, gallery.photo.rgb, f"The photo {gallery.photo.name}")]
    columns += [_another(sight) for sight in gallery.similar]
    columns.append(Column(NOISE, gallery.noise.rgb, "Noise"))
    columns.append(Column(TWIN, gallery.photo.rgb, f"The photo {gallery.photo.name} again"))
    rows = [_row(layer, evidence, place, columns) for place in range(len(evidence.channels))]
    groups = [
        (_heading(flagged, evidence.channels), tuple(_of_sort(rows, evidence.channels, flagged)))
        for flagged in (False, True)
    ]
    tiles = [tile for row in rows for tile in row.tiles]
    with_others = f"This photo and {_others(gallery)}" if others else THIS
    return ChannelSheet(
        ((with_others, 1 + others), ("For comparison", 2)),
        tuple(columns),
        tuple(group for group in groups if group[1]),
        _note(tiles, others),
        f"Channels of {layer.path} on {1 + others} photos, on noise and in an untrained twin",
    )


def _another(sight: Sight) -> Column:
    name = Path(sight.name).name
    title = f"Image {name}" if name.isdecimal() else name
    return Column(title, sight.rgb, f"The photo {sight.name}")


def _others(gallery: Gallery) -> str:
    many = len(gallery.similar)
    if gallery.kind:
        return f"{many} more of class {gallery.kind}"
    return "the next one" if many == 1 else f"the next {many}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _heading(flagged: bool, shown: Sequence[Chosen]) -> str:
    if flagged:
        return "Flagged or unsure, the gravest first"
    judged = any(one.verdict == CLEAR for one in shown)
    sort = "Clear" if judged else "Not judged"
    return f"{sort}: those that carry most of the layer on this photo"


def _of_sort(
    rows: Sequence[ChannelRow], shown: Sequence[Chosen], flagged: bool
) -> list[ChannelRow]:
    return [row for row, one in zip(rows, shown, strict=True) if one.flagged is flagged]


def _row(layer: Layer, evidence: Evidence, place: int, columns: Sequence[Column]) -> ChannelRow:
    one = evidence.channels[place]
    photos = [maps[..., place] for maps in (evidence.photo, *evidence.similar)]
    shared = scale_of(np.concatenate([values.ravel() for values in photos]), signed=_signed(layer))
    nulls = [maps[..., place] for maps in (evidence.noise, evidence.twin)]
    scales = [shared] * len(photos) + [scale_of(v, signed=_signed(layer)) for v in nulls]
    tiles = tuple(
        _tile(values, scale, f"Channel {one.channel} of {layer.path}: {column.alt}")
        for values, scale, column in zip((*photos, *nulls), scales, columns, strict=True)
    )
    return ChannelRow(
        one.channel,
        map_anchor(layer.path, one.channel),
        WORDS[one.verdict][0],
        _tone(one.verdict),
        one.reason,
        tiles,
    )


def _signed(layer: Layer) -> bool:
    return layer.pre_activation


def _tile(values: Floats, scale: ColourScale, alt: str) -> Tile:
    words, odd = _range(values), one_value(values) or not np.isfinite(values).all()
    return Tile(values, scale, words, odd, f"{alt}, {words}")


def _range(values: Floats) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "NaN"
    if one_value(values):
        return f"all {number(float(finite[0]))}"
    said = range_of(ColourScale("map", float(finite.min()), float(finite.max())))
    return said if finite.size == values.size else f"NaN, else {said}"


def _tone(verdict: str) -> Tone:
    if verdict == CLEAR:
        return "good"
    return "open" if verdict in ("unsure", NOT_JUDGED) else "bad"


def _note(tiles: Sequence[Tile], others: int) -> str:
    same = "The photos of a row share one scale" if others else "Each map has a scale of its own"
    own = "; noise input and twin have one each" if others else ""
    said = [f"{same}{own}, from the lowest value to the highest. Above each map: its own range."]
    if any(tile.scale.diverging for tile in tiles):
        said.append("Blue is below 0, red above, as wide on both sides.")
    if any(one_value(tile.values) for tile in tiles):
        said.append("Crossed out: one value everywhere.")
    return " ".join(said)


def _strips(evidence: Evidence, layer: Layer) -> Strips:
    rows = tuple(
        (
            f"Channel {one.channel}",
            WORDS[one.verdict][0],
            tuple(_crop(found, one.channel, layer) for found in one.exemplars),
        )
        for one in evidence.channels
        if one.exemplars
    )
    framed = any(found.seen != WHOLE for one in evidence.channels for found in one.exemplars)
    note = f"{EXCITING} {FRAMED}" if framed else EXCITING
    return Strips("What excites a channel most", rows, note)


def _crop(found: Exemplar, channel: int, layer: Layer) -> Picture:
    alt = f"Channel {channel} of {layer.path} answers {number(found.score)} to this part of"
    return Picture(_framed(found), f"{alt} {found.image}", number(found.score))


def _framed(found: Exemplar) -> Bytes:
    """The crop with a line round what one pixel sees, unless that is all of it."""
    if found.seen == WHOLE:
        return found.crop
    larger = max(1, FINE_LINES // max(found.crop.shape[:2]))
    rgb = found.crop.repeat(larger, 0).repeat(larger, 1)
    height, width = rgb.shape[:2]
    x0, x1 = (round(share * width) for share in found.seen[::2])
    y0, y1 = (round(share * height) for share in found.seen[1::2])
    inside = rgb[y0:y1, x0:x1].copy()
    rgb[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = FRAME
    rgb[y0:y1, x0:x1] = inside
    return rgb
