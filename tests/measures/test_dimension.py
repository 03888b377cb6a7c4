import math

import numpy as np
import pytest

from layerscope.measures.dimension import effective_dimension, relative_dimension


def slow_dimension(samples):
    """From the singular values of the standardised samples."""
    z = (samples - samples.mean(0)) / samples.std(0)
    shares = np.linalg.svd(z, compute_uv=False) ** 2
    shares = [value / shares.sum() for value in shares]
    return math.exp(-sum(q * math.log(q) for q in shares if q > 1e-15))


def mixed(seed, factors, channels, samples=5000):
    """Channels that are mixtures of some independent factors of equal strength."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, factors)) @ rng.normal(size=(factors, channels))


@pytest.mark.parametrize(("samples", "channels"), [(50, 4), (500, 30), (20, 40)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_dimension_equals_its_formula(samples, channels, seed):
    values = mixed(seed, channels, channels, samples) * np.arange(1, channels + 1)
    found = effective_dimension(np.cov(values, rowvar=False))
    assert found == pytest.approx(slow_dimension(values), rel=1e-9)


@pytest.mark.parametrize("factors", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("seed", [0, 1])
def test_so_many_latent_factors_give_about_that_dimension(factors, seed):
    found = effective_dimension(np.cov(mixed(seed, factors, 192), rowvar=False))
    assert found == pytest.approx(factors, rel=0.1)


def test_independent_channels_have_full_dimension_and_copies_have_one():
    assert effective_dimension(np.diag([1, 100, 1e-6])) == pytest.approx(3)
    assert relative_dimension(np.diag([1, 100, 1e-6])) == pytest.approx(1)
    assert effective_dimension(np.ones((5, 5))) == pytest.approx(1)
    assert relative_dimension(np.ones((5, 5))) == pytest.approx(0.2)


def test_the_dimension_does_not_depend_on_the_scale_of_channels():
    covariance = np.cov(mixed(0, 5, 20), rowvar=False)
    scale = np.exp(np.random.default_rng(1).normal(size=20))
    scaled = effective_dimension(covariance * np.outer(scale, scale))
    assert scaled == pytest.approx(effective_dimension(covariance))


def test_constant_and_broken_channels_are_left_out():
    covariance = np.diag([1.0, 0, 2, np.nan, np.inf])
    covariance[3, :] = covariance[:, 3] = np.nan
    assert effective_dimension(covariance) == pytest.approx(2)
    assert relative_dimension(covariance) == pytest.approx(1)
    assert math.isnan(effective_dimension(np.zeros((3, 3))))
    assert math.isnan(relative_dimension(np.zeros((3, 3))))
