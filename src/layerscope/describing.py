"""Training and test images side by side, on a sample: noise on the image, and every layer."""

from collections.abc import Callable, Sequence

import numpy as np

from layerscope.audit.described import Described, Seen, described
from layerscope.errors import InputError
from layerscope.focus.targets import Explained, explained
from layerscope.focus.unrest import under_noise
from layerscope.images import Preprocessing, Source
from layerscope.images.labels import SEVERAL
from layerscope.intake import MOST_IMAGES
from layerscope.model.room import batch_size
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel
from layerscope.run.crops import pixels_at
from layerscope.run.local import Progress
from layerscope.run.outputs import Outputs
from layerscope.run.plan import stratified
from layerscope.run.subject import forward
from layerscope.vocabulary import Floats

IMAGES = 64
"""Of each set, so that it costs seconds."""
LEVELS = (0.05, 0.1)
"""Strengths of the noise, as shares of the range of the pixels."""

Labelled = tuple[Source, Preprocessing | None, Outputs]
"""Images, what is done to them first, and what the model answers for them."""


def describe(
    traced: TracedModel,
    taps: Sequence[Tap],
    train: Labelled,
    test: Labelled,
    rows: int | None,
    seed: int,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Described:
    """Look at some training and some test images of each class more closely.

    Args:
        traced: the model, with one image input.
        taps: the layers to compare them in.
        train: training images.
        test: test images.
        rows: images in one pass; ``None`` for as many as fit comfortably.
        seed: of the choice and of the noise.
        tell: hears how far the work is.

    Returns:
        With a reason where it cannot be done.
    """
    try:
        about = explained(traced)
        samples = [_sample(*labelled, seed) for labelled in (train, test)]
    except InputError as error:
        return Described(reason=str(error))
    if about.classes < 2 or min(map(len, samples)) < 3:
        return Described(reason="It takes a choice between classes, and some images of both sets.")
    span = float(max(one.max() for one in samples) - min(one.min() for one in samples))
    rows = rows or max(1, batch_size(traced, traced.taps, 2 * MOST_IMAGES) // 2)
    total, seen = sum(map(len, samples)), list[Seen]()
    for at, images in enumerate(samples):
        tell(Progress("train against test", at * len(samples[0]), total))
        seen.append(_seen(traced, taps, about, images, span, rows, seed))
    tell(Progress("train against test", total, total))
    return described(seen[0], seen[1], seed)


def _sample(source: Source, steps: Preprocessing | None, found: Outputs, seed: int) -> Floats:
    """Some images of each class, those of the size of the first, ready for the model."""
    if found.several is not None:
        raise InputError(SEVERAL)
    known = np.flatnonzero(found.read & (found.labels >= 0))
    chosen = known[list(stratified(len(known), IMAGES, found.labels[known], seed))]
    images = [image for _, image in pixels_at(source, chosen.tolist())]
    if not images:
        raise InputError("None of the images is labelled.")
    stacked = np.stack([image for image in images if image.shape == images[0].shape])
    return stacked if steps is None else steps.apply(stacked)


def _seen(
    traced: TracedModel,
    taps: Sequence[Tap],
    about: Explained,
    images: Floats,
    span: float,
    rows: int,
    seed: int,
) -> Seen:
    unrest = under_noise(about, images, LEVELS, span, rows, seed)
    compute = forward(traced, taps, None, None)
    pooled: dict[str, list[Floats]] = {tap.path: [] for tap in taps}
    for start in range(0, len(images) if taps else 0, rows):
        maps, _ = compute(images[start : start + rows])
        for path, values in maps.items():
            pooled[path].append(values.mean((1, 2), dtype=np.float32))
    return Seen(unrest, {path: np.concatenate(parts) for path, parts in pooled.items()})
