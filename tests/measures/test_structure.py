import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from layerscope.measures.structure import (
    blur_ratio,
    high_frequency_share,
    morans_i,
    spectral_flatness,
    spectrum,
    structure_index,
)

SHAPES = [(1, 2), (1, 7), (2, 2), (3, 5), (6, 4), (8, 8), (9, 16)]


def slow_morans_i(a):
    """The formula with its full matrix of weights."""
    h, w = a.shape
    z = a.astype(np.float64) - a.mean(dtype=np.float64)
    places = [(i, j) for i in range(h) for j in range(w)]
    total = weights = 0.0
    for i, j in places:
        for k, m in places:
            if abs(i - k) + abs(j - m) == 1:
                weights += 1
                total += z[i, j] * z[k, m]
    return h * w / weights * total / (z**2).sum()


def slow_power(a):
    """Frequency -> power, from the definition of the transform."""
    h, w = a.shape
    y, x = np.mgrid[:h, :w]
    window = (np.sin(np.pi * (y + 0.5) / h) * np.sin(np.pi * (x + 0.5) / w)) ** 2
    z = window * (a.astype(np.float64) - np.average(a, weights=window))
    power = {}
    for u in range(h):
        for v in range(w):
            fy, fx = (u / h if u <= h / 2 else u / h - 1), (v / w if v <= w / 2 else v / w - 1)
            power[fy, fx] = abs((z * np.exp(-2j * np.pi * (fy * y + fx * x))).sum()) ** 2
    del power[0, 0]
    return power


def sums(maps):
    z = maps - maps.mean((1, 2), keepdims=True, dtype=np.float64)
    down = (z[:, 1:] * z[:, :-1]).sum((1, 2))
    right = (z[:, :, 1:] * z[:, :, :-1]).sum((1, 2))
    return (z**2).sum((1, 2)), down + right


def index(maps):
    return morans_i(*sums(maps), *maps.shape[1:3], maps.mean((1, 2)))


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def smooth(seed, *shape, sigma=2.0):
    """Maps of blobs with mean 0 and variance 1."""
    maps = gaussian_filter(noise(seed, *shape), (0, sigma, sigma, 0), mode="wrap")
    maps -= maps.mean((1, 2), keepdims=True)
    return maps / maps.std((1, 2), keepdims=True)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_morans_i_equals_its_formula(size, seed):
    maps = noise(seed, 2, *size, 3) + np.arange(size[1])[:, None]
    expected = [[slow_morans_i(maps[n, ..., c]) for c in range(3)] for n in range(2)]
    np.testing.assert_allclose(index(maps), expected, rtol=1e-5, atol=1e-6)


def test_morans_i_of_a_checkerboard_a_ramp_and_noise():
    y, x = np.mgrid[:32, :32]
    maps = np.stack([(y + x) % 2, y + x, noise(0, 32, 32)], -1)[None].astype(np.float32)
    checkers, ramp, random = index(maps)[0]
    assert checkers == pytest.approx(-1)
    assert ramp > 0.95
    assert abs(random) < 0.1


@pytest.mark.parametrize("size", SHAPES)
def test_morans_i_stays_in_its_stated_range(size):
    """Its extremes are those of the eigenvalues of the centred weights."""
    h, w = size
    y, x = np.divmod(np.arange(h * w), w)
    weights = (abs(y[:, None] - y) + abs(x[:, None] - x) == 1).astype(float)
    centring = np.eye(h * w) - 1 / (h * w)
    _, vectors = np.linalg.eigh(centring @ weights @ centring)
    maps = vectors.reshape(1, h, w, -1)
    reached = index(maps)
    assert np.nanmin(reached) >= -1.083
    assert np.nanmax(reached) <= 1.05


def test_morans_i_is_undefined_for_constant_maps_and_single_pixels():
    assert np.isnan(morans_i(np.zeros((2, 3)), np.zeros((2, 3)), 5, 5)).all()
    assert np.isnan(morans_i(np.ones((2, 3)), np.full((2, 3), np.nan), 1, 1)).all()
    rounding = (1000 + 1e-4 * smooth(0, 1, 8, 8, 2)).astype(np.float64)
    assert np.isnan(index(rounding)).all()


def test_the_structure_index_falls_along_the_noise_ladder_and_tells_snr_1():
    clean = smooth(0, 4, 24, 24, 40)
    floor = index(smooth(9, 6, 24, 24, 40, sigma=0.5))
    ladder = [0, 1 / 4, 1, 4]  # variance of the noise over that of the map
    found = [
        structure_index(index(clean + np.sqrt(r) * noise(5, *clean.shape)), floor).mean(0)
        for r in ladder
    ]
    found.append(structure_index(index(noise(6, *clean.shape)), floor).mean(0))
    assert all((above > below).all() for above, below in pairwise(found))
    snr_1 = found[2]
    truth = np.repeat([1, 0], 40)
    assert roc_auc_score(truth, np.concatenate([found[0], snr_1])) >= 0.95
    assert (found[0] < snr_1.max()).mean() <= 0.05


def test_the_structure_index_takes_off_the_mean_of_the_known_noise():
    own = np.array([[0.9, 0.5, 0.7], [0.7, np.nan, 0.7]])
    floor = np.array([[0.2, 0.1, np.nan], [0.4, np.nan, np.nan], [np.nan] * 3])
    expected = [[0.6, 0.4, np.nan], [0.4, np.nan, np.nan]]
    np.testing.assert_allclose(structure_index(own, floor), expected)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_spectrum_equals_its_formula(size, seed):
    maps = noise(seed, 2, *size, 3) + np.arange(size[1])[:, None] ** 2
    found = spectrum(maps)
    for n in range(2):
        for c in range(3):
            power = slow_power(maps[n, ..., c])
            values = np.array(list(power.values()))
            flatness = np.exp(np.log(np.maximum(values, 1e-12 * values.mean())).mean())
            high = sum(p for f, p in power.items() if math.hypot(*f) > 0.35)
            assert found.flatness[n, c] == pytest.approx(flatness / values.mean(), rel=1e-3)
            assert found.high[n, c] == pytest.approx(high / values.sum(), rel=1e-4)


def test_white_noise_has_the_stated_flatness_and_share_of_high_frequencies():
    maps = noise(0, 2, 64, 64, 50)
    assert spectral_flatness(maps).mean() == pytest.approx(math.exp(-np.euler_gamma), abs=0.005)
    assert high_frequency_share(maps).mean() == pytest.approx(1 - math.pi * 0.35**2, abs=0.01)


def test_the_ends_of_the_spectrum():
    y, x = np.mgrid[:16, :16]
    point = (y == 7) & (x == 7)
    wave = np.cos(2 * np.pi * 2 * x / 16)
    found = spectrum(np.stack([point, wave, (y + x) % 2], -1)[None].astype(np.float32))
    np.testing.assert_allclose(found.flatness[0], [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(found.high[0, 1:], [0, 1], atol=1e-3)


def test_the_spectrum_does_not_depend_on_scale():
    maps = smooth(3, 2, 16, 16, 4) + 0.01 * noise(4, 2, 16, 16, 4)
    for scale in (1e-25, 1e25):
        np.testing.assert_allclose(
            spectral_flatness(np.float32(scale) * maps), spectral_flatness(maps), rtol=1e-3
        )


def test_the_spectrum_is_undefined_where_nothing_varies_or_values_are_lost():
    maps = noise(0, 1, 8, 8, 5)
    maps[..., 1] = 3
    maps[..., 2] = 1000 + 1e-4 * maps[..., 2]
    maps[0, 2, 2, 3] = np.nan
    maps[0, 2, 2, 4] = np.inf
    found = spectrum(maps)
    assert np.isnan(found.flatness[0]).tolist() == [False, True, True, True, True]
    assert np.isnan(found.high[0]).tolist() == [False, True, True, True, True]
    assert np.isnan(spectrum(noise(0, 2, 1, 1, 3)).flatness).all()


def test_blur_lowers_the_ratio_step_by_step_and_noise_raises_it():
    luma = smooth(1, 3, 32, 32, 1, sigma=0.8)
    ratios = []
    for sigma in (0, 0.4, 0.6, 1, 1.5):
        blurred = gaussian_filter(luma, (0, sigma, sigma, 0), mode="reflect")
        ratios.append(blur_ratio(high_frequency_share(blurred), luma[..., 0]))
    assert ratios[0] == pytest.approx(1)
    assert all((sharp > soft).all() for sharp, soft in pairwise(ratios))
    gone = gaussian_filter(luma, (0, 4, 4, 0), mode="reflect")
    assert (blur_ratio(high_frequency_share(gone), luma[..., 0]) < 1e-3).all()
    assert (blur_ratio(high_frequency_share(noise(2, *luma.shape)), luma[..., 0]) > 1).all()


def test_the_blur_ratio_is_undefined_beside_a_flat_image():
    high = high_frequency_share(noise(0, 1, 8, 8, 2))
    assert np.isnan(blur_ratio(high, np.full((1, 8, 8), 7, np.float32))).all()


def test_the_blur_ratio_is_undefined_where_maps_have_no_high_frequencies():
    maps = noise(0, 1, 1, 3, 2)
    assert np.isnan(blur_ratio(high_frequency_share(maps), maps[..., 0])).all()
