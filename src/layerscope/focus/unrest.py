"""What noise on the image does to the answer, and how steep the answer is there. Descriptive."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.focus.targets import PREDICTED, Explained
from layerscope.vocabulary import Floats


@dataclass(frozen=True)
class Unrest:
    """What Gaussian noise does to the answers for some images.

    Attributes:
        flipped: (N,), whether another class is predicted.
        steepness: (N,), length of the gradient by the noisy image of the logit of the class that
            is predicted without noise, times the range of the pixels: what the logit would rise by
            if the image went the length of its range in the steepest direction. ``None`` where the
            model takes whole numbers.
    """

    flipped: NDArray[np.bool_]
    steepness: Floats | None


def under_noise(
    about: Explained,
    images: Floats,
    levels: Sequence[float],
    span: float,
    rows: int,
    seed: int,
) -> dict[float, Unrest]:
    """Add noise of some strengths once to each image, the same whatever the batch.

    Args:
        about: what is explained; it has classes.
        images: (N, H, W, C), ready for the model, which has no other input.
        levels: standard deviations of the noise as shares of ``span``.
        span: range of the pixels.
        rows: images in one pass.
        seed: of the noise.

    Raises:
        InputError: the output is no choice between classes.
    """
    if about.classes < 2:
        raise InputError(
            "Whether noise changes the answer is asked of a model that chooses between classes; "
            f"the output '{about.output}' does not."
        )
    places = np.arange(len(images))
    parts = [
        _batch(about, images[some], levels, span, some, seed)
        for some in np.split(places, range(rows, len(images), rows))
    ]
    found = {}
    for level in levels:
        flipped, steep = zip(*(part[level] for part in parts), strict=True)
        whole = None if steep[0] is None else np.concatenate(steep)
        found[level] = Unrest(np.concatenate(flipped), whole)
    return found


def _batch(
    about: Explained,
    images: Floats,
    levels: Sequence[float],
    span: float,
    places: NDArray[np.int64],
    seed: int,
) -> dict[float, tuple[NDArray[np.bool_], Floats | None]]:
    (before,) = about.ask([images], np.full(len(images), PREDICTED, np.int64), [about.chosen])
    draws = np.stack(
        [
            np.random.default_rng((seed, int(place))).standard_normal(image.shape, np.float32)
            for place, image in zip(places, images, strict=True)
        ]
    )
    wrt, found = _by_image(about), {}
    for level in levels:
        noisy = (images + np.float32(level * span) * draws).astype(np.float32)
        values, *slopes = about.ask([noisy], np.array(before), [about.values, *wrt])
        steep = None
        if slopes:
            flat = slopes[0].reshape(len(images), -1).astype(np.float64)
            steep = (np.linalg.norm(flat, axis=1) * span).astype(np.float32)
        found[level] = (values.argmax(1) != before, steep)
    return found


def _by_image(about: Explained) -> list[str]:
    name = about.traced.trace.inputs[0]
    return [about.gradient(name)] if about.traced.tensor(name).dtype.is_floating else []
