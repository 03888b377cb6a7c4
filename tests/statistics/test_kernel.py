from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from layerscope.statistics import kernel
from layerscope.statistics.kernel import MapSums, map_sums

SHAPES = [
    (1, 1, 1, 1),
    (2, 1, 1, 5),
    (3, 1, 9, 3),
    (2, 9, 1, 17),
    (1, 2, 2, 64),
    (2, 7, 7, 40),
    (3, 14, 13, 24),
    (2, 28, 28, 3),
    (4, 33, 40, 1),
    (2, 5, 300, 16),
    (8, 30, 31, 50),  # more than one thread
]
EVERY_IMAGE = [
    field.name
    for field in fields(MapSums)
    if field.name != "cells" and not field.name.startswith("position")
]
ONLY_SAMPLED = ("m2", "rook")


def maps(shape, seed, kind="normal"):
    chance = np.random.default_rng(seed)
    values = chance.normal(size=shape)
    if kind == "rectified":
        values = np.clip(3 * values, 0, 6)
    elif kind == "offset":
        values = values + 1e4 * chance.normal(size=(shape[0], 1, 1, shape[3]))
    elif kind == "sparse":
        values = np.where(values > 2.5, 1e3 * values, 0)
    elif kind == "huge":
        values = values * 1e37
    elif kind == "tiny":
        values = values * 1e-30
    elif kind == "damaged":
        wrong = chance.integers(0, 60, size=shape)
        values = np.choose(np.minimum(wrong, 3), [np.nan, np.inf, -np.inf, values])
    elif kind == "constant":
        values = np.broadcast_to(chance.normal(size=(shape[0], 1, 1, shape[3])), shape)
    elif kind == "zero":
        values = np.zeros(shape)
    return values.astype(np.float32)


KINDS = (
    ["normal", "rectified", "offset", "sparse", "huge", "tiny", "damaged", "constant", "zero"]
)  # fmt: skip


def some(count, seed):
    return np.random.default_rng(seed).random(count) < 0.6


def oracle(values, sampled, ceiling=np.inf):
    """Each map by itself, in float64 and in the words of the docstring of `MapSums`."""
    count, height, width, channels = values.shape
    result = {name: np.full((count, channels), np.nan) for name in EVERY_IMAGE}
    position, seen = np.zeros((height, width, channels)), np.zeros(channels, int)
    for image, channel in np.ndindex(count, channels):
        one = values[image, :, :, channel].astype(np.float64)
        d = one - one.mean() if np.isfinite(one).all() else None
        row = {"finite": d is not None, "positive": 0, "saturated": 0, "row_of_maximum": 0}
        if d is not None:
            row["maximum"], row["minimum"], row["mean"] = one.max(), one.min(), one.mean()
            row["row_of_maximum"] = np.flatnonzero((one == one.max()).any(axis=1))[0]
            row["positive"] = (one > 0).sum()
            row["saturated"] = (abs(one) >= 0.99 * ceiling).sum()
            if sampled[image]:
                row["m2"] = (d**2).sum()
                if one.size > 1:
                    row["rook"] = (d[1:] * d[:-1]).sum() + (d[:, 1:] * d[:, :-1]).sum()
                position[:, :, channel] += one
                seen[channel] += 1
        for name, value in row.items():
            result[name][image, channel] = value
    return result, position, seen


def assert_equal_to_the_oracle(values, sampled, ceiling=np.inf):
    result = map_sums(values, sampled, ceiling)
    expected, position, seen = oracle(values, sampled, ceiling)
    for name in ("finite", "maximum", "minimum", "row_of_maximum", "positive", "saturated"):
        np.testing.assert_array_equal(getattr(result, name), expected[name], name)
    # The sums have no sign, so that their own size is no measure of their rounding.
    spread = np.nan_to_num(expected["maximum"] - expected["minimum"])
    assert_close(result.mean, expected["mean"], 1e-6 * spread + 1e-7 * abs(expected["mean"]))
    assert_close(result.m2, expected["m2"], 1e-5 * expected["m2"])
    assert_close(result.rook, expected["rook"], 1e-5 * expected["m2"])
    np.testing.assert_array_equal(result.position_count, seen)
    whole = result.position_sum + result.position_pivot
    bound = 1e-6 * spread.max(axis=0) * len(values) + 1e-12 * abs(result.position_pivot)
    assert_close(whole, position, np.broadcast_to(bound, whole.shape))
    return result


def assert_close(actual, expected, bound):
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    given = ~np.isnan(expected)
    assert (abs(actual - expected)[given] <= bound[given]).all()


@pytest.mark.parametrize(("shape", "kind"), list(product(SHAPES, KINDS)))
def test_sums_equal_the_slow_oracle(shape, kind):
    for seed in range(2):
        ceiling = 6.0 if kind == "rectified" else float("inf")
        assert_equal_to_the_oracle(maps(shape, seed, kind), some(shape[0], seed), ceiling)


def test_types_and_shapes_are_as_documented():
    result = map_sums(maps((2, 3, 4, 5), 0), np.array([True, False]))

    types = {field.name: getattr(result, field.name).dtype.name for field in fields(result)}
    assert types == {
        **{"finite": "bool", "maximum": "float32", "minimum": "float32"},
        **{"row_of_maximum": "int32", "mean": "float64", "positive": "int64"},
        **{"saturated": "int64", "m2": "float64", "rook": "float64"},
        **{"position_sum": "float32", "position_pivot": "float64", "position_count": "int64"},
        "cells": "float32",
    }
    assert all(getattr(result, name).shape == (2, 5) for name in EVERY_IMAGE)
    assert result.position_sum.shape == (3, 4, 5)


@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_a_large_offset_does_not_cancel_the_sums_around_the_mean(offset):
    noise = np.random.default_rng(0).normal(size=(2, 112, 112, 8)).astype(np.float32)
    smooth = noise[:, 1:, 1:] + noise[:, 1:, :-1] + noise[:, :-1, 1:]
    values = (smooth + offset).astype(np.float32)
    expected, *_ = oracle(values, [True, True])

    result = map_sums(values, np.ones(2, bool))

    np.testing.assert_allclose(result.m2, expected["m2"], rtol=1e-5)
    np.testing.assert_allclose(result.rook, expected["rook"], rtol=1e-5)


def test_a_pixel_that_misleads_the_pivot_does_no_harm():
    values = np.random.default_rng(0).normal(size=(1, 64, 64, 1)).astype(np.float32)
    expected = []
    for row, column in np.ndindex(64, 64):
        peak = values.copy()
        peak[0, row, column, 0] = 1e3
        expected.append((peak, peak.var(dtype=np.float64) * peak.size))

    for peak, m2 in expected:
        assert map_sums(peak, np.ones(1, bool)).m2[0, 0] == pytest.approx(m2, rel=1e-6)


def test_the_mean_of_an_image_is_the_same_number_whether_it_is_sampled_or_not():
    values = maps((4, 20, 20, 12), 0, "sparse")

    one, other = (map_sums(values, np.full(4, sampled)) for sampled in (True, False))

    for name in set(EVERY_IMAGE) - set(ONLY_SAMPLED):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert np.isnan(other.m2).all()
    assert np.isnan(other.rook).all()
    assert not other.position_sum.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 40, 40, 33), (6, 7, 7, 64)])
def test_what_is_said_of_an_image_does_not_depend_on_its_batch(shape, kind):
    values, sampled = maps(shape, 3, kind), some(shape[0], 3)
    whole = map_sums(values, sampled, 6.0)

    for size in (1, 4):
        for at in range(0, len(values), size):
            part = map_sums(values[at : at + size], sampled[at : at + size], 6.0)
            for name in EVERY_IMAGE:
                expected = getattr(whole, name)[at : at + size]
                np.testing.assert_array_equal(getattr(part, name), expected, name)


def test_no_bit_depends_on_the_number_of_threads_or_the_run(monkeypatch):
    values, sampled = maps((8, 50, 50, 24), 0), some(8, 0)
    expected = map_sums(values, sampled)

    for workers in (1, 2, 3, 16):
        monkeypatch.setattr(kernel, "_workers", lambda workers=workers: workers)
        kernel._pool.cache_clear()
        for _ in range(3):
            again = map_sums(values, sampled)
            for field in fields(MapSums):
                one, other = getattr(again, field.name), getattr(expected, field.name)
                assert one.tobytes() == other.tobytes(), field.name
    kernel._pool.cache_clear()


def test_several_threads_may_sum_at_once():
    batches = [(maps((8, 50, 50, 16), seed), some(8, seed)) for seed in range(6)]
    expected = [map_sums(*batch) for batch in batches]

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda batch: map_sums(*batch), batches * 4))

    for result, wanted in zip(results, expected * 4, strict=True):
        for field in fields(MapSums):
            assert getattr(result, field.name).tobytes() == getattr(wanted, field.name).tobytes()


def test_maps_are_left_as_they_are_and_may_be_read_only_or_a_view():
    values = maps((4, 12, 10, 6), 0)
    sampled, before = some(4, 0), values.copy()
    whole = map_sums(values, sampled)
    assert values.tobytes() == before.tobytes()
    assert values.flags.writeable

    values.flags.writeable = False
    padded = np.repeat(values, 2, axis=2)[:, :, ::2]
    reordered = np.asfortranarray(values)
    for same in (values, padded, reordered):
        result = map_sums(same, sampled)
        for field in fields(MapSums):
            assert getattr(result, field.name).tobytes() == getattr(whole, field.name).tobytes()


def test_the_ceiling_counts_from_its_99th_hundredth_on_both_sides():
    values = np.float32([0.98, 0.99, 1, -1, -0.98, -0.995, 0, 2]).reshape(1, 2, 4, 1)

    counts = [map_sums(values, np.ones(1, bool), ceiling).saturated[0, 0] for ceiling in (1, 2.1)]

    # 0.99 in float32 is a little less than .99
    assert counts == [4 + (np.float32(0.99) >= 0.99), 0 + 0]


def test_the_first_of_several_rows_with_the_maximum_is_named():
    values = np.zeros((1, 40, 3, 2), np.float32)
    values[0, [5, 6, 30], 1, 0] = 7

    assert map_sums(values, np.zeros(1, bool)).row_of_maximum.tolist() == [[5, 0]]


def test_an_empty_batch_has_empty_sums():
    result = map_sums(np.empty((0, 4, 5, 3), np.float32), np.empty(0, bool))

    assert result.mean.shape == (0, 3)
    assert result.position_count.tolist() == [0, 0, 0]
    assert not result.position_sum.any()


def test_a_damaged_map_leaves_the_others_of_its_channel_alone():
    values = maps((5, 9, 9, 4), 0)
    clean = map_sums(values[[0, 1, 3, 4]], np.ones(4, bool))
    values[2, 4, 4, 1] = np.nan
    values[2, 0, 0, 2] = np.inf

    result = map_sums(values, np.ones(5, bool))

    assert result.position_count.tolist() == [5, 4, 4, 5]
    for channel in (1, 2):
        for name in ("position_sum", "position_pivot"):
            one, other = getattr(result, name), getattr(clean, name)
            assert one[..., channel].tobytes() == other[..., channel].tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2), (7, 7), (13, 9), (40, 31)])
def test_cells_are_the_means_of_the_quarters(size):
    maps = np.random.default_rng(0).normal(100, 1, (3, *size, 21)).astype(np.float32)
    maps[2, 0, 0, 4] = np.inf
    chosen = np.array([True, False, True])
    found = map_sums(maps, chosen).cells
    assert found.shape == (3, 4, 21)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[2, :, 4]).all()
    (h, w), place = (side // 2 for side in size), 0
    for rows in (slice(0, h), slice(h, None)):
        for columns in (slice(0, w), slice(w, None)):
            part = maps[0, rows, columns].astype(np.float64)
            if part[..., 0].size:
                np.testing.assert_allclose(found[0, place], part.mean((0, 1)), rtol=1e-6)
            else:
                assert np.isnan(found[0, place]).all()
            place += 1
