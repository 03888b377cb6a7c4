"""Each family of statistics against what numpy says about all maps at once, in float64."""

import numpy as np
import pytest

from layerscope.statistics.cells import Cells
from layerscope.statistics.contract import MapBatch
from layerscope.statistics.exemplars import NOBODY, Exemplars
from layerscope.statistics.moments import Moments, Positions
from layerscope.statistics.vitality import Vitality
from layerscope.testing.laws import laws

COUNT, SHAPE = 23, (6, 5, 4)


def some_maps(seed: int = 0) -> np.ndarray:
    """Channel 0 dead, 1 saturates at 6, 2 far from 0, 3 signed; image 7 has a NaN in channel 3."""
    random = np.random.default_rng(seed)
    maps = random.standard_normal((COUNT, *SHAPE)).astype(np.float32)
    maps[..., 0] = 0
    maps[..., 1] = np.clip(8 * maps[..., 1], 0, 6)
    maps[..., 2] += 1e4
    maps[7, 2, 3, 3] = np.nan
    return maps


def state_of(statistic, maps, sampled, size=5):
    state = statistic.empty(maps.shape[1:])
    for at in range(0, len(maps), size):
        part = slice(at, at + size)
        positions = np.arange(len(maps))[part]
        state = statistic.update(state, MapBatch(maps[part], positions, sampled[part], ceiling=6))
    return state


@pytest.fixture
def sampled() -> np.ndarray:
    return np.arange(COUNT) % 3 > 0


def test_vitality_counts_every_image(sampled):
    maps = some_maps()
    found = Vitality().finish(state_of(Vitality(), maps, sampled))
    finite = np.isfinite(maps).all((1, 2))
    clean = np.where(finite[:, None, None], maps, np.nan)
    assert found["images"].tolist() == [COUNT] * 4
    assert found["finite"].tolist() == [COUNT] * 3 + [COUNT - 1]
    assert (
        found["fired"].tolist() == (finite & (np.nan_to_num(clean).max((1, 2)) > 0)).sum(0).tolist()
    )
    assert found["pixels"].tolist() == (finite.sum(0) * 30).tolist()
    assert found["positive"].tolist() == (clean > 0).sum((0, 1, 2)).tolist()
    assert found["saturated"].tolist() == (np.abs(clean) >= 0.99 * 6).sum((0, 1, 2)).tolist()
    np.testing.assert_array_equal(found["maximum"], np.nanmax(clean, (0, 1, 2)))
    np.testing.assert_array_equal(found["minimum"], np.nanmin(clean, (0, 1, 2)))


def test_moments_are_those_of_the_sampled_images_also_far_from_zero(sampled):
    maps = some_maps()
    found = Moments().finish(state_of(Moments(), maps, sampled))
    finite = np.isfinite(maps).all((1, 2)) & sampled[:, None]
    clean = np.where(finite[:, None, None], maps.astype(np.float64), np.nan)
    np.testing.assert_array_equal(found["count"], finite.sum(0) * 30)
    np.testing.assert_allclose(found["mean"], np.nanmean(clean, (0, 1, 2)), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["variance"], np.nanvar(clean, (0, 1, 2)), rtol=1e-4)


def test_the_mean_map_is_that_of_the_sampled_images(sampled):
    maps = some_maps()
    found = Positions().finish(state_of(Positions(), maps, sampled))
    finite = np.isfinite(maps).all((1, 2)) & sampled[:, None]
    clean = np.where(finite[:, None, None], maps.astype(np.float64), np.nan)
    np.testing.assert_array_equal(found["images"], finite.sum(0))
    np.testing.assert_allclose(found["mean"], np.nanmean(clean, 0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pending", [4, 1024, None])
def test_the_covariance_is_that_of_the_cells_folded_or_not(sampled, pending):
    maps = some_maps()
    statistic = Cells(pending=pending)
    found = statistic.finish(state_of(statistic, maps, sampled))
    whole = maps[sampled & np.isfinite(maps).all((1, 2, 3))].astype(np.float64)
    quadrants = [(slice(0, 3), slice(0, 2)), (slice(0, 3), slice(2, 5))]
    quadrants += [(slice(3, 6), slice(0, 2)), (slice(3, 6), slice(2, 5))]
    cells = np.concatenate([whole[:, a, b].mean((1, 2)) for a, b in quadrants])
    assert found["cells"] == len(cells)
    np.testing.assert_allclose(
        found["covariance"], np.cov(cells.T, bias=True), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("most", [3, 50])
def test_exemplars_are_the_ends_of_a_full_sort_with_ties_by_place(sampled, most):
    maps = some_maps()  # channels 0 and 1 are full of ties
    statistic = Exemplars(most)
    found = statistic.finish(state_of(statistic, maps, sampled))
    for channel in range(4):
        scores = [
            (float(a.max()), place)
            for place, a in enumerate(maps[..., channel])
            if np.isfinite(a).all()
        ]
        for end, order in (("top", -1), ("bottom", 1)):
            expected = sorted(scores, key=lambda pair: (order * pair[0], pair[1]))[:most]
            places = [place for _, place in expected]
            images = found[f"{end}_image"][:, channel]
            assert images[: len(places)].tolist() == places
            assert (images[len(places) :] == NOBODY).all()
            for rank, place in enumerate(places):
                at = np.unravel_index(maps[place, ..., channel].argmax(), SHAPE[:2])
                assert found[f"{end}_row"][rank, channel] == at[0]
                assert found[f"{end}_column"][rank, channel] == at[1]


@pytest.mark.parametrize("most", [3, 50])
def test_images_that_follow_are_chosen_as_if_nobody_had_been_there_before(sampled, most):
    maps = some_maps()
    statistic, places = Exemplars(most), np.arange(len(maps))
    halves = places < len(maps) // 2, places >= len(maps) // 2
    first, last = (MapBatch(maps[half], places[half], sampled[half], 6) for half in halves)
    before = statistic.update(statistic.empty(SHAPE), first)
    alone = statistic.update(statistic.empty(SHAPE), last)
    after = statistic.update(statistic.after(before), last)
    if most == 3:  # those that are outdone are left out, also those as good as the last
        assert (after["top_image"] == NOBODY).sum() > (alone["top_image"] == NOBODY).sum()
    found, expected = (statistic.merge(before, state) for state in (after, alone))
    assert found.keys() == expected.keys()
    assert all(found[key].tobytes() == expected[key].tobytes() for key in expected)


@pytest.mark.parametrize("statistic", [Vitality(), Moments(), Positions(), Cells(), Exemplars()])
def test_two_halves_merge_into_the_whole_and_stay_as_they_are(statistic, sampled):
    maps = some_maps()
    halves = []
    for part in (slice(0, 10), slice(10, None)):
        state = statistic.empty(SHAPE)
        places = np.arange(COUNT)[part]
        halves.append(statistic.update(state, MapBatch(maps[part], places, sampled[part], 6)))
    before = [{key: array.copy() for key, array in half.items()} for half in halves]
    merged = statistic.finish(statistic.merge(*halves))
    whole = statistic.finish(state_of(statistic, maps, sampled))
    for key, array in whole.items():
        np.testing.assert_allclose(merged[key], array, rtol=1e-5, atol=1e-5, err_msg=key)
    for half, old in zip(halves, before, strict=True):
        for key, array in old.items():
            np.testing.assert_array_equal(half[key], array)


LAWS = [
    pytest.param(statistic, law, id=f"{statistic.name}: {law}")
    for statistic in (Vitality(), Moments(), Positions(), Cells(), Cells(pending=8), Exemplars())
    for shape in ((6, 5, 5), (1, 1, 1))
    for law in laws(statistic, shape, undefined=("top_score", "bottom_score"))
]


@pytest.mark.parametrize(("statistic", "law"), LAWS)
def test_every_statistic_obeys_the_laws(statistic, law):
    law()
