"""Patches pasted into other images, and the interval of what they do."""

import numpy as np
import pytest

from layerscope.interventions.answers import probabilities
from layerscope.interventions.transplant import (
    FEATHER,
    necessity,
    paired,
    pasted,
    shift,
    transplanted,
)

SIDE = 12


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def slowly(recipient, donor, box, place):
    """One pixel after the other."""
    made, (x0, y0, x1, y1), (to_y, to_x) = recipient.copy(), box, place
    for dy in range(-FEATHER, y1 - y0 + FEATHER):
        for dx in range(-FEATHER, x1 - x0 + FEATHER):
            y, x = to_y + dy, to_x + dx
            from_y, from_x = y0 + dy, x0 + dx
            if not all(0 <= at < SIDE for at in (y, x, from_y, from_x)):
                continue
            outside = [max(0, -d, d - n + 1) for d, n in ((dy, y1 - y0), (dx, x1 - x0))]
            share = np.prod([1 - o / (FEATHER + 1) for o in outside])
            made[y, x] = (1 - share) * recipient[y, x] + share * donor[from_y, from_x]
    return made


@pytest.mark.parametrize("box", [(0, 0, 4, 3), (8, 9, 12, 12), (3, 2, 9, 8), (0, 0, 12, 12)])
def test_a_patch_is_pasted_as_a_slow_loop_does_it(box):
    onto, donors = images(3), images(3, 1)
    boxes = np.repeat([box], 3, 0)
    x0, y0, x1, y1 = box
    places = np.array([[0, 0], [SIDE - (y1 - y0), SIDE - (x1 - x0)], [y0, x0]])
    made = pasted(onto, donors, boxes, places)
    for at in range(3):
        expected = slowly(onto[at], donors[at], box, places[at])
        np.testing.assert_allclose(made[at], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(made[2], pasted(onto, donors, boxes)[2])


def test_the_images_given_stay_as_they_are():
    onto, donors = images(2), images(2, 1)
    before = onto.copy(), donors.copy()
    pasted(onto, donors, np.array([[1, 1, 5, 5]] * 2))
    assert np.array_equal(onto, before[0])
    assert np.array_equal(donors, before[1])


def bright_corner(x: np.ndarray) -> np.ndarray:
    """A model that calls class 0 what is bright at the upper left."""
    p = np.clip(x[:, :3, :3].mean((1, 2, 3)), 0, 1)
    return np.column_stack([p, (1 - p) / 2, (1 - p) / 2]).astype(np.float32)


def test_a_mark_that_a_model_reads_moves_its_answers_and_a_control_does_not():
    pixels = images(60) * 0.2
    pixels[:20, :3, :3] = 1
    labels = np.repeat([0, 1, 2], 20)
    base = bright_corner(pixels)
    recipients = np.flatnonzero(labels)
    random = np.random.default_rng(0)
    donors, controls = paired(random, 40, range(20)), np.where(labels[recipients] == 1, 45, 25)
    boxes = np.repeat([[0, 0, 3, 3]], 40, 0)
    found = transplanted(
        bright_corner, pixels, 0, recipients, donors, boxes, controls, base[recipients, 0]
    )
    assert found.same.value == pytest.approx(0.9, abs=0.03)
    assert found.same.low > 0.8
    assert found.same.p < 0.001
    assert found.moved == (1.0, 0.0)
    assert found.anywhere.value < 0.5 * found.same.value
    lost = necessity(
        bright_corner, pixels, 0, np.arange(20), boxes[:20], np.full(20, 30), base[:20, 0]
    )
    assert lost == pytest.approx(0.9, abs=0.03)
    assert np.isnan(necessity(bright_corner, pixels, 0, *([np.array([], int)] * 3), base[:0, 0]))


def test_a_patch_that_the_model_ignores_moves_nothing():
    pixels = images(60) * 0.2
    pixels[:20, 8:, 8:] = 1
    base = bright_corner(pixels)
    recipients = np.arange(20, 60)
    found = transplanted(
        bright_corner, pixels, 0, recipients, np.arange(40) % 20,
        np.repeat([[8, 8, 12, 12]], 40, 0), np.roll(recipients, 7), base[recipients, 0],
    )  # fmt: skip
    assert found.same.value == pytest.approx(0, abs=1e-6)
    assert found.same.high < 0.1


@pytest.mark.parametrize("donors_vary", [False, True])
def test_the_interval_covers_the_truth_also_where_donors_serve_several_recipients(donors_vary):
    """A bootstrap over recipients alone would be far too sure in the second case."""
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        recipients, donors = np.arange(60), np.arange(60) % 10
        spread = 0.2 * random.standard_normal(10) if donors_vary else np.zeros(10)
        marked = 0.3 + spread[donors] + 0.1 * random.standard_normal(60)
        control = 0.05 * random.standard_normal(60)
        found = shift(marked, control, recipients, donors, 100 + np.arange(60) % 30)
        hits += found.low <= 0.3 <= found.high
    assert 0.87 <= hits / 100 <= 1


def test_p_is_uniform_where_nothing_happens():
    random = np.random.default_rng(5)
    p = [
        shift(
            *(0.1 * random.standard_normal((2, 40))),
            np.arange(40), np.arange(40) % 13, np.arange(40) % 17,
        ).p
        for _ in range(100)
    ]  # fmt: skip
    assert 0.3 < np.mean(np.array(p) < 0.5) < 0.7
    assert np.mean(np.array(p) < 0.05) < 0.13


def test_draws_serve_each_member_as_often_as_any_other():
    drawn = paired(np.random.default_rng(0), 25, [3, 5, 8, 9])
    assert len(drawn) == 25
    counts = np.bincount(drawn)[[3, 5, 8, 9]]
    assert counts.max() - counts.min() <= 1


def test_outputs_become_probabilities():
    shares = np.array([[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_allclose(probabilities(shares), shares, rtol=1e-6)
    logits = np.array([[0.0, np.log(3)], [800.0, -800.0]])
    np.testing.assert_allclose(probabilities(logits), [[0.25, 0.75], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(probabilities(np.array([[0.3]])), [[0.7, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(
        probabilities(np.array([[0.0], [-50.0], [50.0]])), [[0.5, 0.5], [1, 0], [0, 1]], atol=1e-6
    )
