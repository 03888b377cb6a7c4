import numpy as np
import pytest

from layerscope.measures.concentration import half_share
from layerscope.measures.shift import activation_shift


def drawn(seed, n, m, apart=0.0, channels=40):
    random = np.random.default_rng(seed)
    other = random.standard_normal((m, channels)).astype(np.float32)
    return random.standard_normal((n, channels)).astype(np.float32) + np.float32(apart), other


def slowly(one, other):
    """The definition, channel by channel."""
    squares, free = [], len(one) + len(other) - 2
    for a, b in zip(one.T.astype(float), other.T.astype(float), strict=True):
        within = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
        if within > 0:
            squares.append((a.mean() - b.mean()) ** 2 / (within / free))
    chance = (1 / len(one) + 1 / len(other)) * free / (free - 2)
    return np.sqrt(max(0.0, np.mean(squares) - chance))


@pytest.mark.parametrize(("n", "m", "apart"), [(20, 30, 0.0), (64, 64, 0.5), (5, 90, 2.0)])
def test_the_shift_is_the_formula_worked_out_slowly(n, m, apart):
    one, other = drawn(n, n, m, apart)
    one[:, 3] = other[:, 3] = 7  # says nothing
    assert activation_shift(one, other).value == pytest.approx(slowly(one, other), rel=1e-6)


@pytest.mark.parametrize("apart", [0.3, 1.0, 3.0])
def test_a_planted_shift_comes_back_and_lies_beyond_chance(apart):
    found = activation_shift(*drawn(1, 200, 150, apart))
    assert found.value == pytest.approx(apart, rel=0.1)
    assert found.value > found.chance


def test_sets_of_one_kind_are_told_apart_as_rarely_as_said():
    beyond = 0
    for seed in range(200):
        found = activation_shift(*drawn(seed, 20, 24, channels=8), seed=seed)
        beyond += found.value > found.chance
    assert 2 <= beyond <= 20  # 5 % of 200, and chance of its own


def test_neither_scale_nor_order_nor_silent_channels_matter():
    one, other = drawn(5, 30, 40, 0.5)
    found = activation_shift(one, other)
    again = activation_shift(other[::-1] * 1000 + 5e3, one[::-1] * 1000 + 5e3)
    assert again.value == pytest.approx(found.value, rel=1e-3)
    silent = np.zeros((70, 1), np.float32)
    more = activation_shift(np.hstack([one, silent[:30]]), np.hstack([other, silent[:40]]))
    assert more.value == pytest.approx(found.value)
    assert np.isnan(activation_shift(silent[:30], silent[:40]).value)


def test_half_of_the_heat_lies_on_the_fewest_cells_that_hold_it():
    heat = np.zeros((4, 5, 4))
    heat[0] = 1
    heat[1, 2, 2] = 3
    heat[2, 0] = (4, 3, 2, 1)
    heat[2, 1] = -9  # speaks against the answer
    assert half_share(heat) == pytest.approx([0.5, 1 / 20, 2 / 20, np.nan], nan_ok=True)
