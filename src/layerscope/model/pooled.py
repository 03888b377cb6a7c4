"""What the layers of a model and of its untrained twins say of some images, pooled in the graph.

Only a few numbers per map leave the graph, so that twenty twins cost little more than twenty
forward passes. BatchNorm statistics are those of the images themselves, for the model as for its
twins: else an untrained model, whose stored statistics never saw an image, would differ from them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from layerscope.model.fresh import fresh_weights
from layerscope.model.graph import Program, splice
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel, view
from layerscope.model.twin import initialisers_of, refit
from layerscope.vocabulary import Floats


def pooled_maps(
    traced: TracedModel,
    taps: Sequence[Tap],
    inputs: Sequence[np.ndarray],
    seed: int | None = None,
) -> Mapping[str, Floats]:
    """The means of the quarters of each map, and of the whole.

    Args:
        traced: the model.
        taps: its layers to look at.
        inputs: a batch of preprocessed images (and other inputs).
        seed: of an untrained twin; ``None`` for the model's own weights.

    Returns:
        Path -> float32 (N, 5, C): upper left, upper right, lower left, lower right, the rows cut
        at H // 2 and the columns at W // 2, then the whole. NaN for quarters without a pixel.
    """
    paths = tuple(tap.path for tap in taps)
    program = traced.once(f"pooled {paths}", lambda: _program(traced, taps))
    weights = [v.value for v in traced.model.weights]
    if seed is not None:
        weights = fresh_weights(traced.model, seed, initialisers_of(traced))[0]
    found = program(*traced.feed(inputs), *weights)
    return dict(zip(paths, (np.array(view(t)) for t in found), strict=True))


def _program(traced: TracedModel, taps: Sequence[Tap]) -> Program:
    refitted = refit(traced)
    fetches = list[str]()
    for at, tap in enumerate(taps):
        tensor = traced.tensor(tap.tensor)
        spec = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype)}
        fetches += splice(refitted.graph, [], spec, _quarters, f"pooled{at}")
    return refitted.compiled(fetches)


def _quarters(maps: tf.Tensor) -> list[tf.Tensor]:
    maps = tf.cast(maps, tf.float32)
    row, column = tf.shape(maps)[1] // 2, tf.shape(maps)[2] // 2
    upper, lower = maps[:, :row], maps[:, row:]
    parts = [upper[:, :, :column], upper[:, :, column:], lower[:, :, :column], lower[:, :, column:]]
    return [tf.stack([tf.reduce_mean(part, (1, 2)) for part in [*parts, maps]], 1)]
