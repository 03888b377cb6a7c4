"""How images of any form come into one model: which form it is, sizes, preprocessing, labels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from layerscope.errors import InputError, ModelError
from layerscope.feed import Batch, from_array, from_inputs, from_source
from layerscope.images import Preprocessing, Source, read
from layerscope.images.labels import ClassNames
from layerscope.images.resize import resize
from layerscope.images.source import are_files
from layerscope.model.fingerprint import FEWEST, MOST
from layerscope.model.preparation import (
    Preparation,
    as_given,
    checked,
    found_out,
    one_per_input,
    own,
)
from layerscope.model.trace import input_specs, specs_of_arguments
from layerscope.model.traced import TracedModel
from layerscope.vocabulary import Floats

Images = Any
"""A path, a list of paths, a Pillow image or a list of them, an array (N, H, W, C), a
``tf.data.Dataset``, or a list of arrays with one per model input."""

MOST_IMAGES = 32
_MOST_SAMPLED = 128
_FREE_SIDE = 224
"""Side of images where a model takes any."""
_HOW = {
    "stretch": "their aspect ratio changes",
    "crop": "the centre is shown",
    "letterbox": "zeros fill the rest",
}


class Intake:
    """The way of images into a model.

    Args:
        model: a built Keras model; it is never changed.
        named: what is done to images, if that was asked for by name.
        classes: names in output order, if they are known.
        how: how files come to the model's size, see `layerscope.images.resize.resize`.
    """

    def __init__(
        self,
        model: keras.Model,
        named: Preprocessing | None = None,
        classes: ClassNames | None = None,
        how: str = "stretch",
    ) -> None:
        self.model = model
        self.named = named
        self.classes = classes
        self.how = how
        self._prepared: Preparation | None = None
        self._other_sizes: dict[tuple[tuple[int, ...], ...], TracedModel] = {}

    @cached_property
    def traced(self) -> TracedModel:
        """The traced model: taps, fields and everything that runs."""
        return TracedModel(self.model)

    def source(self, images: Images, batch_size: int = MOST_IMAGES) -> Source:
        """Open images for this model, without preprocessing."""
        spec = self.image_spec()
        height, width, channels = spec.shape[1:]
        return read(
            images,
            size=None if height is None or width is None else (height, width),
            channels=channels or 3,
            batch_size=batch_size,
            how=self.how,
            outputs=self.outputs,
            classes=self.classes,
        )

    @property
    def outputs(self) -> int | None:
        """Number of classes of a single-output classifier, ``None`` for anything else."""
        names = list(self.traced.outputs.values())
        shape = self.traced.tensor(names[0]).shape
        return shape[1] if len(names) == 1 and shape.rank == 2 else None

    def preparation(self, images: Images, seen: Sequence[np.ndarray] = ()) -> Preparation:
        """What is done to images before the model sees them, and what speaks for it.

        Arrays and streams are used as given unless a preprocessing was named. For files it is
        found out, once: from arithmetic at the model's input, then from its BatchNorm statistics,
        then from its accuracy on labelled images. A choice of the user is held against the
        BatchNorm statistics.

        Args:
            images: at best 16 to 64 images of the kind the model was trained on.
            seen: of a stream, which can be read only once, some images (H, W, C) as they came.

        Raises:
            InputError: there is no evidence; the message says why and names the choices.
        """
        images = self.plain(images)
        if are_files(images):
            return self._preparation(self.source(images))
        if self.takes_apart(images):
            return one_per_input()
        known = hasattr(images, "shape") or isinstance(images, tuple)
        return as_given(self.traced, self.named, self._few(images) if known else self._fit(seen))

    def feed(self, images: Images, batch_size: int, most: int | None = None) -> Iterator[Batch]:
        """Batches ready for the model, from whatever holds the images.

        Args:
            images: see `Images`.
            batch_size: images in one batch.
            most: if set, so many at most: evenly spread, or of a stream the first.
        """
        images = self.plain(images)
        if self.takes_apart(images):
            return from_inputs(images if isinstance(images, list) else [images], batch_size, most)
        if hasattr(images, "shape") and len(images.shape) == 4:
            self.fitting([images])  # says what the model takes
            return from_array(images, batch_size, self.named, most)
        self.image_spec()  # says what takes several inputs instead
        source, steps = self.open(images, batch_size)
        return from_source(source, steps, most)

    def open(
        self, images: Images, batch_size: int = MOST_IMAGES
    ) -> tuple[Source, Preprocessing | None]:
        """Images of a model with one image input, and what is done to them first."""
        images = self.plain(images)
        if len(self.traced.trace.specs) != 1:
            raise InputError(
                "A profile or an audit takes a model with one image input so far, and "
                f"'{self.model.name}' has {len(self.traced.trace.specs)} inputs; maps() and show() "
                "take a list of arrays, one per input."
            )
        source = self.source(images, batch_size)
        if self.named is not None or not are_files(images):
            return source, self.named
        return source, self._preparation(source).steps

    def resized(self, images: Images) -> str:
        """How images come to the size of the model, in a sentence; empty where they do not."""
        images = self.plain(images)
        if not are_files(images) or str(images).lower().endswith(".npz"):
            return ""
        height, width = self.image_spec().shape[1:3]
        if height is None or width is None:
            return ""
        return f"Files were resized to {height} × {width} ({self.how}: {_HOW[self.how]})."

    def check_batch_size(self, batch_size: int | None) -> None:
        """Refuse what is no number of images."""
        number = isinstance(batch_size, int) and not isinstance(batch_size, bool)
        if batch_size is not None and (not number or batch_size < 1):
            raise InputError(f"A batch holds at least one image; got batch_size={batch_size!r}.")

    def takes_apart(self, images: Images) -> bool:
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

    def fitting(self, inputs: Sequence[np.ndarray]) -> TracedModel:
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

    def _preparation(self, source: Source) -> Preparation:
        if self.named is not None:
            few = source.length is None or source.length < FEWEST
            raw = np.empty(0, np.float32) if few else self._sample(source)[0]
            return checked(self.traced, self.named, raw)
        if self._prepared is None:
            self._prepared = own(self.traced) or found_out(self.traced, *self._sample(source))
        return self._prepared

    def _sample(self, source: Source) -> tuple[Floats, NDArray[np.int64] | None]:
        """Some images in one size before preprocessing, and their labels."""
        batches = list(source.spread(_MOST_SAMPLED))
        pixels = self._fit([image for batch in batches for image in batch.pixels])
        labels = [batch.labels for batch in batches if batch.labels is not None]
        return pixels, np.concatenate(labels) if len(labels) == len(batches) else None

    def _few(self, images: Images) -> Floats:
        """Some images of an array, or of an array with labels, as they came."""
        shape = getattr(images, "shape", ())
        if len(shape) == 4:
            return self._fit([x for b in from_array(images, MOST, None, MOST) for x in b.pixels])
        source = self.source(images)
        return self._fit([image for batch in source.spread(MOST) for image in batch.pixels])

    def _fit(self, images: Sequence[np.ndarray]) -> Floats:
        """Images in one size that the model takes, (N, H, W, C); none where they do not fit."""
        height, width, channels = self.image_spec().shape[1:]
        if not images or images[0].shape[-1] != (channels or images[0].shape[-1]):
            return np.empty((0, 1, 1, 3), np.float32)
        size = (height or _FREE_SIDE, width or _FREE_SIDE)
        return np.stack([resize(np.asarray(image), size, self.how) for image in images])

    def image_spec(self) -> tf.TensorSpec:
        """The one image input of the model.

        Raises:
            InputError: it takes something else, too.
        """
        specs = self.traced.trace.specs
        if len(specs) != 1 or specs[0].shape.rank != 4:
            shapes = ", ".join(str(tuple(spec.shape)) for spec in specs)
            raise InputError(
                "Image files and streams fit a model with one image input, and "
                f"'{self.model.name}' takes {shapes}: pass a list of arrays, one per input, in "
                "Python."
            )
        return specs[0]

    def plain(self, images: Images) -> Images:
        """Images in one of the forms that the rest knows."""
        if isinstance(images, tuple) and all(isinstance(x, str | os.PathLike) for x in images):
            return list(images)
        if isinstance(images, dict):
            images = self._in_order(images)
        alone = images[0] if isinstance(images, list) and len(images) == 1 else None
        if len(getattr(alone, "shape", ())) == 4:
            return alone
        several = isinstance(images, list | tuple) and len(images) > 1
        if several and all(hasattr(x, "shape") and len(x.shape) == 3 for x in images):
            if len({tuple(x.shape) for x in images}) > 1:
                raise InputError("A list of images needs one size; pass them one by one.")
            return np.stack(images)
        return images

    def _in_order(self, named: Mapping[str, Any]) -> list[Any]:
        """Arrays by the names of the model's inputs, in the order of the inputs."""
        given = getattr(self.model, "input", None)
        listed = given if isinstance(given, dict) else getattr(self.model, "inputs", None) or ()
        names = [x if isinstance(x, str) else x.name for x in listed]
        if not names:
            raise InputError(
                f"The inputs of '{self.model.name}' have no names: pass a list of arrays, one per "
                "input, in the order of its call."
            )
        if set(named) != set(names):
            raise InputError(
                f"A dict holds an array for each input of '{self.model.name}', by its name: "
                f"{', '.join(names)}; got {', '.join(map(str, named)) or 'none'}."
            )
        return [named[name] for name in names]

    def check_classes(self) -> None:
        """Refuse names of classes that are not one per output."""
        names, outputs = self.classes, self.outputs
        pair = outputs == 1 and names is not None and len(names) == 2
        if names is not None and outputs is not None and len(names) != outputs and not pair:
            raise InputError(
                f"Class names follow the outputs of the model: '{self.model.name}' has {outputs}, "
                f"and {len(names)} names were given. Give one name per output, or none."
            )

    def count(self, images: Images) -> int | None:
        """Number of images where it can be known without reading them."""
        if self.takes_apart(images):
            return len(images[0]) if isinstance(images, list) else len(images)
        if len(getattr(images, "shape", ())) == 4:
            return len(images)
        known = are_files(images) or hasattr(images, "shape") or isinstance(images, tuple)
        return self.source(images).length if known else None

    def photos(self, images: Images, ids: Sequence[str]) -> list[str] | None:
        """What each of some images was cut from, where a table of files may say so."""
        images = self.plain(images)
        if self.takes_apart(images) or not are_files(images):
            return None
        source = self.source(images)
        if source.photos is None or source.ids is None:
            return None
        whole = dict(zip(source.ids, source.photos, strict=True))
        return [whole.get(name, name) for name in ids]
