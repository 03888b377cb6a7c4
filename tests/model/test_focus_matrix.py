"""Attribution on every kind of model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import APPLICATIONS, CASES
from ready_models import Ready, ready

from layerscope.focus.contract import Job
from layerscope.focus.methods import METHODS
from layerscope.focus.places import image_of, place
from layerscope.focus.targets import Explained, explained, wanted
from layerscope.model.traced import TracedModel

FEW = {
    "integrated-gradients": {"steps": 4},
    "smoothgrad": {"samples": 3},
    "rise": {"masks": 8},
    "occlusion": {"stride": 8},
}
LAST = {
    "functional": "b",
    "nested": "top_conv",
    "subclassed": "two",
    "list_of_blocks_with_one_name": "block@3/add",
    "shared_layer": "shared@2",
    "kinds_of_convolution": "per_pixel",
    "residual_and_gate": "last",
}
LARGE = {
    "MobileNetV2": "Conv_1",
    "ResNet50": "conv5_block3_add",
    "VGG16": "block5_conv3",
    "DenseNet121": "relu",
    "InceptionV3": "mixed10",
    "EfficientNetV2B0": "top_conv",
}


EXACT = [name for name in CASES if name not in (*APPLICATIONS, "mixed_float16")]
"""Models in which rounding does not add up over many layers."""


def about(kind: Ready) -> Explained:
    return explained(kind.traced, 0)


def run(kind: Ready, name: str, inputs=None):
    method, what = METHODS[name], about(kind)
    tap = place(what, None) if "layer" in method.needs else None
    inputs = inputs or kind.inputs
    index = wanted(what, 0, None, len(inputs[0]))
    parameters = method.complete(FEW.get(name, {}))
    return method.run(Job(what, inputs, index, image_of(what, tap), tap, 5, 0, parameters))


def few(kind: Ready) -> list[str]:
    """All methods; for large networks those that do not take minutes."""
    if kind.case.name in APPLICATIONS:
        return ["gradient", "grad-cam", "hires-cam"]
    return list(METHODS)


def test_every_method_gives_finite_maps_that_are_the_same_for_an_image_alone(kind: Ready):
    single = [x[1:] for x in kind.inputs]
    exact = kind.case.name not in (*APPLICATIONS, "mixed_float16")
    for name in few(kind):
        together, alone = run(kind, name), run(kind, name, single)
        assert together.raw.ndim == 3, name
        assert np.isfinite(together.raw).all(), name
        size = np.abs(together.raw[1]).max()
        difference = np.abs(together.raw[1] - alone.raw[0]).max()
        # Ninety layers, or half precision, add up rounding that differs between batch sizes.
        assert difference <= (1e-5 if exact else 2e-2) * size + 1e-9, name


def test_the_score_is_the_output_before_its_activation(kind: Ready):
    what = about(kind)
    score = what.ask(kind.inputs, np.zeros(kind.case.batch, np.int64), [what.score])[0]
    name = what.output
    tensor = kind.traced.tensor(kind.traced.outputs[name])
    (output,) = what.ask(kind.inputs, np.zeros(kind.case.batch, np.int64), [tensor.name])
    assert what.scale == "logit"  # no case of the matrix ends in an activation
    np.testing.assert_allclose(score, output[:, 0], rtol=1e-5, atol=1e-6)


def test_the_default_layer_is_the_last_map_of_more_than_one_pixel(kind: Ready):
    tap = place(about(kind), None)
    height, width = kind.traced.tensor(tap.tensor).shape[1:3]
    assert (height, width) != (1, 1)
    if kind.case.name in LAST:
        assert tap.path == LAST[kind.case.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_default_layer_of_a_large_network_is_the_one_that_people_use(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(128, 128, 3), classes=5)
    assert place(explained(TracedModel(model)), None).path == LARGE[name]


@pytest.mark.parametrize("name", EXACT)
def test_gradients_equal_those_of_a_gradient_tape(name):
    kind = ready(name)
    model, what = kind.model, about(kind)
    tensors = [tf.convert_to_tensor(x) for x in kind.inputs]
    image = image_of(what)
    with tf.GradientTape() as tape:
        tape.watch(tensors[image])
        output = call(model, tensors)
        output = output["label"] if isinstance(output, dict) else output
        score = tf.reduce_sum(output[:, 0])
    expected = tf.reduce_sum(tape.gradient(score, tensors[image]), -1).numpy()
    found = run(kind, "gradient").raw
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def call(model, tensors):
    if isinstance(model, keras.Sequential) or len(tensors) == 1:
        return model(tensors[0], training=False)
    if not getattr(model, "inputs", None):
        return model(*tensors)
    if isinstance(model.input, dict):
        return model(dict(zip(model.input, tensors, strict=True)), training=False)
    return model(tensors, training=False)
