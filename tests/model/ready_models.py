"""Models of the matrix, each built and traced once per worker."""

from functools import cache
from typing import NamedTuple

import keras
import numpy as np
from matrix import APPLICATIONS, CASES, Case

from layerscope.model.trace import specs_of_arguments
from layerscope.model.traced import TracedModel


class Ready(NamedTuple):
    case: Case
    model: keras.Model
    traced: TracedModel
    inputs: list[np.ndarray]


@cache
def ready(name: str) -> Ready:
    case = CASES[name]
    keras.utils.set_random_seed(7)
    model = case.build()
    random = np.random.default_rng(3)
    for variable in model.weights:
        # No weight keeps a special value: a zero bias hides a map that was read too early.
        small = len(variable.shape) < 2 or name not in APPLICATIONS  # wide sums would saturate
        if small and "variance" not in variable.name and "count" not in variable.name:
            noise = random.normal(0, 0.02, variable.shape)
            variable.assign(np.asarray(variable) + noise)
    if name in APPLICATIONS:
        _keep_in_range(model)
    sizes = [(case.batch, *shape) for shape in case.inputs]
    brightest = 255 if name in APPLICATIONS else 1
    inputs = [random.uniform(0, brightest, size).astype("float32") for size in sizes]
    several = name == "call_with_two_arguments"
    specs = specs_of_arguments(model, inputs) if several else None
    return Ready(case, model, TracedModel(model, specs), inputs)


def _keep_in_range(model: keras.Model) -> None:
    """Fit BatchNorm to noise, so that a deep net without training neither fades nor blows up."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # keeps every variance from 0
    model(np.random.default_rng(4).uniform(0, 255, (16, *model.input_shape[1:])), training=True)
