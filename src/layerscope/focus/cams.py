"""Methods that weigh the maps of a layer by their gradients."""

from collections.abc import Callable

import numpy as np

from layerscope.focus.contract import NOISE, Array, Doubles, Found, Job

Weigh = Callable[[Doubles, Doubles], Doubles]
"""From maps and gradients, (N, h, w, C), to a weight per map or per place of it."""


def _mean(_: Doubles, gradients: Doubles) -> Doubles:
    return np.asarray(gradients.mean((1, 2), keepdims=True))


def _each(_: Doubles, gradients: Doubles) -> Doubles:
    return gradients


def _positive(_: Doubles, gradients: Doubles) -> Doubles:
    return np.maximum(gradients, 0)


def _plus_plus(maps: Doubles, gradients: Doubles) -> Doubles:
    """Weights of Grad-CAM++ for a score that passes through an exponential.

    Its common factor is left out, since it overflows and only scales a heatmap. As in the code of
    the authors, the shares of a map sum to 1.
    """
    totals = maps.sum((1, 2), keepdims=True)
    below = 2 * gradients**2 + gradients**3 * totals
    shares = np.divide(gradients**2, below, out=np.zeros_like(below), where=below != 0)
    whole = shares.sum((1, 2), keepdims=True)
    shares = np.divide(shares, whole, out=np.zeros_like(shares), where=whole != 0)
    return np.asarray((shares * np.maximum(gradients, 0)).sum((1, 2), keepdims=True))


def cam(weigh: Weigh) -> Callable[[Job], Found]:
    """A method that sums the maps of a layer by weights made of their gradients."""

    def run(job: Job) -> Found:
        explained = job.explained
        tensor = tensor_of(job)
        maps, gradients, score, chosen = job.ask(
            [tensor, explained.gradient(tensor), explained.score, explained.chosen]
        )
        raw, floor = np.empty(maps.shape[:3]), np.empty(len(maps))
        for i in range(len(maps)):  # one by one: float64 copies of a batch would fill the cache
            a, g = maps[i : i + 1].astype(np.float64), gradients[i : i + 1].astype(np.float64)
            raw[i : i + 1], floor[i : i + 1] = weighted(a, weigh(a, g), job.parameters["relu"])
        return Found(raw, score, chosen, floor)

    return run


def weighted(maps: Doubles, weights: Doubles, relu: bool) -> tuple[Doubles, Doubles]:
    """The weighted sum of the maps of a layer, and the size of its rounding errors.

    A sum that is the same everywhere has no place to show and becomes zero.

    Args:
        maps: (N, h, w, C).
        weights: of that shape, or with sides of 1.
        relu: keep only what speaks for the target.

    Returns:
        The sum (N, h, w), and per image the size below which it is rounding.
    """
    parts = maps * weights
    raw = parts.sum(-1)
    floor = NOISE * np.abs(parts).sum(-1).max((1, 2), initial=0.0)
    flat = np.ptp(raw, (1, 2)) <= floor
    raw = np.where(flat[:, None, None], 0.0, np.maximum(raw, 0) if relu else raw)
    return raw, floor


grad_cam = cam(_mean)
grad_cam_plus_plus = cam(_plus_plus)
hires_cam = cam(_each)
layer_cam = cam(_positive)


def tensor_of(job: Job) -> str:
    """Name of the tensor that is the map of the job's layer."""
    return job.tap.tensor if job.tap else ""


def maps_of(job: Job) -> tuple[Array, Array, Array, Array]:
    """Maps of the layer, scores of all classes, score and class of each image."""
    explained = job.explained
    maps, values, score, chosen = job.ask(
        [tensor_of(job), explained.values, explained.score, explained.chosen]
    )
    return maps, values, score, chosen
