"""What a model's layers are compared with: noise input, untrained twins and fresh kernels."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.measures.classes import class_signal
from layerscope.measures.dimension import effective_dimension
from layerscope.measures.kernels import FEWEST, variance_entropy
from layerscope.measures.significance import Standing, standing
from layerscope.measures.vitality import ROUNDING
from layerscope.run.local import Progress
from layerscope.run.plan import Plan
from layerscope.store.cache import cached_arrays
from layerscope.vocabulary import Floats

NOISE = 32
"""Draws of noise input: at least 20 are needed for a p value per channel."""

PROBE = 32
"""Images on which a model is compared with its untrained twins."""

FEWEST_TWINS, MOST_TWINS, POOLED = 20, 50, 200
"""At least so many twins; more where few layers leave fewer than `POOLED` values to pool."""

FRESH_KERNELS = 99
"""Draws of each kernel from its own initialiser."""

MOST_KERNELS = 20_000
"""Of a layer are looked at; with more of them random kernels no longer differ."""


@dataclass(frozen=True)
class Probe:
    """What to compute for the model, and likewise for a twin.

    Attributes:
        pooled: unprepared images and the seed of a twin, ``None`` for the model itself -> path ->
            float32 (N, 5, C): the means of the quarters of each map and of the whole.
        fresh_kernel: path and seed -> a kernel before training, ``None`` where it is not known.
    """

    pooled: Callable[[Floats, int | None], Mapping[str, Floats]]
    fresh_kernel: Callable[[str, Sequence[int]], NDArray[Any] | None]


def against_twins(
    probe: Probe,
    kernels: Mapping[str, NDArray[Any]],
    signed: Mapping[str, bool],
    images: Sequence[Floats],
    labels: NDArray[np.int64],
    plan: Plan,
    tell: Callable[[Progress], None] = lambda _: None,
) -> pd.DataFrame:
    """Compare every layer with twins and fresh kernels; what was computed before is read.

    Args:
        probe: computes it.
        kernels: path -> convolution kernel, of the layers that have one.
        signed: path -> whether the maps are read before an activation.
        images: float32 (H, W, C) each, before preprocessing; `PROBE` of them, of one size and
            evenly spread, count.
        labels: class of each, -1 where unknown.
        plan: what the run does.
        tell: hears how far it is.

    Returns:
        One row per layer of the plan, with the columns of `_columns` for the ``dimension`` of the
        layer, its mean ``class_signal`` and the ``entropy`` of its kernels.
    """
    fitting = np.flatnonzero([image.shape == images[0].shape for image in images])
    # Evenly spread: images that stand side by side are often of one class, or one photo.
    fitting = fitting[
        np.linspace(0, len(fitting) - 1, min(PROBE, len(fitting))).round().astype(int)
    ]
    pixels, classes = np.stack([images[i] for i in fitting]), labels[fitting]
    model = {"model": plan.model, "layers": plan.layers, "seed": plan.seed}
    model |= {"versions": dict(plan.versions)}
    seen = {
        "preprocessing": plan.preprocessing,
        "images": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        "labels": classes.tolist(),
    }
    twins = cached_arrays(
        {"of": "twins", "draws": [FEWEST_TWINS, MOST_TWINS, POOLED], **model, **seen},
        ("dimension", "class_signal"),
        lambda: _of_twins(probe, plan, signed, pixels, classes, tell),
    )
    fresh = cached_arrays(
        {"of": "kernels", "draws": [FRESH_KERNELS, MOST_KERNELS], **model},
        ("entropy",),
        lambda: {"entropy": _of_kernels(probe, plan, kernels, tell)},
    )
    found = {**twins, **fresh}
    columns: dict[str, Any] = {"layer": list(plan.layers)}
    for name in ("dimension", "class_signal", "entropy"):
        columns |= _columns(name, found[name])
    return pd.DataFrame(columns)


def _columns(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Where the first row, the model, stands among the others, its twins."""
    found: Standing = standing(values[0], values[1:])
    with np.errstate(invalid="ignore"):
        mean, spread = values[1:].mean(0), values[1:].std(0, ddof=1)
    return {
        f"probe_{name}": values[0],
        f"twin_{name}": mean,
        f"twin_{name}_sd": spread,
        f"{name}_z": found.z,
        f"{name}_low_p": found.low,
        f"{name}_high_p": found.high,
        f"{name}_p": found.both,
    }


def _of_twins(
    probe: Probe,
    plan: Plan,
    signed: Mapping[str, bool],
    pixels: Floats,
    labels: NDArray[np.int64],
    tell: Callable[[Progress], None],
) -> dict[str, NDArray[np.float64]]:
    """Dimension and mean class signal, (1 + S, L) each: of the model, then of its twins."""
    twins = min(MOST_TWINS, max(FEWEST_TWINS, math.ceil(POOLED / len(plan.layers))))
    rows = []
    for draw in range(1 + twins):
        found = probe.pooled(pixels, None if draw == 0 else plan.seed + draw)
        rows.append([_said(found[path], labels, signed[path]) for path in plan.layers])
        tell(Progress("untrained twins", draw, twins))
    values = np.array(rows)
    return {"dimension": values[..., 0], "class_signal": values[..., 1]}


def _said(pooled: Floats, labels: NDArray[np.int64], signed: bool) -> tuple[float, float]:
    """The dimension of a layer and the mean over its channels of their best class signal."""
    quarters = pooled[:, :4].reshape(-1, pooled.shape[2]).astype(np.float64)
    cells = quarters[np.isfinite(quarters).all(1)]
    mean = cells.mean(0) if len(cells) else np.zeros(cells.shape[1])
    cells -= mean
    cells[:, np.abs(cells).max(0, initial=0) <= ROUNDING * np.abs(mean)] = 0
    dimension = effective_dimension(cells.T @ cells)
    if len(np.unique(labels[labels >= 0])) < 2:
        return dimension, float("nan")
    signal = class_signal(pooled[:, 4], labels, signed)
    known = np.isfinite(signal).any(1)
    return dimension, float(np.nanmax(signal[known], 1).mean()) if known.any() else float("nan")


def _of_kernels(
    probe: Probe,
    plan: Plan,
    kernels: Mapping[str, NDArray[Any]],
    tell: Callable[[Progress], None],
) -> NDArray[np.float64]:
    """Variance entropy of the kernels, (1 + B, L): as they are, then fresh ones; NaN untested."""
    found = np.full((1 + FRESH_KERNELS, len(plan.layers)), np.nan)
    for at, path in enumerate(plan.layers):
        tell(Progress("fresh kernels", at, len(plan.layers)))
        kernel = kernels.get(path)
        if kernel is None or kernel.shape[:2] != (3, 3) or np.prod(kernel.shape[2:]) < FEWEST:
            continue
        fresh = (probe.fresh_kernel(path, (plan.seed, b)) for b in range(FRESH_KERNELS))
        for row, one in enumerate((kernel, *fresh)):
            found[row, at] = np.nan if one is None else variance_entropy(_few(one))
    return found


def _few(kernel: NDArray[Any]) -> NDArray[Any]:
    """At most `MOST_KERNELS` of the kernels (kh, kw, inputs, outputs), the same ones each time."""
    patterns = kernel.reshape(*kernel.shape[:2], 1, -1)
    if patterns.shape[3] <= MOST_KERNELS:
        return patterns
    places = np.random.default_rng(0).choice(patterns.shape[3], MOST_KERNELS, replace=False)
    return patterns[..., places]
