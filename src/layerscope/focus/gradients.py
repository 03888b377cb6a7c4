"""Methods that follow the gradient back to the image."""

from collections.abc import Callable

import numpy as np

from layerscope.errors import InputError
from layerscope.focus.contract import Array, Doubles, Found, Job, nothing, over_colours
from layerscope.focus.heat import relative_gap


def gradient(job: Job) -> Found:
    """The gradient of the score by the image (Simonyan 2013)."""
    values, score, chosen = _gradients(job)
    return Found(over_colours(values, job.parameters["reduction"]), score, chosen)


def gradient_x_input(job: Job) -> Found:
    """The gradient times the image (Shrikumar 2016)."""
    values, score, chosen = _gradients(job)
    return Found(over_colours(values * job.pixels, job.parameters["reduction"]), score, chosen)


def integrated_gradients(job: Job) -> Found:
    """The mean gradient on the straight way from a baseline, times the way (Sundararajan 2017).

    The mean is a trapezoid sum over ``steps`` steps. The contributions of all pixels and colours
    sum to f(x) - f(baseline), up to the gap.
    """
    steps = job.parameters["steps"]
    base, pixels = nothing(job), job.pixels
    at = np.linspace(0, 1, steps + 1)
    weights = np.full(steps + 1, 1 / steps)
    weights[[0, -1]] /= 2

    def between(i: int, places: Array) -> Array:
        way = (pixels[i] - base[i]).astype(np.float32)
        return np.asarray(base[i] + at[places, None, None, None].astype(np.float32) * way)

    mean, scores, score, chosen = _mean_gradient(job, between, weights)
    shares = mean * (pixels - base)
    gap = relative_gap(shares.sum((1, 2, 3)), scores[:, -1] - scores[:, 0])
    return Found(over_colours(shares, job.parameters["reduction"]), score, chosen, gap=gap)


def smoothgrad(job: Job) -> Found:
    """The mean gradient under Gaussian noise (Smilkov 2017).

    The noise has a standard deviation of ``noise`` times the range of each image.
    """
    samples, pixels = job.parameters["samples"], job.pixels
    ranges = np.ptp(pixels, axis=(1, 2, 3)) * job.parameters["noise"]

    def noisy(i: int, places: Array) -> Array:
        draws = [
            np.random.default_rng((job.seed, int(place))).standard_normal(
                pixels.shape[1:], np.float32
            )
            for place in places
        ]
        return np.asarray(pixels[i] + np.float32(ranges[i]) * np.stack(draws))

    mean, _, score, chosen = _mean_gradient(job, noisy, np.full(samples, 1 / samples))
    return Found(over_colours(mean, job.parameters["reduction"]), score, chosen)


def _by_image(job: Job) -> str:
    """Tensor name of the gradient by the image."""
    name = job.explained.traced.trace.inputs[job.image]
    if not job.explained.traced.tensor(name).dtype.is_floating:
        raise InputError(
            f"A gradient by the image needs an input of real numbers, and that of "
            f"'{job.explained.traced.model.name}' is "
            f"{job.explained.traced.tensor(name).dtype.name}: use grad-cam or occlusion."
        )
    return job.explained.gradient(name)


def _gradients(job: Job) -> tuple[Array, Array, Array]:
    """Gradient by the image, score and class of each image."""
    explained = job.explained
    wrt = _by_image(job)
    parts = [
        explained.ask(
            [x[start : start + job.rows] for x in job.inputs],
            job.index[start : start + job.rows],
            [wrt, explained.score, explained.chosen],
        )
        for start in range(0, len(job.pixels), job.rows)
    ]
    values, score, chosen = (np.concatenate(found) for found in zip(*parts, strict=True))
    return values, score, chosen


def _mean_gradient(
    job: Job, changed: Callable[[int, Array], Array], weights: Doubles
) -> tuple[Doubles, Doubles, Array, Array]:
    """Weighted sum of the gradients by changed images.

    Args:
        job: the images.
        changed: gives the changed versions of an image, by its position and theirs.
        weights: of each version.

    Returns:
        The sum (N, H, W, C), the scores of the changed images, and the score and the class of the
        images themselves: that class is explained in every version.
    """
    explained = job.explained
    score, chosen = job.ask([explained.score, explained.chosen])
    wrt = _by_image(job)
    total = np.zeros(job.pixels.shape, np.float64)
    scores = np.zeros((len(total), len(weights)), np.float64)
    for i in range(len(total)):
        for start in range(0, len(weights), job.rows):
            places = np.arange(start, min(start + job.rows, len(weights)))
            inputs = job.changed(i, changed(i, places))
            index = np.repeat(chosen[i : i + 1], len(places))
            values, found = explained.ask(inputs, index, [wrt, explained.score])
            total[i] += np.tensordot(weights[places], values.astype(np.float64), 1)
            scores[i, places] = found
    return total, scores, score, chosen
