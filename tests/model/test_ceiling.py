"""The bound of an activation is read from the graph."""

import keras
import pytest

from layerscope.model.ceiling import ceiling
from layerscope.model.traced import TracedModel

L = keras.layers
A = keras.activations
NONE = float("inf")


@pytest.mark.parametrize(
    ("activation", "bound"),
    [
        ("relu6", 6),
        ("sigmoid", 1),
        ("tanh", 1),
        ("hard_sigmoid", 1),
        ("relu", NONE),
        ("silu", NONE),
        ("hard_silu", NONE),
        ("gelu", NONE),
        ("linear", NONE),
        (L.ReLU(max_value=3.0), 3),
        (L.ReLU(max_value=6.0), 6),
        (L.ReLU(), NONE),
    ],
    ids=str,
)
def test_the_ceiling_is_that_of_the_activation(activation, bound):
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3)(image)
    x = activation(x) if isinstance(activation, L.Layer) else L.Activation(activation)(x)
    traced = TracedModel(keras.Model(image, L.GlobalAveragePooling2D()(x)))
    (tap,) = traced.taps
    assert ceiling(traced.wiring, tap) == pytest.approx(bound)
