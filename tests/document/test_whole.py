import warnings

import numpy as np
import pytest
from sklearn.decomposition import NMF

from layerscope.document.whole import composite, factors


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mixtures(seed=0, parts=3, channels=20, side=16):
    return np.abs(noise(seed, 2, side, side, parts)) @ np.abs(noise(seed + 1, parts, channels))


@pytest.mark.parametrize("loudness", [1, 100])
def test_the_share_of_the_composite_counts_every_map_alike(loudness):
    maps = mixtures(parts=5) + 0.1 * noise(7, 2, 16, 16, 20)
    maps[..., 0] *= loudness
    cells = maps.reshape(-1, 20).astype(float)
    centred = cells - cells.mean(0)
    scores = np.linalg.svd(centred, full_matrices=False)[0][:, :3]
    explained = (scores.T @ centred) ** 2
    expected = (explained.sum(0) / (centred**2).sum(0)).mean()
    _, share = composite(maps)
    assert share == pytest.approx(expected, abs=1e-3)
    unit = centred / centred.std(0)
    bound = np.linalg.svd(unit, compute_uv=False) ** 2
    assert share <= bound[:3].sum() / bound.sum() + 1e-6


def test_a_layer_of_one_direction_is_grey_and_has_one_part():
    ramp = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    for maps in (ramp, ramp * np.float32([1, 2, -3])):
        rgb, share = composite(maps)
        assert share == pytest.approx(1)
        assert np.array_equal(rgb[..., 0], rgb[..., 1])
        assert np.array_equal(rgb[..., 0], rgb[..., 2])
        assert factors(maps).maps.shape[-1] == 1
    assert factors(np.maximum(ramp, 0) * np.float32([1, 2, 3])).maps.shape[-1] == 1


def test_composite_separates_regions_that_the_layer_separates():
    maps = np.zeros((1, 8, 8, 6), np.float32)
    maps[:, :, 4:, :3] = 1
    rgb, share = composite(maps)
    assert rgb.shape == (1, 8, 8, 3)
    assert share == pytest.approx(1)
    left, right = rgb[0, :, :4].reshape(-1, 3), rgb[0, :, 4:].reshape(-1, 3)
    assert len(np.unique(left, axis=0)) == len(np.unique(right, axis=0)) == 1
    assert np.abs(left[0].astype(int) - right[0]).max() == 255


def test_composite_is_bright_where_the_layer_is_strong():
    maps = np.zeros((1, 8, 8, 6), np.float32)
    maps[0, 2:4, 2:4] = 1
    rgb, _ = composite(maps)
    assert rgb[0, 2, 2, 0] == 255
    assert rgb[0, 0, 0, 0] == 0


def test_images_share_their_colours():
    maps = mixtures()
    twice, _ = composite(np.concatenate([maps[:1], maps[:1]]))
    assert np.array_equal(twice[0], twice[1])


@pytest.mark.parametrize("seed", range(4))
def test_factors_fit_about_as_well_as_scikit_learn(seed):
    maps = mixtures(seed, parts=6) + 0.3 * np.abs(noise(seed + 50, 2, 16, 16, 20))
    cells = maps.reshape(-1, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = NMF(4, init="nndsvda", max_iter=500, random_state=0).fit(cells)
    best = 1 - (oracle.reconstruction_err_ / np.linalg.norm(cells)) ** 2
    found = factors(maps, 4)
    assert found.kind == "NMF"
    assert found.share > best - 0.01
    assert found.maps.min() >= 0


def test_planted_parts_are_found():
    parts = np.zeros((1, 12, 12, 3), np.float32)
    parts[0, :4, :, 0] = parts[0, 4:8, :, 1] = parts[0, 8:, :, 2] = 1
    maps = parts @ np.abs(noise(1, 3, 30))
    found = factors(maps, 3)
    assert found.share > 0.999
    match = np.abs(np.corrcoef(parts.reshape(-1, 3).T, found.maps.reshape(-1, 3).T)[:3, 3:])
    assert match.max(0).min() > 0.95
    assert sorted(match.argmax(0)) == [0, 1, 2]


def test_signed_maps_get_principal_components():
    found = factors(noise(0, 1, 12, 12, 8), 4)
    assert found.kind == "PCA"
    assert found.maps.min() < 0 < found.maps.max()
    assert 0 < found.share < 1


def test_a_trace_below_zero_still_counts_as_non_negative():
    assert factors(np.maximum(noise(0, 1, 12, 12, 8), -0.05), 4).kind == "NMF"


def test_factors_come_strongest_first():
    found = factors(mixtures(parts=6), 4)
    energy = (found.maps**2).sum((0, 1, 2))
    assert np.all(np.diff(energy) <= 0)


def test_channels_that_are_not_finite_are_left_out():
    maps = mixtures()
    spoiled = np.concatenate([maps, np.full_like(maps[..., :2], np.nan)], axis=-1)
    spoiled[0, 0, 0, -1] = np.inf
    assert np.array_equal(composite(spoiled)[0], composite(maps)[0])
    assert np.array_equal(factors(spoiled).maps, factors(maps).maps)


@pytest.mark.parametrize("fill", [0.0, 3.0, np.nan])
def test_a_layer_in_which_nothing_varies_has_no_picture(fill):
    maps = np.full((1, 4, 4, 5), fill, np.float32)
    assert composite(maps)[1] == 0


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 2, 1, 1), (1, 3, 3, 2), (3, 1, 1, 64)])
def test_layers_with_hardly_any_cells_or_channels_do_not_fail(shape):
    maps = np.abs(noise(0, *shape))
    rgb, share = composite(maps)
    assert rgb.shape == (*shape[:3], 3)
    assert 0 <= share <= 1 + 1e-6
    assert np.isfinite(factors(maps).maps).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_maps_give_the_same_pictures(size):
    maps = mixtures()
    scaled = maps * np.float32(size)
    assert np.abs(composite(scaled)[0].astype(int) - composite(maps)[0]).max() <= 2
    assert factors(scaled).share == pytest.approx(factors(maps).share, abs=1e-3)
