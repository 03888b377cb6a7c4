"""Noise on images of nets whose answer to it follows from their weights."""

import keras
import numpy as np
import pytest
from scipy.stats import norm

from layerscope.errors import InputError
from layerscope.focus.targets import explained
from layerscope.focus.unrest import under_noise
from layerscope.model.traced import TracedModel

L = keras.layers
SIDE, SPAN = 4, 2.0


def linear(classes=2, dtype="float32"):
    """A decision that is linear in the pixels, behind a convolution that changes nothing."""
    image = keras.Input((SIDE, SIDE, 1), dtype=dtype)
    x = L.Rescaling(1.0)(image) if dtype != "float32" else image
    x = L.Conv2D(1, 1, use_bias=False, name="same")(x)
    x = L.Dense(classes, "softmax" if classes > 1 else None, name="answer")(L.Flatten()(x))
    model = keras.Model(image, x)
    model.get_layer("same").set_weights([np.ones((1, 1, 1, 1))])
    kernel = np.random.default_rng(3).standard_normal((SIDE * SIDE, classes))
    model.get_layer("answer").set_weights([kernel, np.zeros(classes)])
    return TracedModel(model), kernel


@pytest.mark.parametrize("level", [0.05, 0.1])
def test_a_linear_net_flips_as_often_as_its_margin_says_and_is_as_steep_as_its_weights(level):
    traced, kernel = linear()
    way = kernel[:, 1] - kernel[:, 0]
    margin = 0.15
    image = (margin * way / (way @ way)).reshape(1, SIDE, SIDE, 1).astype(np.float32)
    images = np.repeat(image, 3000, 0)
    found = under_noise(explained(traced), images, [level], SPAN, 500, 0)[level]
    expected = norm.cdf(-margin / (level * SPAN * np.linalg.norm(way)))
    assert 0.02 < expected < 0.48
    assert found.flipped.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / 3000))
    assert found.steepness == pytest.approx(SPAN * np.linalg.norm(kernel[:, 1]), rel=1e-5)


def test_batches_make_no_difference_and_the_seed_does():
    traced, _ = linear(3)
    images = np.random.default_rng(0).standard_normal((40, SIDE, SIDE, 1)).astype(np.float32) / 10
    about = explained(traced)
    one, other, another = (
        under_noise(about, images, [0.2], SPAN, rows, seed)[0.2].flipped
        for rows, seed in ((40, 0), (7, 0), (40, 1))
    )
    assert (one == other).all()
    assert (one != another).any()


def test_whole_numbers_have_no_gradient_and_a_regression_no_class():
    traced, _ = linear(3, "uint8")
    images = np.full((5, SIDE, SIDE, 1), 9, np.float32)
    assert under_noise(explained(traced), images, [0.1], 255, 5, 0)[0.1].steepness is None
    with pytest.raises(InputError, match="chooses between classes"):
        under_noise(explained(linear(1)[0]), images, [0.1], SPAN, 5, 0)
