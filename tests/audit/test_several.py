"""Performance where an image may have several labels."""

import math

import numpy as np
import pytest

from layerscope.audit.accuracy import Limits
from layerscope.audit.memorisation import memorised
from layerscope.audit.performance import low_accuracy, performance, performance_panel
from layerscope.measures.intervals import wilson
from layerscope.vocabulary import Class


def drawn(images, labels, seed=0, share=0.3):
    return (np.random.default_rng(seed).random((images, labels)) < share).astype(int)


def by_the_paper(share, n, z=1.959963984540054):
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def looped(predictions, truth, threshold):
    """Accuracy, majority, recall and ROC area, one decision after the other."""
    images, labels = truth.shape
    right, recalls, areas, commonest = 0, {}, [], []
    for label in range(labels):
        have = [i for i in range(images) if truth[i, label]]
        lack = [i for i in range(images) if not truth[i, label]]
        commonest.append(max(len(have), len(lack)) / images)
        right += sum(predictions[i, label] > threshold for i in have)
        right += sum(predictions[i, label] <= threshold for i in lack)
        if have:
            said = sum(predictions[i, label] > threshold for i in have)
            recalls[label] = (len(have), said / len(have))
        if have and lack:
            pairs = [(predictions[i, label], predictions[j, label]) for i in have for j in lack]
            areas.append(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    return right / (images * labels), sum(commonest) / labels, recalls, sum(areas) / len(areas)


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_numbers_are_those_of_a_plain_loop(seed, logits):
    random = np.random.default_rng(seed)
    truth = drawn(130, 5, seed)
    truth[:, 4] = 0  # a label that no image has
    scores = random.normal(size=truth.shape) + 1.5 * truth - 0.7
    predictions = scores if logits else 1 / (1 + np.exp(-scores))
    found = performance(predictions, truth, ["a", "b", "c", "d", "e"])

    accuracy, majority, recalls, area = looped(predictions, truth, 0 if logits else 0.5)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.majority == pytest.approx(majority)
    assert found.skill == pytest.approx((accuracy - majority) / (1 - majority))
    assert found.ci95 == pytest.approx(by_the_paper(accuracy, 130), abs=1e-6)
    assert found.skill_ci95 == pytest.approx(
        [(end - majority) / (1 - majority) for end in found.ci95]
    )
    assert {row.of.index: (row.images, row.accuracy) for row in found.per_class} == recalls
    assert found.per_class[0].of == Class(0, "a")
    hits = round(found.per_class[0].accuracy * found.per_class[0].images)
    assert found.per_class[0].ci95 == wilson(hits, found.per_class[0].images)
    assert any(f"ROC area {area:.3f}, the mean over 4 labels" in note for note in found.notes)
    assert (found.images, found.chance, found.confused, found.several) == (130, 0.5, (), True)
    assert (found.calibration_error is None) == logits


def test_an_interval_counts_images_and_not_decisions():
    wide, narrow = (performance(0.1 + 0.0 * drawn(n, 8), drawn(n, 8)) for n in (100, 800))
    assert wide.ci95 == pytest.approx(by_the_paper(wide.accuracy, 100), abs=1e-6)
    assert wide.ci95[1] - wide.ci95[0] > 2 * (narrow.ci95[1] - narrow.ci95[0])


def test_a_share_between_two_whole_numbers_has_an_interval_between_theirs():
    for n in (10, 100, 1000):
        below, within, above = (np.array(wilson(hits, n)) for hits in (n - 2, n - 1.5, n - 1))
        assert (below < within).all()
        assert (within < above).all()


def test_random_decisions_have_no_skill_and_perfect_ones_all_of_it():
    truth = drawn(4000, 6, share=0.5)
    guessed = np.random.default_rng(1).random(truth.shape)
    none, all_ = performance(guessed, truth), performance(truth * 0.8 + 0.1, truth)
    assert none.skill == pytest.approx(0, abs=0.03)
    assert none.verdict == "low"
    assert "not distinguishable from guessing" in performance_panel(none).summary
    assert (all_.accuracy, all_.skill, all_.verdict) == (1.0, 1.0, "high")
    assert any("ROC area 1.000" in note for note in all_.notes)


def test_saying_no_of_rare_labels_is_many_right_decisions_and_no_skill():
    truth = drawn(1000, 10, share=0.03)
    found = performance(np.full(truth.shape, 0.02), truth)
    assert found.accuracy > 0.95
    assert found.skill == pytest.approx(0, abs=1e-9)
    (finding,) = low_accuracy(found)
    assert "for always answering what is commonest of each label" in finding.message
    assert "of the decisions on 1,000 images, one per label" in finding.message


def test_a_decision_that_is_not_finite_is_wrong_either_way():
    truth = drawn(200, 3)
    predictions = truth * 0.8 + 0.1
    predictions[:50, 0] = np.nan
    found = performance(predictions, truth)
    assert found.accuracy == pytest.approx(1 - 50 / 600)
    assert found.broken == 50
    assert any("50 decisions with NaN or infinity" in note for note in found.notes)
    assert found.per_class[0].accuracy == pytest.approx(truth[50:, 0].sum() / truth[:, 0].sum())


def test_advice_can_be_given_where_every_image_has_one_broken_output():
    truth = drawn(200, 4)
    predictions = 0.9 - 0.8 * truth
    predictions[:, 0] = np.inf
    (finding,) = low_accuracy(performance(predictions, truth))
    assert "For 200 of the images the output is NaN or infinite" in finding.message


@pytest.mark.parametrize(
    ("predictions", "truth", "reason"),
    [
        (np.full((50, 4), 0.25), drawn(50, 4), "the model names one class per image"),
        (np.full((50, 4), 0.1), drawn(50, 3), "not one for each output"),
        (np.full((50, 1), 0.1), drawn(50, 3), "not one for each output"),
        (np.full((50, 3), 0.1), np.tile([1, 0, 1], (50, 1)), "Each label is the same"),
        (np.full((9, 3), 0.1), drawn(9, 3), "at least 10 labelled images"),
    ],
)
def test_what_cannot_be_judged_says_why(predictions, truth, reason):
    found = performance(predictions, truth)
    assert found.verdict == "not-tested"
    assert reason in found.reason
    assert reason in performance_panel(found).summary


def test_labels_that_no_image_tells_apart_have_no_area():
    found = performance(np.full((50, 3), 0.1), np.tile([1, 0, 1], (50, 1)))
    assert not any("ROC" in note for note in found.notes)


@pytest.mark.parametrize(("sure", "error"), [(0.9, 0.1), (0.6, 0.4)])
def test_the_calibration_error_is_over_decisions(sure, error):
    truth = drawn(200, 3)
    assert performance(np.where(truth, sure, 1 - sure), truth).calibration_error == pytest.approx(
        error
    )
    few = performance(np.where(truth, sure, 1 - sure)[:99], truth[:99], limits=Limits())
    assert few.calibration_error is None
    assert any("it needs 100 images" in note for note in few.notes)


def test_memorisation_is_about_one_label_per_image():
    truth = drawn(300, 3)
    found = performance(truth * 0.8 + 0.1, truth)
    nothing = (truth.astype(np.float32), np.full(300, -1))
    assert "about one label per image" in memorised(found, found, nothing, nothing).reason
