"""Which layer the maps are taken from, and which image they lie over."""

import keras
import numpy as np
import pytest

from layerscope.errors import InputError, UnknownLayerError
from layerscope.focus.places import image_of, is_bottleneck, place
from layerscope.focus.targets import explained
from layerscope.model.traced import TracedModel
from layerscope.scope import Scope

L = keras.layers


def functional(build, shape=(16, 16, 3)):
    image = keras.Input(shape)
    return keras.Model(image, build(image), name="net")


def head(x):
    return L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D()(x))


def default(model):
    return place(explained(TracedModel(model)), None)


def dense_block(x):
    x = L.Conv2D(4, 3, padding="same", name="stem")(x)
    y = L.Conv2D(2, 3, padding="same", name="growth", activation="relu")(x)
    return head(L.ReLU(name="relu")(L.Concatenate(name="both")([x, y])))


def branches(x):
    a = L.Conv2D(4, 3, padding="same", name="a", activation="relu")(x)
    b = L.Conv2D(4, 1, padding="same", name="b", activation="relu")(x)
    return head(L.Concatenate(name="both")([a, b]))


def residual(x):
    x = L.Conv2D(4, 3, padding="same", name="stem", activation="relu")(x)
    y = L.Conv2D(4, 3, padding="same", name="inside")(x)
    return head(L.ReLU(name="out")(L.Add(name="sum")([x, y])))


def squeezed(x):
    x = L.Conv2D(4, 3, name="last", activation="relu")(x)
    gate = L.Conv2D(4, 1, name="gate", activation="sigmoid")(
        L.GlobalAveragePooling2D(keepdims=True)(x)
    )
    return head(L.Multiply(name="gated")([x, gate]))


def pooled(x):
    x = L.Conv2D(4, 3, name="last", activation="relu")(x)
    return head(L.Dropout(0.5)(L.MaxPooling2D(name="pool")(x)))


def fully_convolutional(x):
    x = L.Conv2D(4, 3, name="last", activation="relu")(x)
    x = L.Conv2D(3, 14, name="classes")(x)
    return L.Softmax()(L.Flatten()(x))


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (dense_block, "relu"),
        (branches, "both"),
        (residual, "sum"),
        (squeezed, "last"),
        (pooled, "last"),
        (fully_convolutional, "last"),
    ],
)
def test_the_default_is_the_last_map_that_everything_passes(build, path):
    assert default(functional(build)).path == path


def test_of_branches_that_never_meet_as_maps_the_last_is_taken():
    def build(x):
        a = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="a")(x))
        b = L.GlobalAveragePooling2D()(L.Conv2D(4, 1, name="b")(x))
        return L.Dense(3)(L.Concatenate()([a, b]))

    traced = TracedModel(functional(build))
    assert place(explained(traced), None) == traced.taps[-1]


@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax"])
def test_the_default_lies_before_a_dense_output_and_never_is_one(activation):
    def build(x):
        x = L.Conv2D(4, 3, name="last", activation="relu")(x)
        return L.Conv2D(2, 1, name="mask", activation=activation)(x)

    traced = TracedModel(functional(build))
    assert place(explained(traced, lambda y: y[:, 0, 0, 0]), None).path == "last"


def test_the_default_lies_on_the_way_to_the_output_that_is_explained():
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, name="stem")(image)
    outputs = {
        "near": head(x),
        "far": L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="more")(x))),
    }
    traced = TracedModel(keras.Model(image, outputs, name="net"))
    assert place(explained(traced, output="near"), None).path == "stem"
    assert place(explained(traced, output="far"), None).path == "more"
    with pytest.raises(InputError, match="does not depend on 'more'"):
        place(explained(traced, output="near"), "more")


def test_a_layer_may_be_named_and_must_have_pixels():
    model = functional(squeezed)
    x = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype("float32")
    heat = Scope(model).focus(x, layer="last")
    assert heat.layer == "last"
    assert heat.raw.shape == (2, 14, 14)
    assert heat.full.shape == (2, 16, 16)
    with pytest.raises(InputError, match="more than one pixel, and those of 'gate' have one"):
        Scope(model).focus(x, layer="gate")
    with pytest.raises(InputError, match="'conv' names 2"):
        Scope(model).focus(x, layer="conv")
    with pytest.raises(UnknownLayerError, match="Near: last"):
        Scope(model).focus(x, layer="lost")


def test_a_model_without_convolutions_is_told_what_it_can_use():
    model = functional(lambda x: L.Dense(3)(L.Flatten()(x)))
    x = np.ones((1, 16, 16, 3), "float32")
    with pytest.raises(InputError, match="use a method without a layer"):
        Scope(model).focus(x)
    assert Scope(model).focus(x, method="gradient").raw.shape == (1, 16, 16)


def test_heat_lies_over_the_image_that_the_layer_sees():
    left, right = keras.Input((16, 16, 3), name="left"), keras.Input((12, 10, 1), name="right")
    a = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="a")(left))
    b = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="b")(right))
    model = keras.Model([left, right], L.Dense(2)(L.Concatenate()([a, b])), name="two")
    about = explained(TracedModel(model))
    assert image_of(about) == 0
    assert [image_of(about, place(about, path)) for path in "ab"] == [0, 1]
    x = [
        np.random.default_rng(0).uniform(0, 1, (2, *s)).astype("float32")
        for s in ((16, 16, 3), (12, 10, 1))
    ]
    heat = Scope(model).focus(x, layer="b")
    assert (heat.image, heat.size, heat.full.shape) == (1, (12, 10), (2, 12, 10))


def test_a_model_without_images_is_refused():
    vector = keras.Input((7,))
    with pytest.raises(InputError, match="no input of shape"):
        image_of(explained(TracedModel(keras.Model(vector, L.Dense(2)(vector)))))


def test_a_bottleneck_is_all_that_the_score_sees():
    about = explained(TracedModel(functional(residual)))
    tensors = {tap.path: tap.tensor for tap in about.traced.taps}
    passed = {path: is_bottleneck(about, tensor) for path, tensor in tensors.items()}
    assert passed == {"stem": True, "inside": False, "sum": True}


def test_a_channel_is_ablated_right_where_the_image_comes_by_another_way():
    model = functional(residual)
    x = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3)).astype("float32")
    heat = Scope(model).focus(x, 1, "ablation-cam", layer="inside", relu=False)
    stem = model.get_layer("stem")(x)
    inside = np.asarray(model.get_layer("inside")(stem))
    layer = model.get_layer("head")

    def score(maps):
        pooled = keras.ops.mean(keras.ops.relu(stem + maps), (1, 2))
        return np.asarray(pooled @ layer.kernel)[:, 1]

    falls = [score(inside) - score(inside * (np.arange(4) != k)) for k in range(4)]
    expected = sum(falls[k][:, None, None] * inside[..., k] for k in range(4))
    np.testing.assert_allclose(heat.raw, expected, atol=1e-4 * np.abs(expected).max())
