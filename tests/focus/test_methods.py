"""Every method against a slow oracle of its formula, and against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from focus_nets import COLOURS, SIDE, images, logits, maps, scope, slope, tail

from layerscope.errors import InputError
from layerscope.focus.methods import METHODS, method_named
from layerscope.scope import Scope

L = keras.layers
TARGET = 2


def by_image(x):
    return slope(lambda batch: logits(batch)[:, TARGET], x)


def by_maps(a):
    return slope(lambda batch: tail(batch)[:, TARGET], a)


def gradient(x):
    return by_image(x).sum(-1)


def gradient_x_input(x):
    return (by_image(x) * x).sum(-1)


def integrated_gradients(x, steps=64):
    total = np.zeros(x.shape)
    for step in range(steps + 1):
        weight = 0.5 if step in (0, steps) else 1.0
        total += weight / steps * by_image(step / steps * x)
    return (total * x).sum(-1)


def smoothgrad(x):
    total = np.zeros(x.shape)
    for sample in range(25):
        noise = np.random.default_rng((0, sample)).standard_normal(x.shape, np.float32)
        total += by_image(x + 0.15 * np.ptp(x) * noise) / 25
    return total.sum(-1)


def grad_cam(x):
    a = maps(x[None])[0]
    g = by_maps(a)
    return np.maximum(sum(g[..., k].mean() * a[..., k] for k in range(a.shape[-1])), 0)


def grad_cam_plus_plus(x):
    a = maps(x[None])[0]
    g = by_maps(a)
    total = 0
    for k in range(a.shape[-1]):
        alpha = g[..., k] ** 2 / (2 * g[..., k] ** 2 + a[..., k].sum() * g[..., k] ** 3)
        alpha = alpha / alpha.sum()
        total = total + (alpha * np.maximum(g[..., k], 0)).sum() * a[..., k]
    return np.maximum(total, 0)


def hires_cam(x):
    a = maps(x[None])[0]
    return (by_maps(a) * a).sum(-1)


def layer_cam(x):
    a = maps(x[None])[0]
    return np.maximum((np.maximum(by_maps(a), 0) * a).sum(-1), 0)


def score_cam(x):
    a = maps(x[None])[0]
    scores = []
    for k in range(a.shape[-1]):
        mask = (a[..., k] - a[..., k].min()) / (a[..., k].max() - a[..., k].min())
        large = tf.image.resize(mask[..., None], (SIDE, SIDE)).numpy()
        scores.append(logits((x * large)[None])[0, TARGET])
    weights = np.exp(scores) / np.exp(scores).sum()
    return np.maximum(a @ weights, 0)


def ablation_cam(x):
    a = maps(x[None])
    whole = tail(a)[0, TARGET]
    total = 0
    for k in range(a.shape[-1]):
        without = a.copy()
        without[..., k] = 0
        total = total + (whole - tail(without)[0, TARGET]) * a[0, ..., k]
    return np.maximum(total, 0)


def occlusion(x):
    falls = np.zeros((4, 4))
    for row in range(4):
        for column in range(4):
            covered = x.copy()
            # A patch of 4 x 4 around the centre of each cell of 2 x 2.
            part = (
                slice(max(0, 2 * row - 1), 2 * row + 3),
                slice(max(0, 2 * column - 1), 2 * column + 3),
            )
            covered[part] = x.mean((0, 1))
            falls[row, column] = (logits(x[None]) - logits(covered[None]))[0, TARGET]
    return falls


def rise(x):
    random = np.random.default_rng(0)
    grids = random.random((60, 3, 3), np.float32) < 0.5
    shifts = random.integers(0, 3, (60, 2))
    masks = []
    for grid, (top, left) in zip(grids, shifts, strict=True):
        large = tf.image.resize(np.float32(grid)[..., None], (12, 12)).numpy()
        masks.append(large[top : top + SIDE, left : left + SIDE, 0])
    masks = np.array(masks)
    scores = np.array([logits((x * mask[..., None])[None])[0, TARGET] for mask in masks])
    shown = (scores[:, None, None] * masks).sum(0) / masks.sum(0)
    return shown - scores.mean()


ORACLES = {
    "gradient": (gradient, {}),
    "gradient-x-input": (gradient_x_input, {}),
    "integrated-gradients": (integrated_gradients, {}),
    "smoothgrad": (smoothgrad, {}),
    "grad-cam": (grad_cam, {}),
    "grad-cam++": (grad_cam_plus_plus, {}),
    "hires-cam": (hires_cam, {}),
    "layer-cam": (layer_cam, {}),
    "score-cam": (score_cam, {}),
    "ablation-cam": (ablation_cam, {}),
    "occlusion": (occlusion, {"patch": 4, "stride": 2}),
    "rise": (rise, {"masks": 60, "cells": 3}),
}


def test_every_method_has_an_oracle():
    assert ORACLES.keys() == METHODS.keys()


@pytest.mark.parametrize("name", ORACLES)
def test_a_method_equals_its_formula(name):
    oracle, parameters = ORACLES[name]
    x = images()
    heat = scope().focus(x, TARGET, name, batch_size=7, **parameters)
    expected = np.array([oracle(one) for one in x])
    assert heat.raw.dtype == np.float32
    np.testing.assert_allclose(heat.raw, expected, atol=3e-5 * np.abs(expected).max())
    assert (expected < 0).any() <= METHODS[name].signed


@pytest.mark.parametrize("name", ORACLES)
def test_an_image_gives_the_same_alone_and_in_a_batch(name):
    parameters = ORACLES[name][1]
    x = images(5)
    together = scope().focus(x, method=name, **parameters).raw
    for size in (1, 2):
        apart = scope().focus(x, method=name, batch_size=size, **parameters).raw
        assert np.abs(apart - together).max() <= 1e-5 * np.abs(together).max()
    alone = scope().focus(x[3:4], method=name, **parameters).raw[0]
    assert np.abs(alone - together[3]).max() <= 1e-5 * np.abs(together[3]).max()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("integrated-gradients", {}),
        ("smoothgrad", {"noise": 0.9}),
        ("score-cam", {}),
        ("ablation-cam", {}),
        ("occlusion", {"patch": 8}),
        ("rise", {"masks": 20}),
    ],
)
def test_the_class_predicted_for_an_image_is_explained_in_its_changed_versions(name, parameters):
    model, random = cam_net(), np.random.default_rng(1)
    x = random.normal(0, 1, (12, 9, 7, 3)).astype("float32")
    dense = model.get_layer("head")
    values = keras.ops.mean(model.get_layer("maps")(x), (1, 2)) @ dense.kernel
    dense.bias.assign(-keras.ops.mean(values, 0))  # so that no class always wins
    classes = np.asarray(model(x)).argmax(1)
    assert set(classes) == {0, 1, 2}
    predicted = Scope(model).focus(x, None, name, **parameters)
    asked = Scope(model).focus(x, classes.tolist(), name, **parameters)
    assert np.array_equal(predicted.classes, classes)
    assert np.array_equal(predicted.raw, asked.raw)


def cam_net():
    keras.utils.set_random_seed(5)
    image = keras.Input((9, 7, 3))
    x = L.Conv2D(4, 3, name="maps", activation="relu")(image)
    x = L.Dense(3, name="head", activation="softmax")(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, x)


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "ablation-cam"])
def test_behind_an_average_the_weights_of_the_dense_layer_weigh_the_maps(method):
    model, random = cam_net(), np.random.default_rng(1)
    x = random.uniform(0, 1, (4, 9, 7, 3)).astype("float32")
    heat = Scope(model).focus(x, 1, method, relu=True)
    a = np.asarray(model.get_layer("maps")(x), np.float64)
    kernel = np.asarray(model.get_layer("head").kernel, np.float64)[:, 1]
    # Without a map, the score falls by weight times the mean of the map.
    weights = kernel * a.mean((1, 2)) if method == "ablation-cam" else kernel[None] / (7 * 5)
    expected = np.maximum((a * weights[:, None, None]).sum(-1), 0)
    np.testing.assert_allclose(heat.raw, expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert not heat.empty.any()


def test_gradient_x_input_and_integrated_gradients_are_exact_on_a_linear_net():
    keras.utils.set_random_seed(5)
    image = keras.Input((6, 5, 3))
    x = L.Dense(4, name="head")(L.Flatten()(L.Conv2D(3, 2, name="conv")(image)))
    model = keras.Model(image, x)
    x = np.random.default_rng(1).normal(0, 1, (3, 6, 5, 3)).astype("float32")
    eye = np.eye(90, dtype="float32").reshape(90, 6, 5, 3)
    matrix = (model(eye) - model(np.zeros_like(eye[:1]))).numpy()[:, 2].reshape(6, 5, 3)
    for method in ("gradient-x-input", "integrated-gradients"):
        heat = Scope(model).focus(x, 2, method)
        np.testing.assert_allclose(heat.raw, (x * matrix).sum(-1), rtol=1e-4, atol=1e-5)
    assert heat.gap.max() < 1e-5


def test_integrated_gradients_sum_to_the_change_and_the_gap_falls_with_the_steps():
    x = images(8, seed=3) * 4 - 2
    change = (logits(x) - logits(np.zeros_like(x[:1])))[:, TARGET]
    gaps = []
    for steps in (2, 8, 64):
        heat = scope().focus(x, TARGET, "integrated-gradients", steps=steps)
        sums = heat.raw.sum((1, 2))
        np.testing.assert_allclose(heat.gap, np.abs(sums / change - 1), rtol=0.02, atol=2e-5)
        gaps.append(np.median(heat.gap))
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]
    assert gaps[2] < 0.01
    assert f"gap {gaps[2]:.2%}" in repr(heat)


def test_the_sum_over_colours_can_be_replaced_by_a_size_without_sign():
    x = images()
    raw = np.array([by_image(one) for one in x])
    largest = scope().focus(x, TARGET, "gradient", reduction="max")
    norm = scope().focus(x, TARGET, "gradient", reduction="norm")
    np.testing.assert_allclose(largest.raw, np.abs(raw).max(-1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(norm.raw, np.sqrt((raw**2).sum(-1)), rtol=1e-3, atol=1e-6)
    assert (largest.reduction, norm.reduction) == ("max", "norm")


def test_a_baseline_may_be_a_number_a_colour_or_an_image():
    x = images()
    seen = []
    for baseline in (0.5, [0.5] * COLOURS, np.full((SIDE, SIDE, COLOURS), 0.5), "mean"):
        seen.append(scope().focus(x, TARGET, "integrated-gradients", baseline=baseline))
    for heat in seen[1:3]:
        assert np.array_equal(heat.raw, seen[0].raw)
    assert not np.allclose(seen[3].raw, seen[0].raw)
    assert [heat.baseline for heat in seen] == [
        "0.5",
        "array of shape (2,)",
        "array of shape (8, 8, 2)",
        "mean colour of the image",
    ]
    with pytest.raises(InputError, match=r"A baseline fits images of shape \(8, 8, 2\)"):
        scope().focus(x, TARGET, "integrated-gradients", baseline=[1.0, 2.0, 3.0])


def test_random_methods_follow_the_seed_and_say_so():
    x = images(1)
    for method, parameters in (("smoothgrad", {}), ("rise", {"masks": 20})):
        one, other = (
            Scope(scope().model, seed=seed).focus(x, method=method, **parameters) for seed in (0, 1)
        )
        again = scope().focus(x, method=method, **parameters)
        assert np.array_equal(one.raw, again.raw)
        assert not np.allclose(one.raw, other.raw)
        assert (one.seed, other.seed) == (0, 1)
    assert scope().focus(x).seed is None


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_parameter_is_refused_with_those_that_exist(name):
    with pytest.raises(
        InputError, match=f"The parameters of {name.replace('+', '.')} are .*nonsense"
    ):
        scope().focus(images(1), method=name, nonsense=1)


@pytest.mark.parametrize(
    ("method", "parameters", "words"),
    [
        ("integrated-gradients", {"steps": 0}, "steps of integrated-gradients is a whole number"),
        ("integrated-gradients", {"baseline": "grey"}, "or 'mean' for the mean colour"),
        ("integrated-gradients", {"baseline": float("nan")}, "or 'mean' for the mean colour"),
        ("smoothgrad", {"noise": 2.0}, "noise of smoothgrad is a number between 0 and 1"),
        ("gradient", {"reduction": "mean"}, "one of sum, max, norm"),
        ("grad-cam", {"relu": 3}, "relu of grad-cam is True or False"),
        ("occlusion", {"patch": 2.5}, "or None for an eighth of the shorter side"),
        ("occlusion", {"patch": 9}, r"patch is at most the longer side .* 8 pixels .*; got 9"),
        ("occlusion", {"stride": 9}, r"stride is at most .*\(8 × 8\); got 9"),
        (
            "occlusion",
            {"size": 9},
            "stride=None, baseline=mean .these are the defaults",
        ),
        ("grad-cm", {}, "Did you mean 'grad-cam'"),
        ("occlusion", {"layer": "last"}, "takes no layer"),
    ],
)
def test_what_a_method_cannot_take_is_refused(method, parameters, words):
    with pytest.raises(InputError, match=words):
        scope().focus(images(1), method=method, **parameters)


def test_names_of_methods_are_found_however_they_are_written():
    assert method_named("Grad_CAM++").name == "grad-cam++"
    assert method_named("GradCAM").name == "grad-cam"
    assert method_named("Integrated Gradients").name == "integrated-gradients"
