"""Layers against untrained twins and fresh kernels."""

import numpy as np
import pytest
from scipy.stats import kstest

from layerscope.measures.kernels import variance_entropy
from layerscope.run import nulls
from layerscope.run.nulls import Probe, against_twins
from layerscope.run.plan import Plan

LAYERS = ("a", "b", "c", "d")
IMAGES = [np.full((4, 4, 1), i, np.float32) for i in range(40)]
LABELS = np.arange(40) // 4 % 2


def plan(seed=0):
    return Plan("m", "d", "", "", LAYERS, 40, None, (), ("twin",), "", seed, {"x": "1"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))


def drawn(images, seed, factors=8, signal=0.0):
    """Maps (N, 5, 8) of so many factors; the whole also tells class 1."""
    random = np.random.default_rng((99 if seed is None else seed, factors))
    cells = random.normal(size=(len(images), 5, factors)) @ random.normal(size=(factors, 8))
    cells[:, 4] += signal * LABELS[images[:, 0, 0, 0].astype(int)][:, None]
    return cells.astype(np.float32)


def probe(learned=(), calls=None):
    """Every layer is a draw like its twins, but those named."""

    def pooled(images, seed):
        if calls is not None:
            calls.append(seed)
        found = {}
        for at, path in enumerate(LAYERS):
            own = path in learned and seed is None
            shift = None if seed is None else seed + 1000 * at
            found[path] = drawn(images, shift or 7000 + at, 1 if own else 8, 5.0 if own else 0.0)
        return found

    def fresh(path, seed):
        return np.random.default_rng(seed).normal(size=(3, 3, 10, 20))

    return Probe(pooled, fresh)


KERNELS = {
    "a": np.random.default_rng(5).normal(size=(3, 3, 10, 20)),
    "b": np.random.default_rng(6).normal(size=(3, 3, 1, 2)) @ np.ones((2, 20)),
    "c": np.ones((1, 1, 10, 20)),
}
SIGNED = dict.fromkeys(LAYERS, True)


def compared(**options):
    return against_twins(probe(**options), KERNELS, SIGNED, IMAGES, LABELS, plan()).set_index(
        "layer"
    )


def test_a_layer_that_differs_is_told_from_its_twins_and_the_others_are_not():
    found = compared(learned=("b",))
    assert found["dimension_low_p"]["b"] == found["dimension_low_p"].min() <= 0.01
    assert found["class_signal_high_p"]["b"] <= 0.01
    assert (found["dimension_p"].drop("b") > 0.01).all()
    assert found["probe_dimension"]["b"] == pytest.approx(1, abs=0.01)


def test_kernels_are_compared_with_fresh_ones_where_they_can_be():
    found = compared()
    assert found["entropy_low_p"]["a"] > 0.01
    assert np.isnan(found["entropy_low_p"][["b", "c", "d"]]).all()  # 40 kernels; 1x1; no kernel
    fresh = [np.random.default_rng((0, b)).normal(size=(3, 3, 10, 20)) for b in range(99)]
    assert found["probe_entropy"]["a"] == pytest.approx(variance_entropy(KERNELS["a"]))
    assert found["twin_entropy"]["a"] == pytest.approx(
        np.mean([variance_entropy(k) for k in fresh])
    )


def test_the_images_are_evenly_spread_and_of_one_size():
    seen = []

    def pooled(images, seed):
        seen.append(images)
        return {path: drawn(images, seed) for path in LAYERS}

    images, labels = [*IMAGES, np.zeros((5, 4, 1), np.float32)], np.append(LABELS, 0)
    against_twins(Probe(pooled, probe().fresh_kernel), {}, SIGNED, images, labels, plan())
    places = seen[0][:, 0, 0, 0].astype(int)
    assert len(places) == nulls.PROBE
    assert places[0] == 0
    assert places[-1] == 39
    assert np.diff(places).max() == 2


def test_a_second_audit_of_the_same_model_does_not_pay_again():
    calls = []
    first = compared(calls=calls)
    paid = len(calls)
    second = compared(calls=calls)
    assert len(calls) == paid == 1 + nulls.MOST_TWINS
    np.testing.assert_array_equal(first.to_numpy(float), second.to_numpy(float))
    other = against_twins(probe(calls=calls), KERNELS, SIGNED, IMAGES, 1 - LABELS, plan())
    assert len(calls) == 2 * paid
    assert len(other) == len(LAYERS)


def test_p_values_of_untrained_layers_are_uniform():
    p = []
    for seed in range(12):

        def pooled(images, twin, seed=seed):
            at = 500_000 + seed if twin is None else twin
            return {path: drawn(images, 10_000 * i + at) for i, path in enumerate(LAYERS)}

        found = against_twins(Probe(pooled, probe().fresh_kernel), {}, SIGNED, IMAGES, LABELS,
                              plan(1000 * seed))  # fmt: skip
        p += found["dimension_p"].tolist()
    assert kstest(p, "uniform").pvalue > 0.01
