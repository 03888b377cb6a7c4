"""What is explained: classes, logits behind a final activation, other outputs."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from layerscope.errors import InputError
from layerscope.focus.targets import explained
from layerscope.model.traced import TracedModel
from layerscope.scope import Scope

L = keras.layers
ops = keras.ops


class Call(L.Layer):
    """A plain call, in a layer of its own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def spelled_out(x):
    raised = tf.exp(x - tf.reduce_max(x, -1, keepdims=True))
    return raised / tf.reduce_sum(raised, -1, keepdims=True)


def without_maximum(x):
    return ops.exp(x) * (1 / ops.sum(ops.exp(x), axis=-1, keepdims=True))


def by_logarithm(x):
    return tf.exp(x - tf.reduce_logsumexp(x, -1, keepdims=True))


def build(outputs, activation, *behind):
    """Head with an activation argument, and layers behind it."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 6, 3))
    x = L.Conv2D(4, 3, activation="relu", name="conv")(image)
    x = L.Dense(outputs, activation=activation, name="head", bias_initializer="normal")(
        L.GlobalAveragePooling2D()(x)
    )
    for layer in behind:
        x = layer(x)
    return keras.Model(image, x, name="net")


X = np.random.default_rng(0).uniform(0, 1, (5, 6, 6, 3)).astype("float32")


def head(model):
    """Logits, computed by the layers themselves."""
    x = ops.mean(model.get_layer("conv")(X), (1, 2))
    return np.asarray(x @ model.get_layer("head").kernel + model.get_layer("head").bias)


class Subclassed(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.conv, self.out = L.Conv2D(4, 3, name="conv"), L.Dense(4, name="head")
        self.function = function

    def call(self, x):
        return self.function(self.out(tf.reduce_mean(self.conv(x), (1, 2))))


def subclassed(function):
    keras.utils.set_random_seed(3)
    model = Subclassed(function)
    model(X)
    return model


SEEN_THROUGH = {
    "softmax as argument": lambda: build(4, "softmax"),
    "softmax as layer": lambda: build(4, None, L.Softmax()),
    "softmax as activation layer": lambda: build(4, None, L.Activation("softmax")),
    "tf.nn.softmax": lambda: build(4, None, Call(tf.nn.softmax)),
    "keras.ops.softmax": lambda: build(4, None, Call(ops.softmax)),
    "softmax over the first axis of a transpose": lambda: build(
        4, None, Call(lambda x: tf.transpose(tf.nn.softmax(tf.transpose(x), axis=0)))
    ),
    "softmax spelled out": lambda: build(4, None, Call(spelled_out)),
    "softmax without a maximum": lambda: build(4, None, Call(without_maximum)),
    "softmax by logarithm": lambda: build(4, None, Call(by_logarithm)),
    "softmax then reshape": lambda: build(4, "softmax", L.Reshape((2, 2)), L.Flatten()),
    "clipped softmax": lambda: build(4, "softmax", Call(lambda x: tf.clip_by_value(x, 1e-7, 1.0))),
    "log softmax": lambda: build(4, "log_softmax"),
    "sigmoid as argument": lambda: build(4, "sigmoid"),
    "tf.nn.sigmoid": lambda: build(4, None, Call(tf.nn.sigmoid)),
    "sigmoid spelled out": lambda: build(4, None, Call(lambda x: 1 / (1 + tf.exp(-x)))),
    "no activation": lambda: build(4, None),
    "subclassed": lambda: subclassed(tf.nn.softmax),
    "subclassed, spelled out": lambda: subclassed(spelled_out),
}


@pytest.mark.parametrize("kind", SEEN_THROUGH)
def test_a_classifier_is_explained_on_its_logits(kind):
    model = SEEN_THROUGH[kind]()
    heat = Scope(model).focus(X, 2, "gradient")
    assert heat.scale == "logit"
    np.testing.assert_allclose(heat.score, head(model)[:, 2], rtol=1e-4, atol=1e-5)
    predicted = Scope(model).focus(X, method="gradient")
    assert np.array_equal(predicted.classes, head(model).argmax(1))
    np.testing.assert_allclose(predicted.score, head(model).max(1), rtol=1e-4, atol=1e-5)


def mean_of_two(x):
    return (tf.nn.softmax(x) + tf.nn.softmax(-x)) / 2


@pytest.mark.parametrize(
    "model",
    [lambda: build(4, None, Call(mean_of_two)), lambda: build(4, "hard_sigmoid")],
    ids=["mean of two", "hard sigmoid"],
)
def test_where_no_logits_can_be_seen_the_result_says_probability(model):
    model = model()
    heat = Scope(model).focus(X, 1, "gradient")
    assert heat.scale == "probability"
    assert "explains the probability" in repr(heat)
    np.testing.assert_allclose(heat.score, np.asarray(model(X))[:, 1], rtol=1e-5)


def test_outputs_that_leave_0_to_1_are_no_probabilities():
    assert Scope(build(1, "relu")).focus(X, method="gradient").scale == "output"


def test_a_saturated_softmax_still_has_a_gradient():
    model = build(4, "softmax")
    model.get_layer("head").kernel.assign(model.get_layer("head").kernel * 1e4)
    assert np.asarray(model(X)).max(1).min() == 1
    heat = Scope(model).focus(X, method="gradient")
    assert np.abs(heat.raw).max((1, 2)).min() > 1
    assert not heat.empty.any()


@pytest.mark.parametrize(
    "model",
    [
        lambda: build(1, "sigmoid"),
        lambda: build(1, None, Call(tf.nn.sigmoid)),
        lambda: build(1, None, Call(lambda x: 1 / (1 + ops.exp(-x)))),
    ],
    ids=["argument", "plain call", "spelled out"],
)
def test_one_sigmoid_is_a_decision_between_two_classes(model):
    model = model()
    scope, logit = Scope(model, classes=["cat", "dog"]), head(model)[:, 0]
    no, yes = (scope.focus(X, i, "gradient") for i in (0, 1))
    np.testing.assert_allclose(yes.score, logit, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(no.score, -logit, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(no.raw, -yes.raw)
    assert (yes.scale, yes.names[0]) == ("logit", "dog")
    bias = model.get_layer("head").bias
    bias.assign(bias - logit.mean())
    predicted = Scope(model).focus(X, method="gradient")
    assert np.array_equal(predicted.classes, np.asarray(model(X))[:, 0] > 0.5)
    assert set(predicted.classes) == {0, 1}
    assert (predicted.score > 0).all()


@pytest.mark.parametrize("names", [None, ["no", "yes"]])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (build(1, None, Call(tf.nn.softmax)), "a softmax over one class, which is 1"),
        (build(1, None, Call(tf.nn.log_softmax)), "a softmax over one class, which is 1"),
        (build(1, None, Call(spelled_out)), "a softmax over one class, which is 1"),
        (build(1, None, Call(without_maximum)), "a softmax over one class, which is 1"),
        (build(1, None, Call(by_logarithm)), "a softmax over one class, which is 1"),
        (build(3, None, Call(tf.ones_like)), "without any value of the image"),
        (build(1, None, Call(tf.zeros_like), L.Activation("sigmoid")), "without any value"),
    ],
)
def test_an_output_that_never_changes_is_refused(model, words, names):
    names = names if model.output_shape[-1] == 1 else None
    with pytest.raises(InputError, match=words):
        Scope(model, classes=names).focus(X, controls=False)


def test_a_product_that_a_black_image_makes_constant_is_no_softmax():
    image = keras.Input((6, 6, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="conv")(image))
    heads = [L.Dense(1, name=name)(x) for name in "ab"]
    model = keras.Model(image, Call(tf.exp)(L.Multiply()(heads)))
    assert (model(np.zeros_like(X)).numpy() == 1).all()
    assert len(Scope(model).focus(X, controls=False).raw) == 5


def test_a_number_without_activation_is_a_regression_unless_it_has_two_names():
    model = build(1, None)
    heat = Scope(model).focus(X, method="gradient")
    assert heat.scale == "output"
    assert (heat.classes == -1).all()
    assert heat.names == ("",) * 5
    np.testing.assert_allclose(heat.score, head(model)[:, 0], rtol=1e-5)
    assert np.array_equal(Scope(model).focus(X, 0, "gradient").raw, heat.raw)
    with pytest.raises(InputError, match="one number and no decision between classes"):
        Scope(model).focus(X, 1, "gradient")
    pair = Scope(model, classes=["no", "yes"]).focus(X, "no", "gradient")
    assert pair.scale == "logit"
    np.testing.assert_array_equal(pair.raw, -heat.raw)


def test_targets_by_index_name_list_and_function_agree():
    names = ["ant", "bee", "cow", "dog"]
    scope = Scope(build(4, "softmax"), classes=names)
    by_index = scope.focus(X, 1, "gradient")
    assert by_index.names == ("bee",) * 5
    for target in ("bee", "Bee", np.int64(1), lambda y: y[:, 1], ["bee", 1, "BEE", 1, "bee"]):
        heat = scope.focus(X, target, "gradient", batch_size=2)
        assert np.array_equal(heat.raw, by_index.raw)
    mixed = scope.focus(X, [0, 1, 2, 3, 1], "gradient", batch_size=2)
    assert mixed.classes.tolist() == [0, 1, 2, 3, 1]
    for i, one in enumerate(mixed.classes):
        assert np.array_equal(mixed.raw[i], scope.focus(X, int(one), "gradient").raw[i])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (4, "counts from 0 to 3 for this model; got 4"),
        (-1, "counts from 0 to 3"),
        ("bea", "No class of the model is called 'bea'. Near: bee"),
        ("twin", "Several classes are called 'twin'"),
        ([1, 2], "one per image: 2 "),
        ([1] * 6, "one per image: 6 were given for 5"),
        (1.5, "a list with one per image, or a function"),
        (True, "given by its index or name; got True"),
        ([None] * 5, "given by its index or name; got None"),
        (lambda y: tf.reduce_sum(y), "gives one number per image"),
        (lambda y: tf.argmax(y, -1), "this one gives int64"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(target, words):
    scope = Scope(build(4, "softmax"), classes=["ant", "bee", ["twin", "c"], ["twin", "d"]])
    with pytest.raises(InputError, match=words):
        scope.focus(X, target, "gradient")


def test_a_name_needs_names():
    with pytest.raises(InputError, match="names of the outputs must be known"):
        Scope(build(4, "softmax")).focus(X, "bee")


def two_outputs():
    image = keras.Input((6, 6, 3))
    x = L.Conv2D(4, 3, activation="relu", padding="same", name="conv")(image)
    label = L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D()(x))
    mask = L.Conv2D(2, 1, activation="softmax", name="mask")(x)
    return keras.Model(image, {"label": label, "mask": mask}, name="both")


def test_the_vector_among_several_outputs_is_the_default_and_others_are_named():
    scope = Scope(two_outputs())
    assert scope.focus(X, 1).output == "label"
    assert np.array_equal(scope.focus(X, 1).raw, scope.focus(X, 1, output="label").raw)
    with pytest.raises(InputError, match="one value per place"):
        scope.focus(X, 1, output="mask")
    with pytest.raises(InputError, match=r"named as the model does \(label, mask\); got 'masks'"):
        scope.focus(X, 1, output="masks")


def test_a_dense_output_is_explained_on_its_logits_by_a_function():
    model = two_outputs()
    heat = Scope(model).focus(X, lambda y: y[:, 2, 3, 1], "gradient", output="mask")
    conv, mask = model.get_layer("conv"), model.get_layer("mask")
    logits = np.asarray(ops.conv(conv(X), mask.kernel, 1, "valid") + mask.bias)
    np.testing.assert_allclose(heat.score, logits[:, 2, 3, 1], rtol=1e-4, atol=1e-5)
    assert heat.scale == "logit"
    rows, columns = np.nonzero(np.abs(heat.raw).max(0))
    assert rows.min() >= 1
    assert rows.max() <= 3
    assert columns.min() >= 2
    assert columns.max() <= 4


def test_a_function_has_its_name_and_a_nameless_one_is_a_function():
    def margin(y):
        return y[:, 0] - y[:, 1]

    scope = Scope(build(3, None))
    for target, name in (
        (margin, "margin"),
        (lambda y: y[:, 0], "a function"),
        (functools.partial(margin), "a function"),
        (1, ""),
        (None, ""),
    ):
        assert scope.focus(X, target, controls=False).function == name
    sheet = scope.decisive(X[:1], margin).document.sections[0]
    assert sheet.title == "The maps that decide: margin"
    assert "without which margin (a function of the logits) changes most" in sheet.parts[0].alt


def test_a_function_gets_all_outputs_where_none_is_named():
    scope = Scope(two_outputs())
    heat = scope.focus(X, lambda y: y["label"][:, 0] + y["mask"][:, 0, 0, 0], "gradient")
    alone = scope.focus(X, 0, "gradient").raw
    corner = scope.focus(X, lambda y: y[:, 0, 0, 0], "gradient", output="mask").raw
    np.testing.assert_allclose(heat.raw, alone + corner, atol=1e-6)
    assert heat.output == ""


def test_two_vectors_must_be_told_apart():
    image = keras.Input((6, 6, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))
    model = keras.Model(image, {"a": L.Dense(3)(x), "b": L.Dense(2)(x)})
    with pytest.raises(InputError, match="name it with output="):
        Scope(model).focus(X)
    assert Scope(model).focus(X, 1, output="b").classes.tolist() == [1] * 5


def test_the_same_question_traces_nothing_again():
    traced = TracedModel(build(4, "softmax"))

    def function(y):
        return y[:, 0]

    first = explained(traced), explained(traced, function)
    size = len(traced.trace.graph.get_operations())
    assert explained(traced, 3) is first[0]
    assert explained(traced, function) is first[1]
    assert len(traced.trace.graph.get_operations()) == size


@pytest.mark.parametrize(
    "function",
    [lambda _: None, lambda y: y, lambda y, _: y[:, 0], lambda y: y["x"], lambda _: 1 / 0],
    ids=["nothing", "several numbers", "two arguments", "no such output", "fails"],
)
def test_a_function_that_gives_no_number_per_image_is_refused_in_a_sentence(function):
    with pytest.raises(InputError, match="one number per image"):
        Scope(build(4, "softmax")).focus(X, function, "gradient")


def test_a_function_that_gives_nan_is_refused_with_the_image():
    with pytest.raises(InputError, match="gives NaN or infinity for 0: it gets logits"):
        Scope(build(4, "softmax")).focus(X, lambda y: tf.math.log(0 * y[:, 0] - 1), "gradient")
