import math

import numpy as np
import pytest

from layerscope.measures.kernels import kernel_ratio, random_threshold, variance_entropy


def slow_entropy(kernel):
    """The formula with a singular value decomposition of the list of kernels."""
    inputs, outputs = kernel.shape[2:]
    rows = [kernel[:, :, i, o].ravel() for i in range(inputs) for o in range(outputs)]
    matrix = np.array(rows, np.float64)
    s = np.linalg.svd(matrix - matrix.mean(0), compute_uv=False)
    p = [value**2 / (s**2).sum() for value in s]
    return -sum(q * math.log10(q) for q in p if q > 0)


def random_kernels(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def trained_like(seed, inputs, outputs, patterns=4):
    """Kernels mixed from few patterns of unequal strength, with a little noise."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(9, patterns)))[0]
    weights = rng.normal(size=(patterns, inputs * outputs)) / np.arange(1, patterns + 1)[:, None]
    kernels = basis @ weights + 0.05 * rng.normal(size=(9, inputs * outputs))
    return kernels.reshape(3, 3, inputs, outputs).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3, 4, 25), (3, 3, 120, 1), (5, 5, 8, 8), (1, 3, 5, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_variance_entropy_equals_its_formula(shape, seed):
    kernel = random_kernels(seed, *shape) + 3
    kernel[0] *= 2
    assert variance_entropy(kernel) == pytest.approx(slow_entropy(kernel), rel=1e-9)


def test_the_ends_of_the_variance_entropy():
    pattern, strengths = random_kernels(0, 3, 3, 1, 1), random_kernels(1, 1, 1, 10, 20)
    assert variance_entropy(pattern * strengths) == pytest.approx(0, abs=1e-9)
    assert variance_entropy(random_kernels(2, 3, 3, 300, 300)) == pytest.approx(
        math.log10(9), abs=1e-3
    )


def test_the_threshold_has_the_published_values():
    assert random_threshold(2**30) == pytest.approx(1.2618047 - 0.31050834)
    at_middle = 2**2.30436435
    assert random_threshold(at_middle) == pytest.approx(1.2618047 / 2 - 0.31050834)
    assert random_threshold(100) == pytest.approx(
        1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(100) - 2.30436435))) - 0.31050834
    )


@pytest.mark.parametrize("shape", [(10, 10), (144, 1), (16, 32), (64, 128), (256, 256)])
def test_random_kernels_reach_the_threshold_and_trained_like_ones_do_not(shape):
    for seed in range(5):
        random = random_kernels(seed, 3, 3, *shape)
        assert kernel_ratio(random) > 0.985
        assert kernel_ratio(0.01 * random) == pytest.approx(kernel_ratio(random))
        assert kernel_ratio(trained_like(seed, *shape)) < 0.9


def test_a_layer_set_back_to_random_values_is_the_only_one_found():
    layers = [trained_like(seed, 32, 32) for seed in range(8)]
    layers[5] = random_kernels(9, 3, 3, 32, 32)
    assert [place for place, kernel in enumerate(layers) if kernel_ratio(kernel) > 0.985] == [5]


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (5, 5, 64, 64), (3, 1, 64, 64), (3, 3, 9, 11)])
def test_other_kernels_and_few_kernels_are_not_tested(shape):
    assert math.isnan(kernel_ratio(random_kernels(0, *shape)))


def test_equal_and_broken_kernels_have_no_entropy():
    equal = np.tile(random_kernels(0, 3, 3, 1, 1), (1, 1, 10, 11))
    assert math.isnan(variance_entropy(0 * equal))
    broken = random_kernels(1, 3, 3, 10, 10)
    broken[0, 0, 0, 0] = np.nan
    assert math.isnan(kernel_ratio(broken))
    assert math.isnan(kernel_ratio(equal))
