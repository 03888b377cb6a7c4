"""Intervals of means over images."""

import numpy as np
import pytest
from scipy.stats import binomtest

from layerscope.measures.intervals import FEWEST, interval, resampled_means, wilson


def test_resampled_means_are_means_of_images_drawn_with_replacement():
    rows = np.random.default_rng(0).normal(size=(9, 4))
    rows[2, 1] = np.nan
    rows[:, 3] = np.nan
    found = resampled_means(rows, draws=50, seed=3)
    random = np.random.default_rng(3)
    for draw in found:
        counts = random.multinomial(9, np.full(9, 1 / 9))
        chosen = np.repeat(np.arange(9), counts)
        for channel in range(3):
            values = rows[chosen, channel]
            values = values[np.isfinite(values)]
            expected = sum(values) / len(values)
            assert draw[channel] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(found[:, 3]).all()


@pytest.mark.parametrize("images", [20, 200])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(images):
    rows = np.random.default_rng(1).exponential(2.0, size=(images, 1500))
    low, high = interval(rows)
    covered = ((low <= 2) & (high >= 2)).mean()
    assert 0.87 <= covered <= 0.97
    assert (high - low).mean() == pytest.approx(2 * 1.96 * 2 / np.sqrt(images), rel=0.12)


def test_the_lead_over_noise_counts_the_doubt_about_both():
    random = np.random.default_rng(2)
    own, noise = random.normal(0.5, 0.1, (100, 300)), random.normal(0.2, 0.3, (32, 300))
    low, high = interval(own, noise)
    assert ((low <= 0.3) & (high >= 0.3)).mean() >= 0.88
    narrow_low, narrow_high = interval(own)
    assert (high - low).mean() > 2 * (narrow_high - narrow_low).mean()


def test_crops_of_one_photo_do_not_count_as_independent():
    random = np.random.default_rng(3)
    photos = random.normal(size=(10, 200))
    crops = np.repeat(photos, 8, axis=0) + 0.01 * random.normal(size=(80, 200))
    of_photo = np.repeat(np.arange(10), 8)
    alone = np.subtract(*interval(crops)[::-1]).mean()
    together = np.subtract(*interval(crops, groups=of_photo)[::-1]).mean()
    assert together == pytest.approx(alone * np.sqrt(8), rel=0.15)


def test_too_few_images_say_nothing():
    rows = np.random.default_rng(4).normal(size=(FEWEST, 2))
    rows[0, 1] = np.nan
    low, high = interval(rows)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()
    assert np.isnan(interval(np.zeros((0, 2)))).all()
    crops = np.random.default_rng(5).normal(size=(40, 2))
    assert np.isnan(interval(crops, groups=np.arange(40) % 5)[0]).all()


def test_the_wilson_interval_is_that_of_scipy_and_stays_between_0_and_1():
    for count in (1, 3, 10, 14, 97, 5000):
        for hits in {0, 1, count // 3, count - 1, count}:
            found = binomtest(hits, count).proportion_ci(0.95, method="wilson")
            low, high = wilson(hits, count)
            assert (low, high) == pytest.approx((found.low, found.high), abs=1e-12)
            assert low >= 0
            assert high <= 1
