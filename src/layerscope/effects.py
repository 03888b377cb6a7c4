"""What the channels of a layer do to the answer: each is held at its mean, and the model asked.

An activation says that a channel responds, not that anything depends on it. Here the whole map of
one channel at a time becomes the channel's mean over the images and their places, which takes from
it all that tells images and places apart, and the model runs on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.audit.findings import Finding
from layerscope.audit.unused import unused_findings
from layerscope.document.channels import Instance, Instances, effects_page
from layerscope.document.parts import Document
from layerscope.errors import InputError
from layerscope.feed import Batch, check_finite
from layerscope.focus.places import image_of
from layerscope.focus.targets import PREDICTED, Target, explained, wanted
from layerscope.images.labels import ClassNames
from layerscope.intake import MOST_IMAGES, Images, Intake
from layerscope.interventions.ablation import Cut, cut_at
from layerscope.interventions.channels import (
    Answers,
    Levels,
    Places,
    Seen,
    see,
    unused,
    unused_at_once,
    without,
)
from layerscope.measures.influence import UNKNOWN, Counts, counts, influence, per_class
from layerscope.measures.intervals import FEWEST
from layerscope.model import operations
from layerscope.model.room import batch_size as comfortable
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel
from layerscope.render.notebook import DocumentDisplay
from layerscope.run.closer import Tones
from layerscope.run.crops import EXEMPLARS, Bytes, Exemplar, cut, to_rgb
from layerscope.vocabulary import CONVOLUTION_KINDS, Floats, Layer, Skipped

MOST = 64
"""Images, unless more are asked for: each is computed once for every channel."""
DRAWN = 16
"""Random other channels to compare with, where not all channels are measured."""
LATE = 2
"""Convolutions, counted from the last, in which an audit looks for unused channels."""
PICTURED = 8
"""Channels with pictures on a page."""


@dataclass(frozen=True)
class Effects:
    """What the channels of a layer do to the answer.

    Attributes:
        layer: the row that describes the layer.
        channels: one row per channel. ``change``: mean change of the explained number when the
            channel is held at its mean; below 0 the channel speaks for the target. ``size``: mean
            size of that change. ``lead``: ``size`` minus the mean size of random other channels of
            the layer, and ``percentile``, the share of them with a smaller one; see
            `layerscope.measures.influence`. ``accuracy_change``: of all images together, and
            ``worst_class`` with ``worst_class_change``, the class that suffers most (-1: none
            does). All with 95 % limits over images (``_low``, ``_high``), NaN below 8 images.
            ``activation``: mean of the map. ``dead``: it holds one value on all images, so that
            holding it changes nothing by definition. ``unused``: it varies, and yet held at its
            mean, its lowest or its highest value it changes no output of the model by more than
            rounding, on any image.
        per_class: one row per channel and class with images: ``channel``, ``class``, ``name``,
            ``images``, ``accuracy`` with all channels, ``change``.
        accuracy_of: what answers were held against: ``labels``, or the model's own ``predictions``
            where no label is known; empty where there are no classes.
        accuracy: with all channels, over the images that count; NaN where there are no classes.
        output: name of the output that is explained.
        scale: what the explained number is: ``logit``, ``probability`` or ``output``.
        ids: one stable name per image.
        classes: the class explained, per image; -1 where there is none.
        names: its name, per image; empty where it has none.
        score: float32 (N,), the explained number.
        changes: float32 (N, C), its change without each channel of ``channels``.
        maxima: float32 (N, C), the highest value of each map.
        places: (N, C, 2), the row and column where it is.
        photos: the images to look at, uint8 (H, W, 3); empty where none goes in.
        compared: how many channels each was compared with; those that are dead do not count.
        given: how many images there were; ``None`` for a stream.
        skipped: files that could not be used, with the reasons.
        seed: of the bootstrap and of random channels.
    """

    layer: Layer
    channels: pd.DataFrame
    per_class: pd.DataFrame
    accuracy_of: str
    accuracy: float
    output: str
    scale: str
    ids: tuple[str, ...]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    score: Floats
    changes: Floats
    maxima: Floats
    places: NDArray[np.int64]
    photos: tuple[Bytes, ...] = field(repr=False)
    compared: int
    given: int | None
    skipped: tuple[Skipped, ...]
    seed: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """``unused-channels``, where there are some; see `layerscope.audit.unused`."""
        return unused_findings(self.channels)

    def instances(self, channel: int, count: int = EXEMPLARS) -> Instances:
        """Images on which a channel decides, beside those that it answers most.

        Args:
            channel: its number.
            count: images of each sort at most.

        Raises:
            InputError: the channel was not measured, or the model sees no image.
        """
        own = self.channels["channel"].to_numpy()
        if channel not in own:
            raise InputError(f"A channel that was measured is one of {own}; got {channel!r}.")
        if not self.photos:
            raise InputError("Places are cut out of images, and none goes into this model.")
        at = int(np.flatnonzero(own == channel)[0])
        changes = self.changes[:, at]
        falls = [i for i in np.argsort(changes, kind="stable")[:count] if changes[i] < 0]
        active = np.argsort(-self.maxima[:, at], kind="stable")[:count]
        return Instances(
            int(channel),
            tuple(self._instance(int(i), at) for i in falls),
            tuple(self._instance(int(i), at) for i in active),
        )

    def _instance(self, image: int, at: int) -> Instance:
        row, column = self.places[image, at]
        crop, seen = cut(self.photos[image], self.layer, int(row), int(column))
        score = float(self.maxima[image, at])
        return Instance(
            Exemplar(crop, seen, self.ids[image], score), float(self.changes[image, at])
        )

    def __repr__(self) -> str:
        return f"Effects of {self._who} of {self.layer.path} on {self._on}: .channels, .save(path)"

    @property
    def _who(self) -> str:
        return "1 channel" if len(self.channels) == 1 else f"{len(self.channels)} channels"

    @property
    def _on(self) -> str:
        seen = "1 image" if len(self.ids) == 1 else f"{len(self.ids)} images"
        spread = f" (of {self.given}, evenly spread)" if (self.given or 0) > len(self.ids) else ""
        return f"the {self.scale} of {seen}{spread}"

    @property
    def document(self) -> Document:
        """The strongest channels as a page."""
        moving = self.channels[self.channels["size"] > 0]
        order = moving.sort_values("size", ascending=False, kind="stable")["channel"]
        pictured = [self.instances(int(one)) for one in order[: PICTURED if self.photos else 0]]
        return effects_page(self.layer.path, self._on, self.channels, self.accuracy_of, pictured)

    def _repr_html_(self) -> str:
        return DocumentDisplay(self.document)._repr_html_()

    def save(self, path: str | Path) -> None:
        """Write the page of the strongest channels.

        Raises:
            InputError: the name does not end in .html.
            EnvironmentFailure: the file cannot be written.
        """
        DocumentDisplay(self.document).save(path)


def effects(
    intake: Intake,
    images: Images,
    layer: str,
    target: Target = None,
    *,
    channels: Sequence[int] | None = None,
    output: str | None = None,
    most: int = MOST,
    batch_size: int | None = None,
    names: ClassNames | None = None,
    seed: int = 0,
) -> Effects:
    """Measure what each channel of a layer does to the answer of a model.

    Args:
        intake: brings images into the model.
        images: see `layerscope.intake.Images`; at best 16 and more that differ.
        layer: an exact path.
        target: see `layerscope.focus.targets.Target`. By default the class that the model predicts
            for each image, which stays the same when a channel is held. A list goes with the
            images by position, so all of them must be used.
        channels: which; default all. Where they are few, random others are measured as well, to
            compare with.
        output: name of the output; default the only one, or the only vector.
        most: images that are used, evenly spread over the set; of a stream the first.
        batch_size: changed images in one pass; default as many as fit comfortably.
        names: of the classes, in the order of the outputs.
        seed: of the bootstrap and of the random channels.

    Raises:
        InputError: images, layer, target or channels that do not fit.
    """
    intake.check_batch_size(batch_size)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise InputError(f"most is a number of images from 1; got {most!r}.")
    images = intake.plain(images)
    intake.takes_apart(images)  # may be what tells the model's inputs
    intake.check_classes()
    asked = _Asked(layer, target, output, names)
    tap = one_layer(intake.traced, layer)
    asked.cut(intake.traced)
    own, measured = _channels(_width(intake.traced, tap), channels, seed)
    rows = batch_size or comfortable(intake.traced, [tap], MOST_IMAGES)
    batches = list(intake.feed(images, min(rows, most), most))
    if sum(len(batch.ids) for batch in batches) < 2:
        raise InputError(
            "A channel is held at its mean over images, so effects take two images and better 16; "
            "got one. For a single photo use decisive()."
        )
    seen = asked.see(intake, batches)
    levels = Levels.of(seen)
    found = [without(part, measured, levels.mean[measured], rows) for part in seen]
    idle = unused(seen, found, measured, levels, rows)
    ids = tuple(name for batch in batches for name in batch.ids)
    photos = intake.photos(images, ids)
    groups = None if photos is None else np.array(photos)
    made = _Measured(tap, batches, seen, levels, found, own, measured, idle, groups, seed)
    return made.result(intake.traced.rows_of([tap])[tap.path], ids, intake.count(images), names)


def unused_late(intake: Intake, inputs: Sequence[Floats], rows: int | None) -> pd.DataFrame:
    """Look for unused channels in the last convolutions, where it costs little.

    Args:
        intake: of the model.
        inputs: some images, ready for the model; nothing is sought without any.
        rows: images in one pass; ``None`` for as many as fit comfortably.

    Returns:
        A table as `layerscope.audit.unused.unused_findings` takes it: of `LATE` layers at most,
        the last ones first.
    """
    tables = [pd.DataFrame(columns=["layer", "channel", "images", "dead", "unused"])]
    if not inputs or len(inputs[0]) < FEWEST:  # nothing is said on so few
        return tables[0]
    traced = intake.fitting(inputs)
    about = explained(traced)
    for tap in [tap for tap in traced.taps if tap.kind in CONVOLUTION_KINDS][: -LATE - 1 : -1]:
        try:
            cut = cut_at(about, one_layer(traced, tap.path).tensor)
        except InputError:  # nothing that is explained depends on it
            continue
        seen = see(cut, inputs, np.full(len(inputs[0]), PREDICTED))
        levels = Levels.of([seen])
        most = max(len(seen.index), rows or comfortable(traced, [tap], MOST_IMAGES))
        columns = {"dead": levels.dead, "unused": unused_at_once(seen, levels, most)}
        fixed = {"layer": tap.path, "channel": np.arange(len(levels.mean))}
        tables.append(pd.DataFrame(fixed | {"images": len(seen.index)} | columns))
    return pd.concat(tables[1:] or tables, ignore_index=True)


@dataclass(frozen=True)
class _Measured:
    """Everything that was found out, batch by batch: of M channels, C of which were asked for."""

    tap: Tap
    batches: Sequence[Batch]
    seen: Sequence[Seen]
    levels: Levels
    found: Sequence[Answers]
    own: Places
    measured: Places
    idle: NDArray[np.bool_]
    groups: NDArray[np.generic] | None
    seed: int

    def result(
        self, layer: Layer, ids: tuple[str, ...], given: int | None, names: ClassNames | None
    ) -> Effects:
        """All of it together."""
        about = self.seen[0].cut.explained
        chosen = np.concatenate([part.index for part in self.seen])
        known = [batch.labels for batch in self.batches]
        answers = [(one.before, one.classes) for one in self.found]
        right = counts(known, answers, about.classes > 0)
        changes = np.concatenate([one.changes for one in self.found])
        channels, classes = self._tables(right, changes, names)
        return Effects(
            layer=layer,
            channels=channels,
            per_class=classes,
            accuracy_of=right.of_what,
            accuracy=right.accuracy,
            output=about.output,
            scale=about.scale,
            ids=ids,
            classes=chosen,
            names=tuple(_name(int(i), names) for i in chosen),
            score=np.concatenate([part.score for part in self.seen]),
            changes=changes[:, : len(self.own)],
            maxima=np.concatenate([part.maxima[:, self.own] for part in self.seen]),
            places=np.concatenate([part.places[:, self.own] for part in self.seen]),
            photos=_photos(self.batches, self.seen, self.tap),
            compared=max(0, len(self.measured) - 1),
            given=given,
            skipped=self.batches[-1].skipped,
            seed=self.seed,
        )

    def _tables(
        self, right: Counts, changes: Floats, names: ClassNames | None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        own, ours, levels = self.own, np.arange(len(self.own)), self.levels
        alive = np.flatnonzero(~levels.dead[self.measured])
        hits, before = right.hits, right.before
        columns = influence(changes, ours, alive, hits, before, self.seed, self.groups)
        classes = _named(per_class(hits[:, ours], before, right.truth, own), names)
        told = {
            "activation": levels.mean[own],
            "dead": levels.dead[own],
            "unused": self.idle[ours],
        }
        fixed = {"layer": self.tap.path, "channel": own, "images": len(changes)}
        return pd.DataFrame(fixed | columns | _worst(classes, own) | told), classes


@dataclass(frozen=True)
class _Asked:
    """What is asked about every image."""

    layer: str
    target: Target
    output: str | None
    names: ClassNames | None

    def cut(self, traced: TracedModel) -> Cut:
        about = explained(traced, self.target, self.output, self.names)
        return cut_at(about, one_layer(traced, self.layer).tensor)

    def see(self, intake: Intake, batches: Sequence[Batch]) -> list[Seen]:
        about = self.cut(intake.traced).explained
        index = wanted(about, self.target, self.names, sum(len(batch.ids) for batch in batches))
        seen: list[Seen] = []
        past = 0
        for batch in batches:
            for values in batch.inputs:
                check_finite(values, batch.ids)
            cut = self.cut(intake.fitting(batch.inputs))
            seen.append(see(cut, batch.inputs, index[past : past + len(batch.ids)]))
            past += len(batch.ids)
        return seen


def one_layer(traced: TracedModel, layer: str) -> Tap:
    """The layer of that path.

    Raises:
        UnknownLayerError: there is none.
        InputError: there are several, or it has no maps.
    """
    taps = traced.resolve(layer)
    if len(taps) != 1:
        raise InputError(f"One layer is needed, and {layer!r} names {len(taps)}: give a path.")
    if not taps[0].tensor or not operations.is_map(traced.tensor(taps[0].tensor)):
        raise InputError(
            f"The channels of maps (batch, height, width, channels) can be held, and {layer!r} "
            "has none: choose another layer."
        )
    return taps[0]


def _width(traced: TracedModel, tap: Tap) -> int:
    width: int | None = traced.tensor(tap.tensor).shape[-1]
    if width is None:
        raise InputError(f"Channels need a fixed number, and that of {tap.path!r} is not.")
    return width


def _channels(width: int, asked: Sequence[int] | None, seed: int) -> tuple[Places, Places]:
    """The channels asked for, and those to measure, which begin with them."""
    if asked is None:
        return np.arange(width), np.arange(width)
    chosen = np.unique(np.asarray(asked))
    whole = chosen.dtype.kind in "iu" and len(chosen) > 0
    if not whole or not ((chosen >= 0) & (chosen < width)).all():
        raise InputError(
            f"channels are some of 0 to {width - 1}, the channels of this layer; got {asked!r}."
        )
    others = np.setdiff1d(np.arange(width), chosen)
    drawn = np.random.default_rng(seed).permutation(others)[:DRAWN]
    return chosen.astype(np.intp), np.concatenate([chosen, drawn]).astype(np.intp)


def _name(index: int, names: ClassNames | None) -> str:
    return names[index][-1] if names and 0 <= index < len(names) else ""


def _named(classes: pd.DataFrame, names: ClassNames | None) -> pd.DataFrame:
    found = classes.copy()
    found.insert(2, "name", [_name(int(i), names) for i in classes["class"]])
    return found


def _worst(classes: pd.DataFrame, own: Places) -> dict[str, NDArray[np.generic]]:
    """The class whose accuracy suffers most without each channel."""
    if classes.empty:
        unknown = np.full(len(own), np.nan)
        return {"worst_class": np.full(len(own), UNKNOWN), "worst_class_change": unknown}
    change = classes["change"].astype(float)
    rows = classes.loc[change.groupby(classes["channel"]).idxmin()].set_index("channel").loc[own]
    suffers = (rows["change"] < 0).to_numpy(bool)
    return {
        "worst_class": np.where(suffers, rows["class"].to_numpy(np.int64), UNKNOWN),
        "worst_class_change": rows["change"].to_numpy(np.float64),
    }


def _photos(batches: Sequence[Batch], seen: Sequence[Seen], tap: Tap) -> tuple[Bytes, ...]:
    pixels: list[Floats] = []
    for batch, part in zip(batches, seen, strict=True):
        if len(batch.inputs) > 1 and batch.pixels:
            pixels += list(batch.inputs[image_of(part.cut.explained, tap)])
        else:
            pixels += batch.pixels
    if not pixels or any(image.ndim != 3 for image in pixels):
        return ()
    tones = Tones.of(pixels)
    return tuple(to_rgb(np.asarray(image, np.float32), tones) for image in pixels)
