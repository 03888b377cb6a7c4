import numpy as np
import pytest

from layerscope.measures.noise import BLOCK, QUIET, noise_share


def slow(one):
    """Pixel by pixel, as the formula is written, without the factor for white noise."""
    a = one.astype(np.float64)
    height, width = a.shape
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    side = min(BLOCK, height - 2, width - 2)
    blocks = []
    for top in range(1, height - side, side):
        for left in range(1, width - side, side):
            squares = [
                np.sum(mask * a[y - 1 : y + 2, x - 1 : x + 2]) ** 2 / 36
                for y in range(top, top + side)
                for x in range(left, left + side)
            ]
            blocks.append(np.mean(squares))
    return np.sort(blocks)[int(QUIET * len(blocks))] / a.var()


def waves(height, width, seed=0):
    """A smooth map of variance 1."""
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    one = np.sin(2 * np.pi * y / height + phase[0]) + np.cos(4 * np.pi * x / width + phase[1])
    return (one / one.std()).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(17, 23), (9, 30), (4, 4), (3, 12)])
def test_it_is_the_formula_up_to_one_factor_per_size(height, width):
    random = np.random.default_rng(height)
    maps = (waves(height, width)[..., None] + random.normal(0, 0.5, (height, width, 5)))[None]
    found = noise_share(maps.astype(np.float32))[0]
    expected = np.array([slow(maps[0, ..., c]) for c in range(5)])
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-4)


@pytest.mark.parametrize("side", [14, 28, 56, 112])
def test_white_noise_is_1_and_noise_on_a_smooth_map_its_share_of_the_variance(side):
    random = np.random.default_rng(0)
    noise = random.standard_normal((8, side, side, 40), np.float32)
    smooth = waves(side, side)[None, ..., None]
    shares = [noise_share(smooth + noise / np.sqrt(snr)).mean() for snr in (4, 1, 0.25)]
    assert noise_share(noise).mean() == pytest.approx(1, abs=0.04)
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.8], atol=0.03)
    assert noise_share(smooth).max() < 0.01


def test_a_rough_texture_in_one_half_is_not_noise():
    """Moran's I of such a map is near 0, as that of noise."""
    maps = np.random.default_rng(0).standard_normal((1, 56, 56, 30), np.float32)
    maps[:, :, :28] = 0
    assert noise_share(maps).max() == 0


def test_it_does_not_depend_on_scale_offset_or_the_other_maps():
    maps = np.random.default_rng(0).standard_normal((3, 12, 15, 4), np.float32)
    found = noise_share(maps)
    np.testing.assert_allclose(noise_share(maps * 1000 - 70), found, rtol=1e-3)
    np.testing.assert_array_equal(noise_share(maps[1:2, ..., 2:3]), found[1:2, 2:3])


def test_what_is_constant_broken_or_tiny_has_none():
    maps = np.random.default_rng(0).standard_normal((1, 8, 8, 4), np.float32)
    maps[..., 0] = 5
    maps[0, 3, 3, 1] = np.nan
    maps[0, 3, 3, 2] = np.inf
    assert np.isnan(noise_share(maps)[0]).tolist() == [True, True, True, False]
    assert np.isnan(noise_share(maps[:, :2])).all()
