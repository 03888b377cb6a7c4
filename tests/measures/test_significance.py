import numpy as np
import pytest
from scipy.stats import kstest

from layerscope.measures.significance import p_value, standing


def test_p_counts_the_draws_that_are_at_least_as_large():
    null = np.array([3.0, 1, 2, 2])
    observed = np.array([[4, 3, 2], [1.5, 1, np.nan]])
    expected = [[1 / 5, 2 / 5, 4 / 5], [4 / 5, 1, np.nan]]
    np.testing.assert_allclose(p_value(observed, null), expected)


def test_sums_in_another_order_count_as_equal():
    assert p_value(np.array([0.1 + 0.2]), np.array([0.3, 0.3])) == pytest.approx(1)


def test_each_value_stands_among_its_own_draws():
    """The slow way: every draw is left out once and compared with the others."""
    random = np.random.default_rng(0)
    draws = random.normal([5, -2, 100], [1, 0.1, 30], (9, 3))
    observed = np.array([8.0, -2.5, 100.0])
    widen = np.sqrt(1 + 1 / 9)
    z = (observed - draws.mean(0)) / (draws.std(0, ddof=1) * widen)
    null = []
    for i in range(9):
        others = np.delete(draws, i, 0)
        null.append((draws[i] - others.mean(0)) / (others.std(0, ddof=1) * np.sqrt(1 + 1 / 8)))
    null = np.ravel(null)
    found = standing(observed, draws)
    np.testing.assert_allclose(found.z, z)
    np.testing.assert_allclose(found.high, [(1 + np.sum(null >= v)) / 28 for v in z])
    np.testing.assert_allclose(found.low, [(1 + np.sum(null <= v)) / 28 for v in z])
    np.testing.assert_allclose(found.both, [(1 + np.sum(abs(null) >= abs(v))) / 28 for v in z])


def test_the_standing_of_one_more_draw_is_uniform():
    random = np.random.default_rng(1)
    p = np.concatenate(
        [
            standing(all_[0], all_[1:]).both
            for all_ in random.gamma(4, [1, 10], (400, 21, 2))  # skewed, of two widths
        ]
    )
    assert kstest(p, "uniform").pvalue > 0.01


def test_what_never_varies_has_no_standing():
    found = standing(np.array([1.0, 2.0, np.nan]), np.array([[1, 1, 0], [1, 2, 1], [1, 3, 5.0]]))
    assert np.isnan(found.z).tolist() == [True, False, True]
    assert np.isnan(found.both).tolist() == [True, False, True]
