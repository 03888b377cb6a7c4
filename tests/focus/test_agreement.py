"""Agreement with tf-keras-vis on a functional model, where it is installed.

It is no dependency: ``pip install tf-keras-vis`` lets these tests run.
"""

import warnings
from importlib import import_module

import keras
import numpy as np
import pytest

from layerscope.scope import Scope

L = keras.layers
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports from names that scipy is about to drop
    pytest.importorskip("tf_keras_vis.gradcam", reason="tf-keras-vis is not installed")


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(4)
    image = keras.Input((20, 20, 3))
    x = L.Conv2D(6, 3, activation="relu", name="first")(image)
    x = L.ReLU(name="act")(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, name="last")(x)))
    x = L.Dense(7, activation="relu", bias_initializer="ones")(L.Flatten()(x))
    return keras.Model(image, L.Dense(5, activation="softmax", name="head")(x))


@pytest.mark.parametrize(
    ("home", "name", "method", "relu"),
    [
        ("gradcam", "Gradcam", "grad-cam", True),
        ("gradcam", "Gradcam", "grad-cam", False),
        ("gradcam_plus_plus", "GradcamPlusPlus", "grad-cam++", True),
        ("layercam", "Layercam", "layer-cam", True),
    ],
)
def test_a_method_agrees_with_tf_keras_vis(model, home, name, method, relu):
    x = np.random.default_rng(0).uniform(0, 1, (4, 20, 20, 3)).astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = import_module("tf_keras_vis.utils.model_modifiers").ReplaceToLinear()
        theirs = getattr(import_module(f"tf_keras_vis.{home}"), name)(model, linear, clone=True)(
            lambda output: output[:, 1],
            x,
            penultimate_layer="act",
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
            **({} if relu else {"activation_modifier": None}),
        )
    theirs = np.asarray(theirs)
    ours = Scope(model).focus(x, 1, method, relu=relu)
    assert ours.layer == "last"
    assert np.abs(theirs).max() > 0
    if method == "grad-cam++":  # the exponential of the score, which we leave out
        theirs = theirs / np.exp(ours.score)[:, None, None]
    np.testing.assert_allclose(ours.raw, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max())
