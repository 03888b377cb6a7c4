"""What a run needs to know of a model, taken from its trace."""

from collections.abc import Mapping, Sequence
from importlib import metadata

import numpy as np

from layerscope.images import Preprocessing
from layerscope.model.ceiling import ceiling
from layerscope.model.pooled import pooled_maps
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel, view
from layerscope.model.twin import untrained_twin
from layerscope.model.weights import fresh_kernel, kernel_of, upsampling
from layerscope.run.local import Compute
from layerscope.run.nulls import Probe
from layerscope.run.profiling import Subject
from layerscope.vocabulary import Floats

TWIN_IMAGES = 32
"""Images to which the BatchNorm statistics of a twin are fitted."""


def subject_of(
    traced: TracedModel, taps: Sequence[Tap], steps: Preprocessing | None, outputs: int | None
) -> Subject:
    """The subject of a run.

    Args:
        traced: a model with one image input.
        taps: the layers to profile.
        steps: what is done to the images first.
        outputs: length of the output vector; ``None`` if the output is no vector.
    """
    kernels = {tap.path: kernel_of(traced, tap) for tap in taps}
    return Subject(
        traced.rows_of(taps),
        {tap.path: ceiling(traced.wiring, tap) for tap in taps},
        {path: kernel for path, kernel in kernels.items() if kernel is not None},
        {tap.path: upsampling(traced, tap) for tap in taps},
        outputs,
        forward(traced, taps, steps, outputs),
        lambda images, seed: _twin(traced, taps, steps, images, seed),
        _probe(traced, taps, steps),
    )


def _probe(traced: TracedModel, taps: Sequence[Tap], steps: Preprocessing | None) -> Probe:
    by_path = {tap.path: tap for tap in taps}
    return Probe(
        lambda images, seed: pooled_maps(traced, taps, [_ready(images, steps)], seed),
        lambda path, seed: fresh_kernel(traced, by_path[path], seed),
    )


def forward(
    traced: TracedModel,
    taps: Sequence[Tap],
    steps: Preprocessing | None,
    outputs: int | None,
    weights: Sequence[object] | None = None,
) -> Compute:
    """A forward pass with the model's own weights, or with others."""
    output = list(traced.outputs.values()) if outputs else []
    wanted = [*output, *(tap.tensor for tap in taps)]

    def compute(pixels: Floats) -> tuple[Mapping[str, Floats], Floats | None]:
        found = [view(t) for t in traced.run([_ready(pixels, steps)], wanted, weights=weights)]
        maps = dict(zip((tap.path for tap in taps), found[len(output) :], strict=True))
        return maps, found[0] if output else None

    return compute


def _ready(pixels: Floats, steps: Preprocessing | None) -> Floats:
    return pixels if steps is None else steps.apply(pixels)


def _twin(
    traced: TracedModel,
    taps: Sequence[Tap],
    steps: Preprocessing | None,
    images: Sequence[Floats],
    seed: int,
) -> Compute:
    fitting = [image for image in images if image.shape == images[0].shape][:TWIN_IMAGES]
    twin = untrained_twin(traced, [_ready(np.stack(fitting), steps)], seed)
    return forward(traced, taps, steps, None, twin.weights)


def versions() -> dict[str, str]:
    """Of everything that computes the numbers of a run."""
    names = ("layerscope", "tensorflow", "keras", "numpy", "numba", "scipy")
    return {name: metadata.version(name) for name in names}
