"""High-passed, normalised windows and the search of a template, against slow formulas."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from layerscope.leakage.windows import Bank, faintest, high_passed, unit_windows


def correlation(a, b, faint=0.0):
    """Pearson's correlation with the mean of each channel taken off, float64."""
    a, b = (x.astype(np.float64) - x.mean((0, 1), dtype=np.float64) for x in (a, b))
    length = np.sqrt((b**2).sum() + b.size * faint**2)
    return (a * b).sum() / np.sqrt((a**2).sum()) / length


@pytest.mark.parametrize("shape", [(2, 17, 23, 3), (3, 20, 16, 1)])
@pytest.mark.parametrize("size", [(5, 5), (4, 7)])
def test_the_search_of_a_template_gives_the_correlation_with_every_window(shape, size):
    random = np.random.default_rng(sum(shape))
    fine = random.normal(size=shape).astype(np.float32)
    template = random.normal(size=(*size, shape[-1])).astype(np.float32)
    found = Bank.of(fine, 0.05).correlation(template)
    assert found.shape == (shape[0], shape[1] - size[0] + 1, shape[2] - size[1] + 1)
    for image, y, x in np.ndindex(*found.shape):
        window = fine[image, y : y + size[0], x : x + size[1]]
        assert found[image, y, x] == pytest.approx(correlation(template, window, 0.05), abs=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_product_of_two_windows_is_their_correlation(scale):
    fine = np.random.default_rng(1).normal(size=(2, 18, 18, 2)).astype(np.float32)
    found = unit_windows(fine, 4, 3, 1e-6, scale)
    reach = 3 * scale + 1
    for y, x in np.ndindex(found.shape[1:3]):
        cut = np.s_[3 * y : 3 * y + reach : scale, 3 * x : 3 * x + reach : scale]
        product = found[0, y, x] @ found[1, y, x]
        assert product == pytest.approx(correlation(fine[0][cut], fine[1][cut]), abs=1e-5)


def test_flat_and_faint_windows_correlate_with_nothing():
    images = np.zeros((2, 20, 20, 1), np.float32)
    images[:, :, 10:] = 200  # an edge, beside parts with the rounding of a camera
    images += np.random.default_rng(2).choice([-0.5, 0.5], images.shape)
    faint = faintest(images)
    assert faint == pytest.approx(2, rel=0.02)
    windows = unit_windows(high_passed(images), 5, 1, faint)
    lengths = np.linalg.norm(windows, axis=-1)
    assert (lengths[:, :, :2] == 0).all()
    assert (lengths[:, :, 8] > 0.95).all()
    assert np.isfinite(windows).all()


def test_high_passing_takes_a_gaussian_of_one_pixel_off():
    image = np.random.default_rng(3).uniform(size=(1, 12, 12, 1))
    smooth = gaussian_filter(image[0, :, :, 0], 1, mode="nearest", truncate=3)
    np.testing.assert_allclose(
        high_passed(image)[0, :, :, 0], image[0, :, :, 0] - smooth, atol=1e-6
    )


def test_a_coarse_high_pass_is_that_of_the_reduced_image():
    image = np.random.default_rng(4).normal(size=(1, 64, 64, 1))
    coarse = high_passed(image, 2)
    means = image.reshape(1, 32, 2, 32, 2, 1).mean((2, 4))
    # A box of two pixels ends at odd places: these hold the means of the blocks.
    pairs = coarse[:, 1::2, 1::2][:, 4:-4, 4:-4], high_passed(means)[:, 4:-4, 4:-4]
    assert np.corrcoef(*(pair.ravel() for pair in pairs))[0, 1] > 0.97
    assert pairs[0].std() == pytest.approx(pairs[1].std(), rel=0.1)
