"""Statistics of whole images given to others."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from layerscope.interventions.whole import CHANGES, MOST_GAIN


def images(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(0.3, 0.7, (count, 16, 16, 3)).astype(np.float32)


def test_colour_moves_the_median_to_the_donors():
    tinted = images(4, 1) * np.array([1.2, 0.8, 1.0], np.float32)
    made = CHANGES["colour"](images(4, 0), tinted)
    np.testing.assert_allclose(np.median(made, (1, 2)), np.median(tinted, (1, 2)), atol=0.02)


def test_contrast_moves_mean_and_deviation_to_the_donors():
    dull = 0.5 + 0.2 * (images(4, 1) - 0.5)
    made = CHANGES["contrast"](images(4, 0), dull)
    np.testing.assert_allclose(made.mean((1, 2)), dull.mean((1, 2)), atol=1e-3)
    np.testing.assert_allclose(made.std((1, 2)), dull.std((1, 2)), rtol=1e-2)


def test_the_spectrum_of_a_blurred_donor_blurs():
    sharp, blurred = images(4, 0), gaussian_filter(images(4, 1), (0, 1.5, 1.5, 0))
    made = CHANGES["spectrum"](sharp, blurred)
    detail = [np.abs(np.diff(x, axis=1)).mean() for x in (sharp, made, blurred)]
    assert detail[1] < 0.5 * detail[0]
    assert detail[1] == pytest.approx(detail[2], rel=0.6)
    np.testing.assert_allclose(made.mean((1, 2)), sharp.mean((1, 2)), atol=0.02)
    back = CHANGES["spectrum"](blurred, sharp)
    assert np.abs(back - back.mean((1, 2), keepdims=True)).max() <= 1
    gained = np.abs(np.fft.rfft2(back - 0.5, axes=(1, 2)))[:, 1:, 1:]
    assert (
        gained.max() <= (MOST_GAIN + 0.1) * np.abs(np.fft.rfft2(blurred - 0.5, axes=(1, 2))).max()
    )


@pytest.mark.parametrize("width", [1, 2])
def test_the_ring_comes_from_the_donor_and_the_rest_stays(width):
    own, other = images(3, 0), images(3, 1)
    made = CHANGES[f"ring-{width}"](own, other)
    inside = np.s_[:, width:-width, width:-width]
    assert np.array_equal(made[inside], own[inside])
    changed = np.ones(made.shape[1:3], bool)
    changed[width:-width, width:-width] = False
    assert np.array_equal(made[:, changed], other[:, changed])


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_donor_that_is_the_image_itself_changes_nothing(name):
    own = images(3, 0)
    np.testing.assert_allclose(CHANGES[name](own, own.copy()), own, atol=1e-4)


@pytest.mark.parametrize("name", list(CHANGES))
def test_no_value_leaves_the_range_of_the_images(name):
    dark, bright = images(3, 0) * 0.1, 0.9 + images(3, 1) * 0.1
    made = CHANGES[name](dark, bright)
    assert made.min() >= min(dark.min(), bright.min())
    assert made.max() <= max(dark.max(), bright.max())
