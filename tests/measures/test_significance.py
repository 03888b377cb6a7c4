import numpy as np
import pytest

from layerscope.measures.significance import p_value


def test_p_counts_the_draws_that_are_at_least_as_large():
    null = np.array([3.0, 1, 2, 2])
    observed = np.array([[4, 3, 2], [1.5, 1, np.nan]])
    expected = [[1 / 5, 2 / 5, 4 / 5], [4 / 5, 1, np.nan]]
    np.testing.assert_allclose(p_value(observed, null), expected)


def test_sums_in_another_order_count_as_equal():
    assert p_value(np.array([0.1 + 0.2]), np.array([0.3, 0.3])) == pytest.approx(1)
