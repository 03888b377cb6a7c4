from itertools import combinations

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.selection import MOST_PIXELS, select


def explained_variance(maps, channels, ridge=1e-6):
    """EV by the formula, all at once, for maps without constant channels."""
    R = np.corrcoef(maps.reshape(-1, maps.shape[-1]).astype(np.float64), rowvar=False)
    S = list(channels)
    inner = np.linalg.inv(R[np.ix_(S, S)] + ridge * np.eye(len(S)))
    return np.trace(R[:, S] @ inner @ R[S, :]) / len(R)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def planted(factors, channels, seed=0, jitter=0.0):
    """Maps that are mixtures of a few latent maps."""
    latent = noise(seed, 2, 20, 20, factors)
    maps = latent @ noise(seed + 1, factors, channels)
    return maps + jitter * noise(seed + 2, *maps.shape)


@pytest.mark.parametrize(("pixels", "channels"), [(20, 24), (4, 40)])
@pytest.mark.parametrize("seed", [0, 1])
def test_coverage_and_curve_equal_the_formula(pixels, channels, seed):
    maps = noise(seed, 1, pixels, pixels, channels) + 2 * noise(seed + 9, 1, pixels, pixels, 1)
    chosen = select(maps, most=7, enough=None)
    assert len(chosen.channels) == 7
    assert chosen.coverage == pytest.approx(explained_variance(maps, chosen.channels), abs=1e-9)
    for count, share in enumerate(chosen.curve, start=1):
        expected = explained_variance(maps, chosen.channels[:count])
        assert share == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_choice_is_close_to_the_best_subset_and_below_the_pca_bound(seed):
    maps = planted(4, 9, seed, jitter=0.5)
    chosen = select(maps, most=3, enough=None)
    best = max(explained_variance(maps, subset) for subset in combinations(range(9), 3))
    assert 0.95 * best <= chosen.coverage <= best + 1e-9
    assert best <= chosen.pca_bound <= 1


def test_each_greedy_step_takes_the_channel_with_the_largest_gain():
    maps = planted(5, 12, jitter=0.3)
    chosen = select(maps, most=5, enough=None).channels
    for count in range(5):
        gains = {
            c: explained_variance(maps, [*chosen[:count], c])
            for c in range(12)
            if c not in chosen[:count]
        }
        assert chosen[count] == max(gains, key=gains.__getitem__)


def test_pca_bound_is_the_share_of_the_largest_eigenvalues():
    maps = planted(4, 9, jitter=0.5)
    R = np.corrcoef(maps.reshape(-1, 9), rowvar=False)
    expected = np.sort(np.linalg.eigvalsh(R))[-3:].sum() / 9
    assert select(maps, most=3, enough=None).pca_bound == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factors", [2, 3, 6])
def test_latent_factors_give_an_elbow_at_their_number(factors):
    chosen = select(planted(factors, 40, jitter=0.01), enough=0.99)
    assert len(chosen.channels) == factors
    assert chosen.curve[-1] - chosen.curve[-2] > 0.02
    beyond = select(planted(factors, 40, jitter=0.01), most=factors + 2, enough=None)
    assert beyond.curve[-1] - beyond.curve[factors - 1] < 0.01


def test_no_more_maps_than_needed_for_the_wanted_coverage():
    maps = planted(6, 40, jitter=0.1)
    chosen = select(maps, enough=0.8)
    assert chosen.curve[-2] < 0.8 <= chosen.curve[-1] == pytest.approx(chosen.coverage)


def test_at_most_sixteen_maps_where_no_few_maps_carry_the_layer():
    chosen = select(noise(0, 1, 30, 30, 64))
    assert len(chosen.channels) == 16
    assert chosen.coverage < 0.8


def test_duplicates_are_never_both_picked():
    maps = noise(0, 1, 16, 16, 6)
    doubled = np.concatenate([maps, -3 * maps + 1, maps * 1e-4], axis=-1)
    chosen = select(doubled, enough=1.0).channels
    assert sorted(channel % 6 for channel in chosen) == list(range(6))


def test_an_exact_number_stops_where_no_further_map_adds_anything():
    inputs = noise(0, 1, 16, 16, 3)
    maps = inputs @ noise(1, 3, 24)
    maps[..., 5] = maps[..., 4]
    chosen = select(maps, most=10, enough=None)
    assert len(chosen.channels) == 3
    assert chosen.exhausted
    assert not {4, 5} <= set(chosen.channels)
    assert not select(maps, most=2, enough=None).exhausted
    assert not select(noise(0, 1, 16, 16, 24), most=10, enough=None).exhausted


def test_an_exact_number_takes_no_flat_maps_and_a_number_beyond_all_takes_all():
    maps = noise(0, 1, 16, 16, 3)
    filled = np.concatenate([np.zeros_like(maps[..., :1]), maps, maps], axis=-1)
    chosen = select(filled, most=6, enough=None)
    assert sorted((channel - 1) % 3 for channel in chosen.channels) == [0, 1, 2]
    assert chosen.exhausted
    everything = select(filled, most=50, enough=None)
    assert everything.channels == tuple(range(7))
    assert not everything.exhausted


def test_every_map_is_shown_in_channel_order_on_request():
    chosen = select(noise(0, 1, 16, 16, 20), most=None, enough=None)
    assert chosen.channels == tuple(range(20))
    assert (chosen.coverage, chosen.pca_bound, chosen.representative) == (1, 1, {})


def test_every_hidden_map_has_the_shown_map_that_is_most_alike():
    maps = planted(3, 12, jitter=0.2)
    chosen = select(maps, most=3, enough=None)
    hidden = set(range(12)) - set(chosen.channels)
    R = np.abs(np.corrcoef(maps.reshape(-1, 12), rowvar=False))
    assert set(chosen.representative) == hidden
    for channel in hidden:
        assert chosen.representative[channel] == max(chosen.channels, key=lambda s: R[channel, s])


def test_the_map_that_nothing_explains_is_the_worst_represented():
    maps = planted(2, 12, jitter=0.01)
    maps[..., 7] = noise(99, 2, 20, 20)
    chosen = select(maps, most=2, enough=None)
    channel, r2 = chosen.worst[0]
    assert channel == 7
    assert r2 < 0.1
    assert [value for _, value in chosen.worst] == sorted(value for _, value in chosen.worst)


def test_dead_constant_and_non_finite_maps_are_named_and_not_chosen():
    maps = noise(0, 2, 12, 12, 8)
    maps[..., 1] = 0
    maps[..., 2] = 0.7
    maps[..., 3] = 1 + 1e-7 * maps[..., 3]
    maps[0, 3, 4, 5] = np.nan
    maps[1, 0, 0, 6] = np.inf
    chosen = select(maps, enough=1.0)
    assert (chosen.dead, chosen.constant, chosen.non_finite) == ((1,), (2, 3), (5, 6))
    assert set(chosen.channels) <= {0, 4, 7}
    assert not set(chosen.representative) & {1, 2, 3, 5, 6}


def test_a_layer_without_a_varying_map_has_no_choice_and_no_percentage():
    chosen = select(np.zeros((1, 8, 8, 4), np.float32))
    assert (chosen.channels, chosen.coverage, chosen.pca_bound) == ((), 0, 0)
    assert not chosen.percent_known


@pytest.mark.parametrize(("side", "known"), [(7, False), (12, False), (13, True)])
def test_no_percentage_with_fewer_than_ten_pixels_a_map(side, known):
    chosen = select(noise(0, 1, side, side, 200), most=16, enough=None)
    assert chosen.percent_known is known


def test_many_pixels_are_subsampled_the_same_way_each_time():
    maps = planted(3, 10, jitter=0.5)
    large = np.tile(maps, (40, 1, 1, 1))
    assert large[..., 0].size > MOST_PIXELS
    first, second = select(large, most=3, enough=None), select(large, most=3, enough=None)
    assert first == second
    assert first.coverage == pytest.approx(explained_variance(maps, first.channels), abs=0.02)


def test_scale_and_offset_of_a_channel_do_not_change_the_choice():
    maps = planted(4, 12, jitter=0.3)
    moved = maps * np.float32(10) ** np.arange(-6, 6, dtype=np.float32) + 5e-3
    assert select(moved).channels == select(maps).channels


@pytest.mark.parametrize("shape", [(4, 4, 3), (0, 4, 4, 3)])
def test_maps_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"shape \(N, H, W, C\)"):
        select(np.zeros(shape, np.float32))


def test_no_map_at_all_cannot_be_asked_for():
    with pytest.raises(InputError, match="At least one map"):
        select(np.zeros((1, 4, 4, 3), np.float32), most=0)
