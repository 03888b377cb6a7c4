"""The sheet "the maps that decide": those of all layers without which the answer changes most.

All channels of all layers are too many passes for a photo. One backward pass says what holding each
would change to first order, (level - map) . gradient summed over places; the most promising, and
some of every layer, are then really held, and only what was measured is shown. The gradients are
those of the photo, of a faded one, and of one colour, see `FADED`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.figures import count
from layerscope.document.colour import Bytes
from layerscope.document.colour import photo as to_look_at
from layerscope.document.compose import heading
from layerscope.document.deciding import Deciding, deciding, deciding_page, deciding_tile
from layerscope.document.parts import Document
from layerscope.errors import InputError
from layerscope.feed import Batch, check_finite
from layerscope.focus.contract import NOISE, is_count
from layerscope.focus.names import called
from layerscope.focus.places import image_of
from layerscope.focus.targets import Explained, Indices, Target, explained, wanted
from layerscope.images.labels import ClassNames
from layerscope.intake import MOST_IMAGES, Images, Intake
from layerscope.interventions.ablation import Case, ablated_anywhere
from layerscope.measures.intervals import FEWEST
from layerscope.model import operations
from layerscope.model.kinship import kinship
from layerscope.model.room import batch_size as comfortable
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel, view
from layerscope.render import write_whole
from layerscope.render.deciding import SIDE, deciding_sheet
from layerscope.render.html import write_html
from layerscope.render.labels import plain
from layerscope.render.notebook import DocumentDisplay
from layerscope.render.png import encode
from layerscope.render.sheet import fitted
from layerscope.vocabulary import Floats, Layer, Skipped

MOST_PHOTOS = 8
"""Photos with a sheet of their own."""
MOST_REFERENCE = 32
"""Images that a mean is taken over."""
MEASURED = 256
"""Maps of a photo that are really held, unless more are asked for."""
OF_EACH_LAYER = 2
"""As many of every layer at least: the first order is a poor guide where a layer saturates."""
FADED = (1.0, 0.5, 0.0)
"""Where on the way from a photo (1) to an image of its mean colour (0) gradients are taken. Those
of the photo alone are flat for maps that saturate on it: of 47 changes by more than 1.5 logits, in
10 layers of EfficientNet-Lite0 on 3 photos, 39 were among the 256 most promising maps of all by the
first gradient, and 44 by the steepest of the three."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Decider:
    """A map, and what the answer loses with it.

    Attributes:
        layer: the row that describes its layer.
        channel: its number.
        change: of the explained number when the map is held at ``level``.
        expected: the same to first order, by the steepest of several gradients.
        level: the value that every place was held at.
        values: float32 (h, w), the map.
        also: other layers in which the map of this number changes the answer less and is nearly
            the same thing: they pass it on, see `layerscope.model.kinship`.
    """

    layer: Layer
    channel: int
    change: float
    expected: float
    level: float
    values: Floats = field(repr=False)
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """The maps that decide one photo.

    Attributes:
        name: of the photo.
        photo: uint8 (H, W, 3).
        index: the class explained; -1 where there is none.
        target: its name, or a number where it has none; empty where there is none.
        score: the explained number.
        deciders: the largest change first; of maps that are passed on one.
        measured: how many maps were really held.
        total: how many maps there are in these layers.
    """

    name: str
    photo: Bytes = field(repr=False)
    index: int
    target: str
    score: float
    deciders: tuple[Decider, ...]
    measured: int
    total: int


@dataclass(frozen=True)
class Decisive:
    """The maps that decide, a sheet for each photo; a notebook displays them as a page.

    Attributes:
        model: name of the model.
        sheets: one per photo.
        scale: what is explained: ``logit``, ``probability`` or ``output``.
        level: what maps were held at, in words.
        function: name of the function that is explained; empty for a class.
        notes: sentences on images that were left out.
        skipped: files that could not be used, with the reasons.
    """

    model: str
    sheets: tuple[Decision, ...]
    scale: str
    level: str
    function: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(plain(sheet.name) for sheet in self.sheets[:3])
        more = f" and {len(self.sheets) - 3} more" if len(self.sheets) > 3 else ""
        return f"The maps that decide {names}{more}: .sheets, .save(path)"

    @property
    def drawn(self) -> tuple[Deciding, ...]:
        """The sheets as parts of a document."""
        return tuple(_drawn(sheet, self) for sheet in self.sheets)

    @property
    def document(self) -> Document:
        """Everything as one document."""
        parts = self.drawn
        skipped = [f"{s.file} was skipped: {s.reason}." for s in self.skipped]
        title = heading(self.model, [sheet.name for sheet in self.sheets])
        pictures = [deciding_sheet(part) for part in parts]
        return deciding_page(title, parts, pictures, (*self.notes, *skipped))

    def save(self, path: str | Path) -> Path:
        """Write the sheets.

        Args:
            path: a file name that ends in ``.png`` for the sheet of one photo, or in ``.html`` for
                a page of all.

        Raises:
            InputError: another ending, or several photos for one picture.
            EnvironmentFailure: the file cannot be written.
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending in {".html", ".htm"}:
            write_html(self.document, target)
        elif ending == ".png" and len(self.sheets) == 1:
            write_whole(target, encode(deciding_sheet(self.drawn[0])))
        else:
            raise InputError(
                "The sheet of one photo is saved as .png, those of several as one .html; got "
                f"{target.name!r} for {count(len(self.sheets), 'photo')}."
            )
        return target

    def _repr_html_(self) -> str:
        return DocumentDisplay(self.document)._repr_html_()


def _drawn(sheet: Decision, all_of: Decisive) -> Deciding:
    below = fitted(sheet.photo, SIDE - 2, SIDE - 2)
    tiles = [
        deciding_tile(below, one.layer, one.channel, one.values, one.change, one.also)
        for one in sheet.deciders
    ]
    searched = (
        f"{sheet.measured:,} of {sheet.total:,} maps were held: those that promised most by the "
        f"gradient, {OF_EACH_LAYER} of each layer at least. The others were not measured."
    )
    if sheet.measured == sheet.total:
        searched = f"All {sheet.total:,} maps were held."
    about = (all_of.scale, sheet.score, tiles, searched, all_of.level, all_of.function)
    return deciding(sheet.name, sheet.photo, sheet.target, *about)


def decisive(
    intake: Intake,
    images: Images,
    target: Target = None,
    k: int = 12,
    *,
    layers: str | Sequence[str] | None = None,
    reference: Images | None = None,
    measured: int = MEASURED,
    output: str | None = None,
    batch_size: int | None = None,
    names: ClassNames | None = None,
) -> Decisive:
    """Find the maps that decide, over all layers, for one or a few photos.

    A map is held at what its channel gives on average, over reference images and their places. From
    one photo alone that cannot be had: its own mean would leave untouched what a mean over all
    places reads later. Then the level is the mean of the channel on an image of one colour, the
    mean colour of the photo.

    Args:
        intake: brings images into the model.
        images: see `layerscope.intake.Images`; 8 at most get a sheet, evenly spread.
        target: see `layerscope.focus.targets.Target`; default the predicted class of each photo.
        k: maps on a sheet.
        layers: patterns; default convolutions and blocks.
        reference: images whose mean a map is held at; default the photos themselves if they are 8
            and more, else an image of one colour.
        measured: maps of a photo that are really held, at most; the most promising to first order.
        output: name of the output; default the only one, or the only vector.
        batch_size: changed photos in one pass; default as many as fit comfortably.
        names: of the classes, in the order of the outputs.

    Raises:
        InputError: images, layers, target or numbers that do not fit.
    """
    intake.check_batch_size(batch_size)
    for what, value in (("k", k), ("measured", measured)):
        if not is_count(value):
            raise InputError(f"{what} is a number of maps from 1; got {value!r}.")
    images = intake.plain(images)
    intake.takes_apart(images)  # may be what tells the model's inputs
    intake.check_classes()
    batches = list(intake.feed(images, MOST_PHOTOS, MOST_PHOTOS))
    total = intake.count(images)
    shown = sum(len(batch.ids) for batch in batches)
    if reference is None and (total or shown) >= FEWEST:
        reference = images if total is not None else None
    levels, words = _reference(intake, reference, layers)
    about = explained(intake.traced, target, output, names)
    index = wanted(about, target, names, shown)
    search = _Search(target, output, names, layers, levels, k, measured, batch_size)
    sheets: list[Decision] = []
    for batch in batches:
        at = index[len(sheets) : len(sheets) + len(batch.ids)]
        sheets += search.decide(intake.fitting(batch.inputs), batch, at)
    left_out = total is not None and total > shown + len(batches[-1].skipped)
    notes = (f"{shown} of {total} photos have a sheet, evenly spread.",) if left_out else ()
    said = (about.scale, words, called(target), notes, batches[-1].skipped)
    return Decisive(intake.model.name, tuple(sheets), *said)


def _drawable(traced: TracedModel, layers: str | Sequence[str] | None) -> list[Tap]:
    taps = [
        tap
        for tap in traced.resolve(layers)
        if tap.tensor
        and operations.is_map(traced.tensor(tap.tensor))
        and operations.side(traced.tensor(tap.tensor)) != (1, 1)
    ]
    if not taps:
        raise InputError(
            f"A sheet needs layers with maps of more than one pixel, and {layers!r} names none."
        )
    return taps


def _words(index: int, names: ClassNames | None) -> str:
    if index < 0:
        return ""
    return names[index][-1] if names and index < len(names) else f"class {index}"


def _reference(
    intake: Intake, reference: Images | None, layers: str | Sequence[str] | None
) -> tuple[list[Doubles] | None, str]:
    """The mean of every channel of every layer over some images, and what that is in words."""
    if reference is None:
        return None, "its mean on an image of one colour, the mean colour of the photo"
    totals: list[Doubles] | None = None
    pixels: list[int] = []
    seen = 0
    for batch in intake.feed(reference, MOST_PHOTOS, MOST_REFERENCE):
        traced = intake.fitting(batch.inputs)
        tensors = [tap.tensor for tap in _drawable(traced, layers)]
        maps = [view(tensor) for tensor in traced.run(batch.inputs, tensors)]
        sums = [x.sum((0, 1, 2), dtype=np.float64) for x in maps]
        sizes = [x.size // x.shape[-1] for x in maps]
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums, strict=True)]
        pixels = [a + b for a, b in zip(pixels or [0] * len(sizes), sizes, strict=True)]
        seen += len(batch.ids)
    means = [a / b for a, b in zip(totals or [], pixels, strict=True)]
    return means, f"its mean over {count(seen, 'image')}"


@dataclass(frozen=True)
class _Search:
    """How the maps that decide are found; the same for all photos."""

    target: Target
    output: str | None
    names: ClassNames | None
    layers: str | Sequence[str] | None
    levels: Sequence[Doubles] | None
    k: int
    measured: int
    batch_size: int | None

    def decide(self, traced: TracedModel, batch: Batch, index: Indices) -> list[Decision]:
        """Find the maps that decide the photos of a batch."""
        for values in batch.inputs:
            check_finite(values, batch.ids)
        about = explained(traced, self.target, self.output, self.names)
        taps = _drawable(traced, self.layers)
        where = _Where(about, taps, kinship(traced, taps))
        decisions = []
        for row, name in enumerate(batch.ids):
            inputs = [x[row : row + 1] for x in batch.inputs]
            pixels = batch.pixels[row] if len(inputs) == 1 else inputs[image_of(about)][0]
            photo = to_look_at(np.asarray(pixels))
            decisions.append(self._decision(where, name, photo, inputs, index[row : row + 1]))
        return decisions

    def _decision(
        self,
        where: "_Where",
        name: str,
        photo: Bytes,
        inputs: Sequence[Floats],
        index: Indices,
    ) -> Decision:
        looked = where.look(inputs, index)
        maps, score, chosen = [x[0] for x in looked.maps], looked.score, looked.chosen
        levels = self.levels or looked.levels()
        expected = looked.expected(levels)
        picked = _promising(expected, self.measured)
        cases = [
            Case(where.taps[at].tensor, channel, float(levels[at][channel]))
            for at, channel in picked
        ]
        changes = where.held(inputs, chosen, cases, self.batch_size)
        rows = where.about.traced.rows_of(where.taps)
        deciders = [
            Decider(
                replace(rows[where.taps[at].path], shape=maps[at].shape),
                channel,
                float(changes[place]),
                float(expected[at][channel]),
                float(levels[at][channel]),
                maps[at][..., channel].copy(),
                tuple(where.taps[picked[other][0]].path for other in others),
            )
            for place, others in _strongest(changes, picked, where.kin, self.k)
            for at, channel in [picked[place]]
        ]
        total = sum(len(values) for values in expected)
        words, number = _words(int(chosen[0]), self.names), int(chosen[0])
        return Decision(name, photo, number, words, score, tuple(deciders), len(cases), total)


def _faded(pixels: Floats, share: float) -> Floats:
    """An image with so much left of what differs from its mean colour."""
    mean = pixels.mean((1, 2), keepdims=True, dtype=np.float32)
    return np.asarray(mean + np.float32(share) * (pixels - mean), np.float32)


@dataclass(frozen=True)
class _Looked:
    """One photo and its faded versions, see `FADED`: numbers, class, maps and gradients."""

    score: float
    chosen: Indices
    maps: Sequence[Floats]
    gradients: Sequence[Floats]

    def levels(self) -> list[Doubles]:
        """The mean of every channel on an image of one colour."""
        return [x[-1].mean((0, 1), dtype=np.float64) for x in self.maps]

    def expected(self, levels: Sequence[Doubles]) -> list[Doubles]:
        """What holding each channel would change to first order, by the steepest gradient."""
        found = []
        for level, maps, gradients in zip(levels, self.maps, self.gradients, strict=True):
            total = gradients.sum((1, 2), dtype=np.float64)
            crossed = np.einsum("hwc,nhwc->nc", maps[0], gradients, dtype=np.float64)
            changes = level * total - crossed
            steepest = np.abs(changes).argmax(0)
            found.append(np.take_along_axis(changes, steepest[None], 0)[0])
        return found


@dataclass(frozen=True)
class _Where:
    """The layers of a model in which maps are held.

    Attributes:
        about: the number of interest.
        taps: the layers.
        kin: for each layer the number of its kinship, see `layerscope.model.kinship`.
    """

    about: Explained
    taps: Sequence[Tap]
    kin: Sequence[int]

    def look(self, inputs: Sequence[Floats], index: Indices) -> _Looked:
        """Maps of a photo, and gradients on the way from it to an image of one colour."""
        about, traced, image = self.about, self.about.traced, image_of(self.about)
        tensors = [tap.tensor for tap in self.taps]
        score = traced.tensor(about.score)
        slopes = traced.gradients(about.score, lambda _: score, tensors)
        number, chosen = about.ask(inputs, index, [about.score, about.chosen])
        fixed = np.array(chosen, np.int64)
        way = [
            np.concatenate([_faded(x, share) if i == image else x for share in FADED])
            for i, x in enumerate(inputs)
        ]
        found = about.ask(way, np.repeat(fixed, len(FADED)), [*tensors, *slopes])
        return _Looked(float(number[0]), fixed, found[: len(tensors)], found[len(tensors) :])

    def held(
        self, inputs: Sequence[Floats], chosen: Indices, cases: Sequence[Case], size: int | None
    ) -> Doubles:
        """The change of the explained number for each case, 0 where it is rounding."""
        rows = size or comfortable(self.about.traced, self.taps, MOST_IMAGES)
        calm = [Case("", 0, 0.0)] * rows
        scores = ablated_anywhere(self.about, inputs, chosen, [*calm, *cases], rows)
        base = scores[:rows].astype(np.float64)
        change = scores[rows:] - base[0]
        floor = max(NOISE * abs(base[0]), 4 * float(np.ptp(base)))
        return np.where(np.abs(change) <= floor, 0.0, change)


def _strongest(
    changes: Doubles, picked: Sequence[tuple[int, int]], kin: Sequence[int], most: int
) -> list[tuple[int, list[int]]]:
    """Places of the largest changes, one of each family of maps, and of the rest of that family."""
    families: dict[tuple[int, int], list[int]] = {}
    for place in np.argsort(-np.abs(changes), kind="stable"):
        if changes[place] != 0:
            at, channel = picked[place]
            families.setdefault((kin[at], channel), []).append(int(place))
    return [(members[0], members[1:]) for members in list(families.values())[:most]]


def _promising(expected: Sequence[Doubles], most: int) -> list[tuple[int, int]]:
    """Layer and channel of the largest expected changes; of each layer some, others by size."""
    places = [
        (at, int(c)) for at, values in enumerate(expected) for c in np.argsort(-np.abs(values))
    ]
    rank = [turn for values in expected for turn in range(len(values))]
    size = [abs(float(expected[at][channel])) for at, channel in places]
    order = sorted(range(len(places)), key=lambda i: (rank[i] >= OF_EACH_LAYER, -size[i]))
    return [places[i] for i in order[:most] if size[i] > 0 and np.isfinite(size[i])]
