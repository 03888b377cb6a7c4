import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from layerscope.measures.artefacts import checkerboard, kept_on_noise, positional_share


def slow_checkerboard(mean, stride):
    """From the Fourier transform of the mean map."""
    h, w = (side // stride * stride for side in mean.shape)
    power = np.abs(np.fft.fft2(mean[:h, :w].astype(np.float64))) ** 2
    power[0, 0] = 0
    return power[:: h // stride, :: w // stride].sum() / power.sum()


def slow_share(maps, border):
    """B over all pixels, then the two parts, position by position."""
    n, h, w = maps.shape
    mean = [[sum(maps[x, i, j] for x in range(n)) / n for j in range(w)] for i in range(h)]
    inside = [
        (i, j)
        for i in range(h)
        for j in range(w)
        if border <= i < h - border and border <= j < w - border
    ]
    edge = [(i, j) for i in range(h) for j in range(w) if (i, j) not in inside]
    total = np.var(maps)
    level = np.mean([mean[i][j] for i, j in inside])
    return (
        np.var(mean) / total,
        np.mean([(mean[i][j] - level) ** 2 for i, j in edge]) / total,
        np.mean([(mean[i][j] - level) ** 2 for i, j in inside]) / total,
    )


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def upsampled(kernel, images=60, size=16, channels=4):
    """The mean map of a transposed convolution of stride 2 with equal weights, without edges."""
    total = np.zeros((2 * size, 2 * size, channels))
    for c in range(channels):
        for x in range(images):
            spread = np.zeros((2 * size, 2 * size))
            spread[::2, ::2] = 1 + gaussian_filter(noise(100 * c + x, size, size), 1)
            total[..., c] += convolve2d(spread, np.ones((kernel, kernel)), mode="same")
    return (total / images)[4:-4, 4:-4]


@pytest.mark.parametrize(
    ("size", "stride"), [((8, 8), 2), ((9, 13), 2), ((12, 7), 3), ((16, 9), 4)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_checkerboard_measure_equals_the_share_of_energy(size, stride, seed):
    mean = noise(seed, *size, 3) + 2 * (np.arange(size[1]) % stride == 0)[:, None]
    expected = [slow_checkerboard(mean[..., c], stride) for c in range(3)]
    np.testing.assert_allclose(checkerboard(mean, stride), expected, rtol=1e-9)


def test_uneven_overlap_of_kernels_shows_and_even_overlap_does_not():
    uneven, even = checkerboard(upsampled(3), 2), checkerboard(upsampled(4), 2)
    assert (uneven > 0.8).all()
    assert (even < 0.1).all()


def test_noise_has_the_stated_share_and_a_pure_pattern_all():
    chance = checkerboard(noise(0, 16, 16, 4000), 2).mean()
    assert chance == pytest.approx(3 / 255, rel=0.05)
    y, x = np.mgrid[:8, :8]
    assert checkerboard(((y + x) % 2.0)[..., None], 2) == pytest.approx(1)


def test_the_checkerboard_measure_is_undefined_without_a_period_or_variation():
    assert np.isnan(checkerboard(noise(0, 8, 8, 2), 1)).all()
    assert np.isnan(checkerboard(noise(0, 3, 8, 2), 2)).all()
    assert np.isnan(checkerboard(np.full((8, 8, 2), 0.1) + 1e-12 * noise(0, 8, 8, 2), 2)).all()


@pytest.mark.parametrize(("size", "border"), [((6, 6), 1), ((5, 9), 2), ((3, 4), 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_positional_share_equals_its_formula(size, border, seed):
    maps = 3 + noise(seed, 4, *size, 2) + np.arange(size[0])[:, None, None]
    found = positional_share(maps.mean(0), maps.var((0, 1, 2)), border)
    expected = np.array([slow_share(maps[..., c], border) for c in range(2)]).T
    for part, values in zip(("whole", "border", "interior"), expected, strict=True):
        np.testing.assert_allclose(getattr(found, part), values, rtol=1e-9)


def test_a_constant_in_a_corner_shows_at_the_border_of_that_channel_only():
    maps = noise(0, 200, 14, 14, 6)
    maps[:, 0, 0, 2] += 20
    found = positional_share(maps.mean(0), maps.var((0, 1, 2)))
    others = [0, 1, 3, 4, 5]
    assert found.border[2] > 10 * found.border[others].max()
    assert found.whole[2] > 10 * found.whole[others].max()
    assert found.interior[2] < 2 * found.interior[others].max()


def test_one_image_repeated_is_all_position_and_independent_images_leave_one_over_n():
    same = np.repeat(noise(0, 1, 10, 10, 3), 5, 0)
    assert positional_share(same.mean(0), same.var((0, 1, 2))).whole == pytest.approx(1)
    free = noise(1, 50, 20, 20, 30)
    found = positional_share(free.mean(0), free.var((0, 1, 2)))
    for part in (found.whole, found.border, found.interior):
        assert part.mean() == pytest.approx(1 / 50, rel=0.1)


def test_the_positional_share_is_undefined_for_constants_and_without_an_interior():
    constant = positional_share(np.full((6, 6, 1), 0.1), np.full(1, 1e-20))
    assert np.isnan([constant.whole, constant.border, constant.interior]).all()
    small = positional_share(noise(0, 2, 2, 3), np.ones(3))
    assert np.isfinite(small.whole).all()
    assert np.isnan([small.border, small.interior]).all()


def test_what_is_kept_on_noise_is_the_covariance_with_the_mean_map_there():
    random = np.random.default_rng(0)
    maps = random.normal(3, 1, (5, 6, 7, 4)).astype(np.float32)
    mean = random.normal(-2, 1, (6, 7, 4)).astype(np.float32)
    expected = [[np.cov(a[..., c].ravel(), mean[..., c].ravel(), bias=True)[0, 1] for c in range(4)]
                for a in maps.astype(np.float64)]  # fmt: skip
    np.testing.assert_allclose(kept_on_noise(maps, mean), expected, atol=1e-6)


def test_a_constant_in_a_corner_is_kept_and_a_centred_object_is_not():
    random = np.random.default_rng(1)
    photos, noise = (random.standard_normal((n, 16, 16, 2), np.float32) for n in (200, 32))
    photos[:, 4:12, 4:12, 0] += 2  # what all photos show in their centre
    for maps in (photos, noise):
        maps[:, :4, :4, 1] += 2  # what the layer does by itself
    share = kept_on_noise(photos, noise.mean(0)).mean(0) / photos.var((0, 1, 2))
    assert abs(share[0]) < 0.02
    assert share[1] == pytest.approx(0.19, abs=0.03)
