"""The layer by layer part of a report: of each layer some channels, and what to make of them."""

from collections.abc import Sequence

import numpy as np

from layerscope.audit.clarity import CHANNEL_VERDICTS, Counts
from layerscope.audit.figures import conjoined, count
from layerscope.audit.result import LayerResult
from layerscope.document.colour import Bytes, ColourScale, scale_of
from layerscope.document.compose import CROSSED, facts, number, one_value, range_of
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
from layerscope.run.crops import Exemplar
from layerscope.run.evidence import CLEAR, NOT_JUDGED, Chosen, Evidence, Gallery
from layerscope.vocabulary import Floats, Layer

MOST_OPEN = 4
"""Layers of a report up to which all are in sight at once."""

CROP = 160
"""Pixels that the longer side of an exemplar is enlarged to, as near as whole numbers allow."""
FRAME = (255, 0, 255)

HOW_TO_READ = (
    "Each layer has a section below. A row there is one channel of the layer, and each picture in "
    "it one feature map: what that channel answers to the image at the head of the column."
)
NULLS = (
    "Two columns show what one would see without anything learned or without an image. "
    "Noise input: the same trained layer gets random pixels with the brightness and contrast of "
    "your images. A map that looks as orderly there as on the photo owes its order to the layer, "
    "not to the photo. "
    "Untrained twin: the same architecture with fresh random weights gets the photo. What looks "
    "alike there comes from the architecture and not from training. Channels of the twin have "
    "only their number in common with yours, so compare the kind of picture."
)
EXCITING = (
    "The places in your images where a channel answers most strongly, the strongest first. Where "
    "there is a frame, one pixel of the map sees what lies inside it, and the rest is for "
    "orientation; without a frame it sees the whole crop."
)

WORDS = {
    "non_finite": ("NaN or infinity", "gives numbers that are not finite"),
    "dead": ("dead", "0 everywhere in all images"),
    "constant": ("constant", "one value everywhere in all images"),
    "saturated": ("saturated", "mostly at the upper bound of its activation"),
    "artefact": ("artefact", "a pattern of the layer's own, such as a checkerboard or a border"),
    "noisy": ("noisy", "no more order on photos than noise input gives"),
    "blurry": ("blurry", "fine detail of the photo is lost"),
    NOT_JUDGED: ("not judged", "no verdict on what the map looks like"),
    "unsure": ("unsure", "the numbers do not decide"),
    CLEAR: ("clear", "follows the image, and nothing speaks against it"),
}
"""Verdict -> its name, and what it means in a few words."""


def reading(results: Sequence[LayerResult], gallery: Gallery) -> tuple[Part, ...]:
    """How to read the sections, and the meaning of the verdicts that occur."""
    used = [name for name in CHANNEL_VERDICTS if any(one.channels[name] for one in results)]
    words = tuple(WORDS[name] for name in used)
    names = [sight.name for sight in gallery.similar]
    others = _kind(gallery) if names else "no others"
    shown = f"The photo is {gallery.photo.name}; beside it {others}: {conjoined(names)}."
    return (
        Text(HOW_TO_READ),
        Text(NULLS),
        Text(shown if names else f"The photo is {gallery.photo.name}.", "small"),
        Table(("Verdict", "A channel that is"), words),
    )


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
    return f"{head} Not shown: {_tally(rest)}; all are in channels.parquet."


def _sheet(layer: Layer, evidence: Evidence, gallery: Gallery) -> ChannelSheet:
    others = len(evidence.similar)
    columns = [Column("This photo", gallery.photo.rgb, f"The photo {gallery.photo.name}")]
    columns += [Column(one.name, one.rgb, f"The photo {one.name}") for one in gallery.similar]
    columns.append(Column("Noise input", gallery.noise.rgb, "Noise"))
    columns.append(
        Column("Untrained twin", gallery.photo.rgb, f"The photo {gallery.photo.name} again")
    )
    rows = [_row(layer, evidence, place, columns) for place in range(len(evidence.channels))]
    groups = [
        (_heading(flagged, evidence.channels), tuple(_of_sort(rows, evidence.channels, flagged)))
        for flagged in (False, True)
    ]
    tiles = [tile for row in rows for tile in row.tiles]
    with_others = f"This photo and {_kind(gallery)}" if others else "This photo"
    return ChannelSheet(
        ((with_others, 1 + others), ("For comparison", 2)),
        tuple(columns),
        tuple(group for group in groups if group[1]),
        _note(tiles, others),
        f"Channels of {layer.path} on {1 + others} photos, on noise and in an untrained twin",
    )


def _kind(gallery: Gallery) -> str:
    many = len(gallery.similar)
    if gallery.kind:
        return f"{many} more of class {gallery.kind}"
    return "the next one" if many == 1 else f"the next {many}"


def _heading(flagged: bool, shown: Sequence[Chosen]) -> str:
    if flagged:
        return "Flagged: something speaks against these"
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
    own = "noise input and twin have scales of their own, since their numbers are not comparable"
    same = "The photos of a row share one scale" if others else "Each row has a scale of its own"
    said = [f"{same}; {own}. Above each map stand its lowest and highest value."]
    if any(tile.scale.diverging for tile in tiles):
        said.append("Blue is below 0, red above, as wide on both sides.")
    if any(one_value(tile.values) for tile in tiles):
        said.append(CROSSED.replace("on the image", ""))
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
    return Strips("What excites a channel most", rows, EXCITING)


def _crop(found: Exemplar, channel: int, layer: Layer) -> Picture:
    alt = f"Channel {channel} of {layer.path} answers {number(found.score)} to this part of"
    return Picture(_framed(found), f"{alt} {found.image}", number(found.score))


def _framed(found: Exemplar) -> Bytes:
    """The crop enlarged, with a line round what one pixel sees, unless that is all of it."""
    factor = max(1, round(CROP / max(found.crop.shape[:2])))
    rgb = found.crop.repeat(factor, 0).repeat(factor, 1)
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (
        round(share * side) for share, side in zip(found.seen, (width, height) * 2, strict=True)
    )
    if (x0, y0, x1, y1) != (0, 0, width, height):
        for line in (
            np.s_[y0:y1, x0 : x0 + 2],
            np.s_[y0:y1, x1 - 2 : x1],
            np.s_[y0 : y0 + 2, x0:x1],
            np.s_[y1 - 2 : y1, x0:x1],
        ):
            rgb[line] = FRAME
    return rgb
