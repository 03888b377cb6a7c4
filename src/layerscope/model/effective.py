"""The effective receptive field: how much of the theoretical one really matters.

Luo et al. 2016: the pixels whose mean ``|d a_centre / d x|`` exceeds 4.55 % of its maximum, given
as the side of a square of the same area.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from layerscope.model.traced import TracedModel, view

THRESHOLD = 0.0455


def effective_receptive_field(
    traced: TracedModel, tensor: str, inputs: Sequence[np.ndarray] | None = None, seed: int = 0
) -> float:
    """Side in input pixels of the area that moves the centre of a map.

    Args:
        traced: the model.
        tensor: name of the tensor that is the map.
        inputs: preprocessed images (and other inputs), best 8 or more; default Gaussian noise.
        seed: of that noise.

    Returns:
        Square root of the number of input pixels over the threshold; 0 if none moves it.
    """
    image = next(n for n in traced.trace.inputs if traced.tensor(n).shape.rank == 4)

    def centre(_: dict[str, tf.Tensor]) -> tf.Tensor:
        maps = traced.tensor(tensor)
        shape = tf.shape(maps)
        return maps[:, shape[1] // 2, shape[2] // 2, :]

    (name,) = traced.gradients(("centre", tensor), centre, [image])
    (gradient,) = traced.run(_noise(traced, seed) if inputs is None else inputs, [name])
    influence = np.abs(view(gradient)).mean(axis=(0, 3))
    if not influence.max() > 0:
        return 0.0
    return float(np.sqrt(np.count_nonzero(influence > THRESHOLD * influence.max())))


def _noise(traced: TracedModel, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.standard_normal((8, *[side or 64 for side in spec.shape[1:]]), np.float32)
        for spec in traced.trace.specs
    ]
