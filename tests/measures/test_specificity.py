import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from layerscope.measures.specificity import (
    REFERENCES,
    area_average,
    full_references,
    luminance,
    references,
    specificity,
    unit_references,
)


def slow_area_average(image, size):
    """One new pixel after the other, by the overlap of areas; (h, w) to size."""
    h, w = image.shape
    new = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            top, bottom = i * h / size[0], (i + 1) * h / size[0]
            left, right = j * w / size[1], (j + 1) * w / size[1]
            area = total = 0.0
            for y in range(h):
                for x in range(w):
                    tall = max(0, min(bottom, y + 1) - max(top, y))
                    wide = max(0, min(right, x + 1) - max(left, x))
                    area += tall * wide
                    total += tall * wide * image[y, x]
            new[i, j] = total / area
    return new


def slow_specificity(a, own, other):
    """Of one map, by the formula."""

    def largest(phi):
        return max(
            abs(np.corrcoef(a.ravel(), phi[..., k].ravel())[0, 1]) for k in range(phi.shape[-1])
        )

    return largest(own) - largest(other)


def of(maps, own, other):
    return specificity(maps, unit_references(own), unit_references(other))


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def photos(seed, count, size=48):
    """Coloured blobs on coloured ground, 0..255."""
    blobs = gaussian_filter(noise(seed, count, size, size, 3), (0, 3, 3, 0))
    blobs /= blobs.std((1, 2), keepdims=True)
    return np.clip(128 + 50 * blobs, 0, 255).astype(np.float32)


def early_maps(images, size):
    """What a first layer might see: a clean map for each reference, with a little noise."""
    maps = references(images, size)
    maps = maps / maps.std((1, 2), keepdims=True) * [1, 1, -1, 1, -1, 1]
    return (maps + 0.3 * noise(99, *maps.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("old", "new"), [((8, 8), (4, 4)), ((9, 7), (4, 3)), ((5, 6), (5, 6)), ((3, 4), (7, 5))]
)
def test_the_area_average_equals_its_definition(old, new):
    images = noise(0, 2, *old, 3)
    found = area_average(images, new)
    for n in range(2):
        for k in range(3):
            expected = slow_area_average(images[n, ..., k], new)
            np.testing.assert_allclose(found[n, ..., k], expected, atol=1e-5)


def test_the_references_are_light_edges_and_colour():
    x = np.mgrid[:32, :32][1]
    ramp = np.stack([4.0 * x, 4 * x, 4 * x], -1)
    red_side = np.zeros((32, 32, 3)) + np.where(x < 16, 200, 0)[..., None] * [1, 0, 0]
    found = full_references(np.stack([ramp, red_side]).astype(np.uint8))
    np.testing.assert_allclose(found[0, ..., 0], 4 * x, atol=1e-3)
    np.testing.assert_allclose(found[0, 14:18, 14:18, 1:4], 4, rtol=0.02)
    assert (found[0, ..., 4:] == 0).all()
    fine, medium, coarse = found[1, 16, :, 1:4].T
    assert fine.argmax() in (15, 16)
    assert fine.max() > medium.max() > coarse.max()
    assert found[1, 0, 0, 4:].tolist() == [200, -100]
    green = full_references(np.full((1, 4, 4, 3), [0, 100, 0]))
    assert green[0, 0, 0, 4:].tolist() == [-100, -50]


def test_luminance_weighs_the_colours_as_the_eye_does():
    assert luminance(np.eye(3, dtype=np.uint8) * 100).tolist() == pytest.approx([29.9, 58.7, 11.4])


@pytest.mark.parametrize("size", [(6, 6), (5, 9), (16, 16)])
@pytest.mark.parametrize("seed", [0, 1])
def test_specificity_equals_its_formula(size, seed):
    own, other = noise(seed, 3, *size, 6), noise(seed + 5, 3, *size, 6)
    maps = 10 + noise(seed + 9, 3, *size, 4) + own[..., :4]
    found = of(maps, own, other)
    for n in range(3):
        for c in range(4):
            expected = slow_specificity(maps[n, ..., c], own[n], other[n])
            assert found.value[n, c] == pytest.approx(expected, abs=1e-4)


def test_each_kind_of_map_is_named_by_the_reference_that_it_follows():
    images = photos(0, 6)
    own, other = references(images, (24, 24)), references(photos(50, 6), (24, 24))
    found = of(early_maps(images, (24, 24)), own, other)
    assert (found.reference == np.arange(len(REFERENCES))).mean() > 0.8
    assert (found.own > 0.9).all()
    assert (found.value.mean(0) > 0.3).all()


def test_channels_with_swapped_maps_lose_their_specificity_and_no_others_do():
    images = photos(1, 12)
    own = references(images, (16, 16))
    other = np.roll(own, 5, 0)
    maps = early_maps(images, (16, 16))
    swapped = [1, 4]
    maps[..., swapped] = np.roll(maps[..., swapped], 1, 0)
    value = of(maps, own, other).value.mean(0)
    assert np.flatnonzero(value < 0.2).tolist() == swapped


def test_flat_references_resemble_nothing_and_constant_maps_are_undefined():
    grey = np.repeat(photos(2, 2)[..., :1], 3, -1)
    own = references(grey, (12, 12))
    maps = noise(0, 2, 12, 12, 3)
    maps[..., 1] = 0.1
    maps[1, 0, 0, 2] = np.nan
    found = of(maps, own, own)
    assert np.isfinite(found.value[:, 0]).all()
    assert (found.reference[:, 0] < 4).all()
    assert np.isnan(found.value[:, 1]).all()
    assert found.reference[:, 1].tolist() == [-1, -1]
    assert np.isnan(found.value[1, 2])
    own[..., 5] = 1e-4 * maps[..., 0]
    assert (of(maps, own, own).reference[:, 0] < 4).all()
    nothing = of(maps, np.full_like(own, 7), np.full_like(own, 7))
    assert (nothing.own[:, 0] == 0).all()
