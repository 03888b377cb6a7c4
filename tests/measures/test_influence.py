import numpy as np
import pandas as pd
import pytest

from layerscope.measures.influence import UNKNOWN, counts, influence, leads, per_class, percentiles

CHANGES = np.random.default_rng(0).normal(0, 1, (20, 7)).astype(np.float32)
ALL = np.arange(7)


def slow_lead(changes, own, rivals):
    """The definition, one image, channel and rival at a time."""
    found = np.full((len(changes), len(own)), np.nan)
    for i, row in enumerate(np.abs(np.float64(changes))):
        for j, channel in enumerate(own):
            others = [row[r] for r in rivals if r != channel]
            if others:
                found[i, j] = row[channel] - sum(others) / len(others)
    return found


@pytest.mark.parametrize(
    ("own", "rivals"), [(ALL, ALL), ([0, 3], ALL), (ALL, [1, 2, 6]), ([4], [4]), ([4], [])]
)
def test_the_lead_is_over_the_mean_of_the_others(own, rivals):
    own, rivals = np.array(own, int), np.array(rivals, int)
    np.testing.assert_allclose(leads(CHANGES, own, rivals), slow_lead(CHANGES, own, rivals))


def test_the_percentile_counts_others_and_halves_of_equal_ones():
    sizes = np.array([0.0, 1, 1, 3])
    found = percentiles(sizes, np.arange(4), np.arange(4))
    np.testing.assert_allclose(found, [0, (1 + 0.5) / 3, (1 + 0.5) / 3, 1])
    assert np.isnan(percentiles(sizes, np.array([2]), np.array([2]))).all()


def test_signs_count_for_the_change_and_not_for_the_size():
    changes = np.tile(np.float32([[1], [-1]]), (8, 3))
    changes[:, 1] = -2
    known = np.ones((16, 3), np.float32)
    found = influence(changes, np.arange(3), np.arange(3), known, known[:, 0])
    np.testing.assert_allclose(found["change"], [0, -2, 0])
    np.testing.assert_allclose(found["size"], [1, 2, 1])
    np.testing.assert_allclose(found["lead"], [-0.5, 1, -0.5])
    assert found["change_low"][0] < 0 < found["change_high"][0]
    assert found["change_low"][1] == found["change_high"][1] == -2
    assert list(found["percentile"]) == [0.25, 1, 0.25]


def test_below_eight_images_there_are_no_limits():
    known = np.ones((7, 7), np.float32)
    found = influence(CHANGES[:7], ALL, ALL, known, known[:, 0])
    assert np.isfinite(found["change"]).all()
    assert np.isnan(found["change_low"]).all()


def test_images_of_one_photo_are_drawn_together():
    same = np.repeat(np.arange(10), 2)
    known = np.ones((20, 7), np.float32)
    changes = CHANGES[same]  # each image twice

    def width(groups):
        found = influence(changes, ALL, ALL, known, known[:, 0], groups=groups)
        return (found["change_high"] - found["change_low"]).mean()

    assert width(same) > 1.2 * width(None)


def test_answers_are_held_against_labels_or_else_against_those_before():
    before, after = np.array([0, 1, 1]), np.array([[0, 1], [1, 1], [0, 1]])
    labelled = counts([np.array([0, UNKNOWN, 0])], [(before, after)], True)
    assert labelled.of_what == "labels"
    np.testing.assert_array_equal(labelled.before, [1, np.nan, 0])
    np.testing.assert_array_equal(labelled.hits, [[1, 0], [np.nan, np.nan], [1, 0]])
    assert labelled.accuracy == 0.5
    own = counts([None], [(before, after)], True)
    assert (own.of_what, own.accuracy) == ("predictions", 1)
    np.testing.assert_array_equal(own.hits, [[1, 0], [1, 1], [0, 1]])
    none = counts([np.array([0, 1, 0])], [(before, after)], False)
    assert none.of_what == ""
    assert np.isnan(none.accuracy)
    assert np.isnan(none.hits).all()


def test_each_class_with_images_has_its_own_change():
    hits = np.float32([[1, 0], [1, 0], [0, 1], [np.nan, np.nan]])
    before, truth = np.float32([1, 1, 0, np.nan]), np.array([4, 4, 9, UNKNOWN])
    found = per_class(hits, before, truth, np.array([3, 8]))
    expected = pd.DataFrame(
        {
            "channel": [3, 3, 8, 8],
            "class": [4, 9, 4, 9],
            "images": [2, 1, 2, 1],
            "accuracy": [1.0, 0, 1, 0],
            "change": [0.0, 0, -1, 1],
        }
    )
    pd.testing.assert_frame_equal(found, expected)
    assert per_class(hits, before, np.full(4, UNKNOWN), np.array([3, 8])).empty
