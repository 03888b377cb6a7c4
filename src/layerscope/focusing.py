"""From a question and images to heat: one batch after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.feed import Batch, check_finite
from layerscope.focus.contract import Array, Found, Job, Method, baseline_words
from layerscope.focus.controls import Beside, beside
from layerscope.focus.gate import MOST
from layerscope.focus.heat import RESAMPLER, Heat, cleaned
from layerscope.focus.methods import method_named
from layerscope.focus.names import called, check_layer
from layerscope.focus.places import image_of, place
from layerscope.focus.targets import PREDICTED, Explained, Indices, Target, explained, wanted
from layerscope.images.labels import ClassNames
from layerscope.intake import MOST_IMAGES, Images, Intake
from layerscope.model.room import batch_size
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel
from layerscope.run.subject import versions


@dataclass(frozen=True)
class Question:
    """What is asked about images; the same for all of them.

    Attributes:
        method: how it is found out.
        parameters: of the method, complete.
        target: what is explained, see `layerscope.focus.targets.Target`.
        layer: path of the layer; ``None`` for the default.
        output: name of the output; ``None`` for the default.
        names: of the classes, in the order of the outputs.
        seed: of everything random.
        batch_size: images in one pass; ``None`` for as many as fit comfortably.
        controls: whether the heatmaps get controls beside them.
    """

    method: Method
    parameters: Mapping[str, Any]
    target: Target = None
    layer: str | None = None
    output: str | None = None
    names: ClassNames | None = None
    seed: int = 0
    batch_size: int | None = None
    controls: bool = True

    def explained(self, traced: TracedModel) -> Explained:
        """What is explained of a model."""
        return explained(traced, self.target, self.output, self.names)

    def tap(self, about: Explained) -> Tap | None:
        """The layer, for methods that need one."""
        return place(about, self.layer) if "layer" in self.method.needs else None

    def rows(self, traced: TracedModel, tap: Tap | None) -> int:
        """How many images, or changed versions of one, a pass holds."""
        kept = [tap] if tap else traced.taps if "gradient" in self.method.needs else []
        # A map comes with its gradient, and the way back to the image needs every map.
        return self.batch_size or max(1, batch_size(traced, kept, 2 * MOST_IMAGES) // 2)


def question(
    method: str = "grad-cam",
    target: Target = None,
    layer: str | None = None,
    names: ClassNames | None = None,
    seed: int = 0,
    *,
    output: str | None = None,
    batch_size: int | None = None,
    controls: bool = True,
    **parameters: Any,
) -> Question:
    """Check what is asked, before any work is done.

    Args:
        method: its name.
        target: see `layerscope.focus.targets.Target`.
        layer: an exact path; ``None`` for the last map with more than one pixel.
        names: of the classes, in the order of the outputs.
        seed: of everything random.
        output: which of several outputs.
        batch_size: images in one pass; ``None`` for as many as fit comfortably.
        controls: set beside each heatmap that of an untrained twin and the edges of the image, and
            test whether heatmaps of this method can be believed for this model.
        parameters: of the method; those that are not given have its defaults.

    Raises:
        InputError: no such method or parameter, or a layer for a method without one.
    """
    found = method_named(method)
    check_layer(found.name, layer)
    complete = found.complete(parameters)
    return Question(found, complete, target, layer, output, names, seed, batch_size, controls)


def stream(asked: Question, intake: Intake, images: Images) -> Iterator[Heat]:
    """The heat of one batch of images after the other.

    Args:
        asked: the question.
        intake: brings images into the model.
        images: see `layerscope.intake.Images`.

    Raises:
        InputError: images, target or layer that do not fit the model.
    """
    intake.check_batch_size(asked.batch_size)
    images = intake.plain(images)
    intake.takes_apart(images)  # may be what tells the model's inputs
    intake.check_classes()
    about = asked.explained(intake.traced)
    tap = asked.tap(about)
    if not _is_list(asked.target):
        wanted(about, asked.target, asked.names, 1)
    return _each(asked, intake, images, asked.rows(intake.traced, tap))


def _each(asked: Question, intake: Intake, images: Images, rows: int) -> Iterator[Heat]:
    batches, controls = intake.feed(images, rows), None
    if asked.controls:
        some, batches = _some(intake, images, batches, rows)
        if some.ids:
            photos = intake.photos(images, some.ids)
            controls = controls_of(asked, intake, some.inputs, rows, photos)
    past = 0
    for batch in batches:
        yield heat_of(asked, intake, batch, rows, controls, past)
        past += len(batch.ids)
    if _is_list(asked.target) and len(asked.target) != past:  # type: ignore[arg-type]
        raise _mismatch(len(asked.target), str(past))  # type: ignore[arg-type]


def heat_of(
    asked: Question,
    intake: Intake,
    batch: Batch,
    rows: int,
    controls: Beside | None = None,
    past: int = 0,
) -> Heat:
    """The heat of one batch of images.

    Args:
        asked: the question.
        intake: of the model.
        batch: images that are ready for the model.
        rows: images, or changed versions of one, in one pass.
        controls: what stands beside all heatmaps of the question.
        past: how many images came before, for a list of targets.
    """
    for values in batch.inputs:
        check_finite(values, batch.ids)
    job = _job(asked, batch, intake.fitting(batch.inputs), rows, past)
    heat = _heat(asked, job, asked.method.run(job), batch)
    return heat if controls is None else replace(heat, controls=controls.of(job, heat))


def _some(
    intake: Intake, images: Images, batches: Iterator[Batch], rows: int
) -> tuple[Batch, Iterator[Batch]]:
    """Images to test a method on, an even spread or the first of a stream, and all batches."""
    count = intake.count(images)
    if count is not None and count > MOST:
        return _stacked(list(intake.feed(images, rows, MOST))), batches
    first = list[Batch]()
    for batch in batches:
        first.append(batch)
        if sum(len(one.ids) for one in first) >= MOST:
            break
    return _stacked(first), chain(first, batches)


def _stacked(parts: Sequence[Batch]) -> Batch:
    """Inputs of one shape as one batch of at most `MOST` images."""
    shapes = [[x.shape[1:] for x in part.inputs] for part in parts]
    alike = [part for part, shape in zip(parts, shapes, strict=True) if shape == shapes[0]]
    for part in alike:
        for values in part.inputs:
            check_finite(values, part.ids)
    together = zip(*[part.inputs for part in alike], strict=True)
    inputs = [np.concatenate(values)[:MOST] for values in together]
    return Batch(inputs, tuple(name for part in alike for name in part.ids)[:MOST], [])


def controls_of(
    asked: Question,
    intake: Intake,
    inputs: Sequence[Array],
    rows: int,
    photos: Sequence[str] | None = None,
    with_twin: bool = True,
) -> Beside:
    """The controls that all heatmaps of a question share.

    Args:
        asked: the question.
        intake: of the model.
        inputs: images to test the method on, ready for the model, at most
            `layerscope.focus.gate.MOST`.
        rows: images in one pass.
        photos: what each was cut from; by default each is one of its own.
        with_twin: whether an untrained twin stands beside them.
    """
    about = asked.explained(intake.fitting(inputs))
    index = np.full(len(inputs[0]), PREDICTED, np.int64)
    job = _of_inputs(asked, about, inputs, index, rows)
    preprocessing = intake.named.name if intake.named else "auto"
    named = {"preprocessing": preprocessing, "versions": versions()}
    return beside(asked.method, job, None if callable(asked.target) else named, photos, with_twin)


def _job(asked: Question, batch: Batch, traced: TracedModel, rows: int, past: int) -> Job:
    target = asked.target
    count = len(batch.ids)
    if _is_list(target):
        if batch.skipped:
            raise InputError(
                "A list of targets goes with the images by position, and "
                f"'{batch.skipped[0].file}' could not be used ({batch.skipped[0].reason}): leave "
                "it out, and its target."
            )
        if len(target) < past + count:  # type: ignore[arg-type]
            raise _mismatch(len(target), f"at least {past + count}")  # type: ignore[arg-type]
        target = target[past : past + count]  # type: ignore[index]
    about = asked.explained(traced)
    return _of_inputs(asked, about, batch.inputs, wanted(about, target, asked.names, count), rows)


def _of_inputs(
    asked: Question, about: Explained, inputs: Sequence[Array], index: Indices, rows: int
) -> Job:
    tap = asked.tap(about)
    image = image_of(about, tap)
    # Changed images need fractions, also where those given are whole numbers.
    inputs = [x.astype(np.float32, copy=False) if i == image else x for i, x in enumerate(inputs)]
    return Job(about, inputs, index, image, tap, rows, asked.seed, asked.parameters)


def _heat(asked: Question, job: Job, found: Found, batch: Batch) -> Heat:
    raw, empty = cleaned(found.raw, found.floor)
    broken = ~np.isfinite(found.score)
    if broken.any() and callable(asked.target):
        raise InputError(
            "A target is a number, and this function gives NaN or infinity for "
            f"{batch.ids[int(broken.argmax())]}: it gets logits, which may be below 0."
        )
    raw, empty = np.where(broken[:, None, None], np.float32(0), raw), empty | broken
    chosen = np.array(found.chosen, np.int64)
    names = asked.names
    return Heat(
        raw=raw,
        size=job.size,
        ids=batch.ids,
        method=asked.method.name,
        output=job.explained.output,
        scale=job.explained.scale,
        classes=chosen,
        names=tuple(names[i][-1] if names and 0 <= i < len(names) else "" for i in chosen),
        score=np.array(found.score, np.float32),
        empty=empty,
        layer=job.tap.path if job.tap else "",
        reduction=str(asked.parameters.get("reduction", "")),
        baseline=baseline_words(asked.parameters.get("baseline")),
        resampler=RESAMPLER if raw.shape[1:] != job.size else "",
        seed=asked.seed if asked.method.random else None,
        parameters=asked.parameters,
        gap=found.gap,
        image=job.image,
        model=job.explained.traced.model.name,
        pixels=_images(job, batch),
        skipped=batch.skipped,
        function=called(asked.target),
    )


def _images(job: Job, batch: Batch) -> tuple[Array, ...]:
    """The images as they came, without a copy; where there are several inputs, as they are fed."""
    return tuple(batch.pixels if len(batch.inputs) == 1 else batch.inputs[job.image])


def _is_list(target: Target) -> bool:
    return isinstance(target, Sequence | np.ndarray) and not isinstance(target, str)


def _mismatch(targets: int, images: str) -> InputError:
    return InputError(
        f"A list of targets has one per image: {targets} were given for {images} images."
    )
