"""The weights behind maps."""

import keras
import numpy as np
import pytest

from layerscope.model.fresh import fresh_weights
from layerscope.model.traced import TracedModel
from layerscope.model.weights import kernel_of, upsampling, weights_hash

L = keras.layers


@pytest.mark.parametrize(
    ("layer", "weight"),
    [
        (L.Conv2D(8, 3), 0),
        (L.Conv2D(8, 3, activation="relu"), 0),
        (L.DepthwiseConv2D(3), 0),
        (L.SeparableConv2D(8, 3), 0),
        (L.Conv2DTranspose(8, 3, strides=2), 0),
        (L.Conv2D(8, 3, groups=2), 0),
        (L.Conv2D(8, 3, dtype="mixed_float16"), 0),
        (L.Dense(8), None),
    ],
    ids=lambda x: x.name if isinstance(x, L.Layer) else "",
)
def test_the_kernel_behind_a_map_is_the_weight_of_its_layer(layer, weight):
    image = keras.Input((16, 16, 4))
    traced = TracedModel(keras.Model(image, L.GlobalAveragePooling2D()(layer(image))))
    (tap,) = traced.taps
    found = kernel_of(traced, tap)
    if weight is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, layer.weights[weight].numpy())
    assert upsampling(traced, tap) == (2 if isinstance(layer, L.Conv2DTranspose) else 1)


def test_the_hash_follows_the_values_and_their_order():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Conv2D(3, 3, bias_initializer="ones")(image))
    before = weights_hash(model)
    assert before == weights_hash(model)
    kernel = model.weights[0].numpy()
    kernel[0, 0, 0, 0] += 1e-7
    model.weights[0].assign(kernel)
    assert weights_hash(model) != before


class Affine(L.Layer):
    """Weights asked for as Keras' own layers do not: by position."""

    def build(self, shape):
        self.scale = self.add_weight((shape[-1],), "ones", name="scale")
        self.shift = self.add_weight((shape[-1],), "zeros", "float32", name="shift")

    def call(self, x):
        return x * self.scale + self.shift


class NotRemade(Affine):
    """The same, and no copy of it can be made from its configuration."""

    def get_config(self):
        raise NotImplementedError


@pytest.mark.parametrize("layer", [Affine, NotRemade])
def test_weights_asked_for_by_position_start_from_their_own_initialisers(layer):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layer()(image))
    for weight in model.weights:
        weight.assign(np.full(3, 5.0))
    (scale, shift), kept = fresh_weights(model, seed=0)
    assert kept == []
    np.testing.assert_array_equal(scale, np.ones(3))
    np.testing.assert_array_equal(shift, np.zeros(3))
