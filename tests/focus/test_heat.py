"""The result: what it records, its parts, and maps with nothing to show."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from focus_nets import images, scope

from layerscope.errors import InputError
from layerscope.focus.heat import cleaned, joined, resampled
from layerscope.focus.methods import METHODS
from layerscope.scope import Scope

L = keras.layers
FEW = {"rise": {"masks": 30}}


def test_heat_records_what_made_it():
    heat = scope().focus(images(), 1, "integrated-gradients", steps=8)
    assert (heat.method, heat.scale, heat.output, heat.layer) == (
        "integrated-gradients",
        "logit",
        "0",
        "",
    )
    assert (heat.reduction, heat.baseline, heat.resampler) == ("sum", "0", "")
    assert heat.parameters == {"steps": 8, "baseline": 0.0, "reduction": "sum"}
    assert heat.classes.tolist() == [1, 1, 1]
    assert heat.ids == ("0", "1", "2")
    cam = scope().focus(images(), 1)
    assert (cam.layer, cam.resampler) == ("last", "bilinear, half-pixel centres")
    assert (cam.reduction, cam.baseline, cam.gap) == ("", "", None)


def test_full_is_raw_at_the_size_of_the_images():
    heat = scope().focus(images())
    assert heat.raw.shape == (3, 4, 4)
    expected = tf.image.resize(heat.raw[..., None], (8, 8)).numpy()[..., 0]
    np.testing.assert_allclose(heat.full, expected, rtol=1e-6)
    pixels = scope().focus(images(), method="gradient")
    assert pixels.full is pixels.raw
    assert resampled(heat.raw[:0], (8, 8)).shape == (0, 8, 8)


def test_heat_can_be_taken_apart_and_joined():
    heat = scope().focus(images(), [0, 1, 2], "integrated-gradients", steps=4)
    last = heat[-1]
    assert len(last) == 1
    assert (last.ids, last.classes.tolist()) == (("2",), [2])
    assert np.array_equal(last.raw, heat.raw[2:])
    assert np.array_equal(last.gap, heat.gap[2:])
    again = joined([heat[:1], heat[1:]])
    assert np.array_equal(again.raw, heat.raw)
    assert np.array_equal(again.gap, heat.gap)
    assert (again.ids, again.names) == (heat.ids, heat.names)
    with pytest.raises(IndexError, match="3 images"):
        heat[3]
    with pytest.raises(InputError, match="none could be read"):
        joined([])


def net(bias=0.0, head=1.0, activation="relu"):
    keras.utils.set_random_seed(2)
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, activation=activation, name="conv")(image)
    x = L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    conv, dense = model.get_layer("conv"), model.get_layer("head")
    conv.bias.assign(np.full(4, bias))
    dense.kernel.assign(dense.kernel * head)
    return model


def run(model, x, name):
    return Scope(model).focus(x, 1, name, **FEW.get(name, {}))


X = np.random.default_rng(0).uniform(0, 1, (3, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "model",
    [lambda: net(bias=-1e3), lambda: net(head=0.0)],
    ids=["dead layer", "zero gradient"],
)
def test_a_dead_layer_or_a_zero_gradient_gives_zeros_marked_empty(name, model):
    heat = run(model(), X, name)
    assert heat.empty.all()
    assert not heat.raw.any()
    assert not heat.full.any()
    assert "3 empty" in repr(heat)


@pytest.mark.parametrize("name", [name for name in METHODS if "layer" in METHODS[name].needs])
def test_maps_that_are_the_same_everywhere_give_zeros_marked_empty(name):
    grey = np.full((1, 8, 8, 3), 0.3, "float32")
    model = net()
    model.get_layer("head").kernel.assign(np.ones((4, 3)))  # every map speaks for every class
    heat = run(model, np.concatenate([grey, X]), name)
    assert heat.empty.tolist() == [True, False, False, False]
    assert not heat.raw[0].any()


@pytest.mark.parametrize("name", [n for n in METHODS if "perturbation" in METHODS[n].needs])
def test_what_covering_changes_by_rounding_alone_is_nothing(name):
    model = net()
    model.get_layer("head").kernel.assign(np.full((4, 3), 3e-6))
    model.get_layer("head").bias.assign([5.0, 3.0, 1.0])
    heat = run(model, X, name)
    assert heat.empty.all()
    assert not heat.raw.any()


@pytest.mark.parametrize("name", METHODS)
def test_a_saturated_activation_gives_finite_numbers(name):
    heat = run(net(bias=50.0, activation="sigmoid", head=1e6), X, name)
    assert np.isfinite(heat.raw).all()
    assert (heat.empty == ~heat.raw.any((1, 2))).all()


def test_numbers_that_are_not_finite_are_no_heat():
    raw = np.ones((3, 2, 2))
    raw[:, 0, 1] = 2
    raw[1, 0, 0], raw[2, 1, 1] = np.nan, 1e300
    maps, empty = cleaned(raw)
    assert empty.tolist() == [False, True, True]
    assert maps.sum((1, 2)).tolist() == [5, 0, 0]


def test_values_below_the_floor_are_no_heat():
    maps, empty = cleaned(
        np.array([[[1e-3, 0]], [[-1e-3, 0]], [[1.0, 0]]]), np.array([1e-2, 1e-4, 1e-2])
    )
    assert empty.tolist() == [True, False, False]
    assert maps.ravel().tolist() == pytest.approx([0, 0, -1e-3, 0, 1, 0])
