"""Windows repeated at one place of the images of a class."""

from itertools import combinations

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.leakage.same_place import same_place
from layerscope.leakage.windows import faintest, high_passed, unit_windows


def images(count=12, side=18, seed=0):
    return np.random.default_rng(seed).normal(size=(count, side, side, 3)).astype(np.float32)


def test_the_map_is_the_mean_over_all_pairs_within_less_that_across():
    x, y = images(), np.arange(12) % 3
    windows = unit_windows(high_passed(x), 4, 1, faintest(x)).astype(np.float64)
    for found in same_place(x, y):
        within = [
            windows[i] * windows[j] for i, j in combinations(np.flatnonzero(y == found.label), 2)
        ]
        across = [
            windows[i] * windows[j]
            for i in np.flatnonzero(y == found.label)
            for j in np.flatnonzero(y != found.label)
        ]
        expected = np.mean(within, 0).sum(-1) - np.mean(across, 0).sum(-1)
        np.testing.assert_allclose(found.map, expected, atol=1e-5)


def test_a_fixed_mark_is_named_with_its_place_and_a_moving_one_is_not():
    x, y = images(60, 24), np.arange(60) % 3
    mark = np.random.default_rng(1).normal(size=(6, 6, 3)) * 2
    fixed, moving = x.copy(), x.copy()
    for at in np.flatnonzero(y == 1):
        fixed[at, 3:9, 12:18] = mark
        moving[at, 3 + at % 12 : 9 + at % 12, 12:18] = mark
    found = {one.label: one for one in same_place(fixed, y)}
    assert found[1].value > 0.95
    assert 12 <= found[1].box[0] <= found[1].box[2] <= 18
    assert 3 <= found[1].box[1] <= found[1].box[3] <= 9
    assert max(found[0].value, found[2].value) < 0.3
    assert max(one.value for one in same_place(moving, y)) < 0.5


def test_one_class_has_nothing_to_be_compared_with():
    with pytest.raises(InputError, match="at least two classes of two images"):
        same_place(images(), np.zeros(12))
