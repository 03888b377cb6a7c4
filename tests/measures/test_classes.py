import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.metrics import average_precision_score

from layerscope.errors import InputError
from layerscope.measures import classes
from layerscope.measures.classes import class_signal, class_signal_p


def slow_signal(values, positive):
    """Average precision from the definition, threshold by threshold, less prevalence."""
    total = sum(positive)
    recall_before = precision_sum = 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        chosen = [p for v, p in zip(values, positive, strict=True) if v >= threshold]
        recall, precision = sum(chosen) / total, sum(chosen) / len(chosen)
        precision_sum += (recall - recall_before) * precision
        recall_before = recall
    return precision_sum - total / len(values)


def channels(seed, images, count, kinds=4, lift=0.0):
    """Labels, and channels that respond to class 0 by ``lift`` standard deviations more."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % kinds)
    values = rng.normal(size=(images, count)) + lift * (labels == 0)[:, None]
    return values.astype(np.float32), labels


def rectified(values):
    """Most values become the same 0, as after a ReLU."""
    return np.maximum(np.round(values, 1) - 0.5, 0)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("images", "kinds"), [(20, 2), (31, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_class_signal_equals_its_formula(ties, images, kinds, seed):
    values, labels = channels(seed, images, 6, kinds)
    values = rectified(values) if ties else values
    found = class_signal(values, labels)
    either = class_signal(values, labels, signed=True)
    for c in range(6):
        for k in range(kinds):
            expected = slow_signal(values[:, c], labels == k)
            other = slow_signal(-values[:, c], labels == k)
            assert found[c, k] == pytest.approx(expected)
            assert either[c, k] == pytest.approx(max(expected, other))
            judged = average_precision_score(labels == k, values[:, c])
            assert found[c, k] == pytest.approx(judged - (labels == k).mean())


def test_the_ends_of_the_class_signal():
    labels = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    values = np.stack([labels == 0, labels == 1, labels * 0 + 2], 1)
    found = class_signal(values, labels)
    assert found[0].tolist() == [0.75, pytest.approx(slow_signal(values[:, 0], labels == 1))]
    assert found[1, 1] == pytest.approx(0.25)
    assert np.isnan(found[2]).all()


def test_the_signal_rises_with_the_distance_between_class_and_rest():
    means = []
    for lift in (0, 0.5, 1, 2):
        values, labels = channels(3, 400, 60, lift=lift)
        means.append(class_signal(values, labels)[:, 0].mean())
    assert means == sorted(means)
    assert abs(means[0]) < 0.02
    assert means[3] > 0.5


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_p_is_evenly_spread_without_a_signal(signed, ties):
    values, labels = channels(5, 120, 500)
    labels[labels == 3] = np.where(np.arange((labels == 3).sum()) < 6, 3, 2)  # one class is small
    values = rectified(values) if ties else values
    p = class_signal_p(values, labels, signed)
    assert kstest(p, "uniform").pvalue > 0.05
    assert 0.02 < (p <= 0.05).mean() < 0.09


def test_p_finds_more_channels_the_farther_class_and_rest_are_apart():
    found = []
    for lift in (0, 0.5, 1, 2):
        values, labels = channels(7, 200, 100, lift=lift)
        found.append((class_signal_p(values, labels, draws=499) <= 0.05).mean())
    assert found == sorted(found)
    assert found[0] < 0.12
    assert found[3] == 1


def test_tiny_classes_do_not_hide_the_signal_of_a_large_one():
    values, labels = channels(10, 200, 100, kinds=2, lift=0.6)
    labels[np.flatnonzero(labels == 1)[:8]] = [2, 2, 3, 3, 4, 4, 5, 5]
    assert (class_signal_p(values, labels) <= 0.05).mean() > 0.65


def test_only_a_signed_question_finds_the_channel_that_is_lowest_on_a_class():
    values, labels = channels(8, 200, 30, lift=-2)
    noise = channels(9, 200, 1, kinds=2)[0]
    labels = np.where(labels == 0, 0, 1 + (noise[:, 0] > 0))  # the others differ in nothing
    assert (class_signal_p(values, labels, signed=True, draws=499) < 0.01).all()
    assert np.nanmax(class_signal(values, labels)[:, 0]) < 0
    assert (class_signal(values, labels, signed=True)[:, 0] > 0.4).all()


def test_p_is_the_share_of_all_orders_for_few_images():
    """With two images of six in the class, first places have a chance of 1 in 15."""
    labels = np.array([0, 0, 1, 1, 1, 1])
    best = np.array([[6.0], [5], [4], [3], [2], [1]])
    assert class_signal_p(best, labels, draws=9999)[0] == pytest.approx(1 / 15, abs=0.01)


def test_channels_that_say_nothing_and_images_without_labels():
    values, labels = channels(11, 60, 5)
    some = class_signal(values, labels)
    more = np.concatenate([values, np.full((4, 5), 99, np.float32)])
    unknown = np.concatenate([labels, np.full(4, -1)])
    np.testing.assert_array_equal(class_signal(more, unknown), some)
    values[:, 1] = 0
    values[3, 2] = np.nan
    silent = [False, True, True, False, False]
    assert np.isnan(class_signal(values, labels)).all(1).tolist() == silent
    assert np.isnan(class_signal_p(values, labels, draws=9)).tolist() == silent


def test_classes_without_images_and_a_single_class():
    values, labels = channels(12, 30, 3)
    labels[labels == 1] = 2
    assert np.isnan(class_signal(values, labels)).any(0).tolist() == [False, True, False, False]
    assert np.isfinite(class_signal_p(values, labels, draws=9)).all()
    assert np.isnan(class_signal(values, labels * 0)).all()
    assert np.isnan(class_signal_p(values, labels * 0, draws=9)).all()
    assert class_signal(values, labels * 0 - 1).shape == (3, 0)
    assert np.isnan(class_signal_p(values, labels * 0 - 1, draws=9)).all()


def test_the_same_seed_gives_the_same_p():
    values, labels = channels(13, 50, 8)
    p = class_signal_p(rectified(values), labels, draws=99)
    np.testing.assert_array_equal(class_signal_p(rectified(values), labels, draws=99), p)
    assert (class_signal_p(rectified(values), labels, draws=99, seed=1) != p).any()


def test_memory_does_not_grow_with_channels_and_the_result_is_the_same(monkeypatch):
    values, labels = channels(14, 50, 8)
    expected = class_signal(values, labels), class_signal_p(values, labels, draws=99)
    monkeypatch.setattr(classes, "_CELLS", 150)
    np.testing.assert_array_equal(class_signal(values, labels), expected[0])
    np.testing.assert_array_equal(class_signal_p(values, labels, draws=99), expected[1])


def test_as_many_labels_as_images():
    with pytest.raises(InputError, match="got 4 images and 3 labels"):
        class_signal(np.zeros((4, 2)), np.zeros(3, int))
