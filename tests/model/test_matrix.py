"""Maps and gradients, other weights and edits, on every kind of model."""

from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from matrix import APPLICATIONS
from ready_models import Ready, ready

from layerscope.model.pooled import pooled_maps
from layerscope.model.trace import specs_of_arguments
from layerscope.model.traced import Edit, TracedModel, view
from layerscope.model.twin import untrained_twin

HALF = {"mixed_float16"}


def call(model, inputs):
    """The model's own answer, as a flat list of arrays."""
    functional = bool(getattr(model, "inputs", None))
    if isinstance(model, keras.Sequential):
        result = model(inputs[0], training=False)
    elif functional and isinstance(model.input, dict):
        inputs = dict(zip(model.input, inputs, strict=True))
        result = model(inputs, training=False)
    elif functional and isinstance(model.input, list):
        result = model(inputs, training=False)
    elif not functional and len(inputs) > 1:
        result = model(*inputs)
    else:
        result = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(t) for t in tf.nest.flatten(result)]


def outputs(traced, inputs, **changes):
    return [view(t) for t in traced.run(inputs, list(traced.outputs.values()), **changes)]


@cache
def _captured(name):
    case = ready(name)
    names = [tap.tensor for tap in case.traced.taps if tap.tensor] + list(
        case.traced.outputs.values()
    )
    found = case.traced.run(case.inputs, names)
    return {name: view(values) for name, values in zip(names, found, strict=True)}


def captured(kind):
    """Every map and output of a model by tensor name, from one pass."""
    return _captured(kind.case.name)


def close(name, a, b):
    # Ninety layers add up the rounding of kernels that differ between graphs.
    loose = 2e-2 if name in HALF else 1e-3 if name in APPLICATIONS else 1e-4
    a, b = np.asarray(a, "float32"), np.asarray(b, "float32")
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= loose * max(1e-3, np.abs(b).max())


def specs_of(kind):
    several = kind.case.name == "call_with_two_arguments"
    return specs_of_arguments(kind.model, kind.inputs) if several else None


def conv_taps(traced):
    return [tap for tap in traced.taps if tap.kind not in ("block", "other")]


def test_every_convolution_gives_one_finite_map_that_follows_the_image(kind: Ready):
    maps = captured(kind)
    taps = conv_taps(kind.traced)
    assert len(taps) == kind.case.taps
    for tap in taps:
        values = maps[tap.tensor]
        assert values.ndim == 4, tap.path
        assert values.dtype == np.float32, tap.path
        assert np.isfinite(values).all(), tap.path
        assert np.ptp(values) > 0, tap.path
        assert not np.array_equal(values[0], values[1]), tap.path


def test_the_traced_output_is_the_models_own(kind: Ready):
    maps, own = captured(kind), call(kind.model, kind.inputs)
    for tensor, values in zip(kind.traced.outputs.values(), own, strict=True):
        close(kind.case.name, maps[tensor], values)


def test_gradients_reach_every_tap(kind: Ready):
    def target(found):
        random = tf.random.stateless_normal
        return sum(
            tf.reduce_sum(tf.cast(t, tf.float32) * random(tf.shape(t), [1, 2]))
            for t in found.values()
        )

    taps = conv_taps(kind.traced)
    names = kind.traced.gradients("random", target, [tap.tensor for tap in taps])
    for tap, gradient in zip(taps, kind.traced.run(kind.inputs, names), strict=True):
        assert np.isfinite(view(gradient)).all(), tap.path
        assert np.abs(view(gradient)).max() > 0, tap.path


def test_maps_equal_those_of_a_plain_sub_model(kind: Ready):
    if not getattr(kind.model, "inputs", None) or any(
        "/" in tap.path or "@" in tap.path or " " in tap.output for tap in kind.traced.taps
    ):
        pytest.skip("Keras cannot build a sub-model here; see the tests that recompute")
    taps, maps = [tap for tap in kind.traced.taps if tap.tensor], captured(kind)
    sub = keras.Model(kind.model.inputs, [kind.model.get_layer(tap.output).output for tap in taps])
    for tap, own in zip(taps, call(sub, kind.inputs), strict=True):
        close(kind.case.name, maps[tap.tensor], own)


def test_maps_equal_those_computed_layer_by_layer(kind: Ready):
    if kind.case.expected is None:
        pytest.skip("compared with a sub-model, or recomputed from the layer before")
    expected = kind.case.expected(kind.model, kind.inputs)
    taps = {tap.path: tap for tap in kind.traced.taps}
    for path, own in expected.items():
        close(kind.case.name, captured(kind)[taps[path].tensor], own)


def test_a_layer_recomputed_from_the_captured_map_before_it_gives_its_captured_map(kind: Ready):
    calls = [
        c
        for c in kind.traced.trace.calls[1:]
        if isinstance(c.layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    if kind.case.name in APPLICATIONS:
        pytest.skip("compared with a sub-model")
    names = [name for c in calls for name in (c.inputs[0], c.outputs[0])]
    found = [view(t) for t in kind.traced.run(kind.inputs, names)] if names else []
    for c, before, after in zip(calls, found[::2], found[1::2], strict=True):
        close(kind.case.name, after, c.layer(before))


def test_other_weights_give_what_the_model_would_give_with_them(kind: Ready):
    before = [np.asarray(v) for v in kind.model.weights]
    random = np.random.default_rng(5)
    other = [
        tf.cast(w * (1 + 0.1 * random.standard_normal(w.shape).astype("float32") ** 2), w.dtype)
        for w in before
    ]
    ours = outputs(kind.traced, kind.inputs, weights=other)
    maps = captured(kind)
    plain = [maps[name] for name in kind.traced.outputs.values()]
    assert any(not np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))
    for kept, now in zip(before, kind.model.weights, strict=True):
        assert np.array_equal(kept, np.asarray(now)), "the model changed"
    try:
        for variable, value in zip(kind.model.weights, other, strict=True):
            variable.assign(value)
        own = call(kind.model, kind.inputs)
    finally:
        for variable, value in zip(kind.model.weights, before, strict=True):
            variable.assign(value)
    for a, b in zip(ours, own, strict=True):
        close(kind.case.name, a, b)


def test_switching_off_a_map_changes_the_output_and_putting_its_own_values_in_does_not(
    kind: Ready,
):
    maps = captured(kind)
    plain = [maps[name] for name in kind.traced.outputs.values()]
    taps = conv_taps(kind.traced)
    for tap in taps[len(taps) // 2 :][:1] if kind.case.name in APPLICATIONS else taps:
        values = maps[tap.tensor]
        channels = values.shape[-1]
        same = Edit(np.ones(channels, bool), values)
        for a, b in zip(
            outputs(kind.traced, kind.inputs, edits={tap.tensor: same}), plain, strict=True
        ):
            close(kind.case.name, a, b)
        off = Edit.channels(channels, range(channels), 7.0)
        changed = outputs(kind.traced, kind.inputs, edits={tap.tensor: off})
        assert any(not np.array_equal(a, b) for a, b in zip(changed, plain, strict=True)), tap.path


def test_the_untrained_twin_is_another_network_of_the_same_kind(kind: Ready):
    if kind.case.name in APPLICATIONS and kind.case.name != "MobileNetV2":
        pytest.skip("weights of the same layers as MobileNetV2; see the slow test")
    twin = untrained_twin(kind.traced, kind.inputs, seed=1)
    assert twin.kept == ()
    again = untrained_twin(kind.traced, kind.inputs, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(twin.weights, again.weights, strict=True))
    for values in outputs(kind.traced, kind.inputs, weights=twin.weights):
        assert np.isfinite(values).all()


def test_maps_pooled_in_the_graph_are_those_of_the_twin(kind: Ready):
    """Quarter by quarter; and of the model itself with BatchNorm fitted to the same images."""
    taps = [tap for tap in kind.traced.taps if tap.tensor][:4]
    twin = untrained_twin(kind.traced, kind.inputs, seed=1)
    maps = kind.traced.run(kind.inputs, [tap.tensor for tap in taps], weights=twin.weights)
    found = pooled_maps(kind.traced, taps, kind.inputs, seed=1)
    for tap, values in zip(taps, map(view, maps), strict=True):
        height, width = values.shape[1] // 2, values.shape[2] // 2
        if min(height, width):
            close(kind.case.name, found[tap.path][:, 0], values[:, :height, :width].mean((1, 2)))
        close(kind.case.name, found[tap.path][:, 3], values[:, height:, width:].mean((1, 2)))
        close(kind.case.name, found[tap.path][:, 4], values.mean((1, 2)))
    if not twin.estimated:
        own = pooled_maps(kind.traced, taps, kind.inputs)
        for tap in taps:
            close(kind.case.name, own[tap.path][:, 4], captured(kind)[tap.tensor].mean((1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_twin_of_a_large_network_keeps_no_weight(name):
    case = ready(name)
    twin = untrained_twin(case.traced, case.inputs, seed=1)
    assert twin.kept == ()
    for values in outputs(case.traced, case.inputs, weights=twin.weights):
        assert np.isfinite(values).all()


def test_the_model_is_left_as_found(kind: Ready):
    kind.model.compile(optimizer="sgd", loss="mse")
    layers = [kind.model, *kind.model.layers]
    before = [
        (dict(vars(layer)), layer.trainable, [np.asarray(w) for w in layer.weights])
        for layer in layers
    ]
    predicted = call(kind.model, kind.inputs)
    traced = TracedModel(kind.model, specs_of(kind))
    if kind.case.name not in APPLICATIONS:
        traced.run(kind.inputs, list(traced.outputs.values()))
    for layer, (attributes, trainable, weights) in zip(layers, before, strict=True):
        assert vars(layer).keys() == attributes.keys()
        assert "call" not in vars(layer)
        assert all(vars(layer)[key] is value for key, value in attributes.items() if key != "_lock")
        assert layer.trainable == trainable
        assert all(
            np.array_equal(a, np.asarray(b)) for a, b in zip(weights, layer.weights, strict=True)
        )
    assert kind.model.compiled
    for a, b in zip(call(kind.model, kind.inputs), predicted, strict=True):
        assert np.array_equal(a, b)
