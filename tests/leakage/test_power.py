"""The power of the search: strong marks are found, invisible ones are not."""

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.leakage.pool import pooled
from layerscope.leakage.power import search_power, stroke_mark
from layerscope.measures.intervals import wilson
from layerscope.testing.planted import digits
from layerscope.testing.planted.marks import marked_images


@pytest.fixture(scope="module")
def pool():
    drawn = digits(400)
    kept = drawn.labels < 3
    canvases = marked_images(drawn.images[kept], drawn.labels[kept], "none")
    return pooled(canvases.images, canvases.labels)


def test_a_strong_mark_is_found_and_an_invisible_one_is_not(pool):
    strong = search_power(pool, 1, opacity=0.8, trials=2)
    assert (strong.found, strong.trials) == (2, 2)
    faint = search_power(pool, 1, opacity=0.02, trials=2)
    assert faint.found == 0
    assert faint.low == 0
    assert 0.6 < faint.high < 0.7


def test_planting_leaves_the_images_of_the_user_alone(pool):
    before = pool.images.copy()
    search_power(pool, 1, trials=1)
    np.testing.assert_array_equal(pool.images, before)


def test_the_interval_is_that_of_wilson():
    for hits, trials in ((0, 5), (3, 7), (20, 20)):
        low, high = wilson(hits, trials)
        for end in {low, high} - {0.0, 1.0}:
            distance = abs(hits / trials - end) / np.sqrt(end * (1 - end) / trials)
            assert distance == pytest.approx(1.96, abs=1e-3)


def test_a_mark_is_neither_black_nor_white():
    for side in (3, 5, 12):
        mark = stroke_mark(side, 3, np.random.default_rng(side))
        assert mark.shape == (side, side, 3)
        assert 0.3 <= mark.mean() <= 0.95


@pytest.mark.parametrize("options", [{"size": 0}, {"opacity": 2}, {"trials": 0}])
def test_impossible_marks_are_refused(pool, options):
    with pytest.raises(InputError, match="above 0 and up to 1"):
        search_power(pool, 1, **options)


def test_a_class_that_is_not_there_is_refused(pool):
    with pytest.raises(InputError, match="Class 7 has too few images"):
        search_power(pool, 7)
