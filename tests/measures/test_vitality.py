import math

import numpy as np
import pytest

from layerscope.measures.vitality import (
    constant,
    firing_rate,
    flat,
    most_it_fires,
    relative_range,
    saturated_share,
)


def relu_layer(bias, images=40, channels=30, seed=0):
    """Maps after a ReLU, each channel shifted by its bias."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(images, 6, 6, channels)) + bias, 0).astype(np.float32)


def test_channels_pushed_below_zero_are_found_dead_and_no_others():
    bias = np.zeros(30)
    bias[[3, 7, 20]] = -1e3
    maps = relu_layer(bias)
    rate = firing_rate((maps > 0).any((1, 2)).sum(0), len(maps))
    assert np.flatnonzero(rate == 0).tolist() == [3, 7, 20]
    assert np.flatnonzero(constant(maps.min((0, 1, 2)), maps.max((0, 1, 2)))).tolist() == [3, 7, 20]


def test_the_firing_rate_counts_images():
    rates = firing_rate(np.array([0, 5, 10]), np.array([10, 10, 10]))
    assert rates.tolist() == [0, 0.5, 1]
    assert firing_rate(np.array([0, 4]), np.array([0, 8])).tolist()[1] == 0.5
    assert np.isnan(firing_rate(np.array([0]), 0)).all()


@pytest.mark.parametrize("images", [1, 2, 10, 50, 512, 100_000])
def test_a_channel_that_fires_at_the_bound_stays_silent_with_a_chance_of_5_percent(images):
    bound = float(most_it_fires(images))
    assert (1 - bound) ** images == pytest.approx(0.05)
    if images >= 50:
        assert bound == pytest.approx(3 / images, rel=0.035)


def test_nothing_is_known_without_images():
    assert most_it_fires(np.array([0, 1])).tolist() == [1, pytest.approx(0.95)]


def test_the_range_is_measured_against_the_layers_typical_one():
    low, high = np.array([0, -1, 0, 5, np.nan]), np.array([1, 1, 300, 5, np.nan])
    shares = relative_range(low, high)
    assert shares[:4].tolist() == [0.5, 1, 150, 0]
    assert math.isnan(shares[4])
    assert constant(low, high).tolist() == [False, False, False, True, False]


def test_a_signed_channel_of_tiny_range_is_constant_wherever_it_lies():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(20, 8, 8, 12)).astype(np.float32)
    maps[..., 4] *= 1e-5
    maps[..., 9] = 7 + 1e-6 * maps[..., 9]
    found = constant(maps.min((0, 1, 2)), maps.max((0, 1, 2)))
    assert np.flatnonzero(found).tolist() == [4, 9]


def test_a_layer_of_equal_constants_is_constant_and_a_quiet_layer_is_not():
    assert constant(np.full(3, 2.0), np.full(3, 2.0)).all()
    assert not constant(np.full(3, -1e-9), np.full(3, 1e-9)).any()


def test_flat_means_the_same_when_maps_are_chosen():
    low = np.array([0, 0, 1, 1, -1e-9, -5], np.float32)
    high = np.array([0, 1e-9, 1 + 5e-7, 1.001, 1e-9, -5], np.float32)
    assert flat(low, high).tolist() == [True, False, True, False, False, True]


def test_the_saturated_share_counts_pixels():
    maps = np.minimum(relu_layer(np.linspace(0, 60, 30)), 6)
    share = saturated_share((maps >= 0.99 * 6).sum((0, 1, 2)), maps[..., 0].size)
    assert share[0] == 0
    assert share[-1] == 1
    assert (np.diff(share) >= 0).all()
