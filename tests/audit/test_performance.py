from dataclasses import replace

import audit_cases
import numpy as np
import pytest
from audit_cases import guesses

from layerscope.audit.findings import Panel
from layerscope.audit.performance import (
    Limits,
    calibration_error,
    low_accuracy,
    performance,
    performance_panel,
    wilson,
)
from layerscope.vocabulary import Class


def test_classes_in_another_order_are_told_as_that_and_not_as_guessing():
    truth = np.repeat(np.arange(4), 20)
    swapped = np.array([0, 2, 3, 1])[truth]
    found = performance(np.eye(4)[swapped], truth)
    panel = performance_panel(found)
    assert panel.verdict == "low"
    assert "probably in another order" in panel.summary
    assert "not distinguishable" not in panel.summary
    panels = {"performance": panel, "clarity": Panel("clear", "Clear.")}
    audit = replace(audit_cases.ordinary(), performance=found, panels=panels, findings=())
    assert "not a good model yet" not in audit.statement
    panels["performance"] = Panel("low", "In words of another kind.")
    assert "not a good model yet" not in replace(audit, panels=panels).statement
    same = np.zeros(80, int)
    lost = performance(np.eye(4)[same], truth)
    assert "another order" not in performance_panel(lost).summary
    assert "not a good model yet" in replace(audit, performance=lost).statement
    random = np.random.default_rng(0).integers(0, 4, 80)
    assert "another order" not in performance_panel(performance(np.eye(4)[random], truth)).summary


def test_the_wilson_interval_is_that_of_the_paper():
    hits, n, z = 45, 60, 1.959963984540054
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson(hits, n) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_accuracy_stands_beside_what_guessing_gives():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    predictions = np.eye(4)[np.where(np.arange(100) < 90, labels, 3)]
    found = performance(predictions, labels)
    assert (found.images, found.accuracy, found.majority, found.chance) == (100, 0.9, 0.6, 0.25)
    assert found.skill == pytest.approx((0.9 - 0.6) / 0.4)
    assert found.ci95 == wilson(90, 100)


@pytest.mark.parametrize(
    ("hits", "wrong", "verdict"),
    [(95, 5, "high"), (88, 12, "moderate"), (70, 30, "moderate"), (40, 60, "low")],
)
def test_the_verdict_follows_the_limits_of_the_skill(hits, wrong, verdict):
    found = performance(*guesses(hits, wrong))
    low, high = ((limit - 0.25) / 0.75 for limit in found.ci95)
    assert found.skill_ci95 == pytest.approx((low, high))
    assert found.verdict == verdict
    assert (high < 0.5) == (verdict == "low")
    assert (low >= 0.8) == (verdict == "high")


def test_the_thresholds_are_parameters():
    assert performance(*guesses(70, 30), limits=Limits(low=0.8)).verdict == "low"
    assert performance(*guesses(70, 30), limits=Limits(high=0.4)).verdict == "high"


def test_a_majority_beats_chance_as_the_baseline():
    labels = np.array([0] * 950 + [1] * 50)
    always_first = performance(np.eye(2)[np.zeros(1000, int)], labels)
    assert always_first.accuracy == 0.95
    assert always_first.skill == 0
    assert always_first.verdict == "low"
    assert "not distinguishable from guessing" in performance_panel(always_first).summary


def test_classes_have_their_own_accuracy_and_only_those_with_images():
    labels = np.array([0] * 20 + [2] * 30)
    predictions = np.eye(3)[np.where(np.arange(50) < 35, labels, 1)]
    first, last = performance(predictions, labels, ["a", "b", "c"]).per_class
    assert (first.of, first.images, first.accuracy) == (Class(0, "a"), 20, 1.0)
    assert (last.of, last.images, last.accuracy) == (Class(2, "c"), 30, 0.5)
    assert last.ci95 == wilson(15, 30)


def test_the_most_frequent_confusions_come_first():
    labels = np.array([0] * 10 + [1] * 50 + [2] * 20)
    answers = labels.copy()
    answers[:4], answers[10:14], answers[60:67] = 2, 0, 1
    found = performance(np.eye(3)[answers], labels, ["a", "b", "c"]).confused
    seen = [(row.true.name, row.predicted.name, row.images, row.share) for row in found]
    assert seen == [("c", "b", 7, 0.35), ("a", "c", 4, 0.4), ("b", "a", 4, 0.08)]


def test_classes_without_names_go_by_their_index():
    assert performance(*guesses(20, 0)).per_class[3].of == Class(3, "3")
    assert performance(*guesses(20, 0), ["cat"]).per_class[1].of == Class(1, "1")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize(
    ("values", "kind"), [([0.1, 0.4, 0.6, 0.9], "sigmoid"), ([-3, -0.2, 0.3, 5], "logit")]
)
def test_one_output_tells_two_classes(shape, values, kind):
    predictions = np.array(values * 10).reshape(shape)
    labels = np.array([0, 0, 1, 1] * 10)
    found = performance(predictions, labels, ["no", "yes"], paired=kind == "logit")
    assert (found.accuracy, found.chance) == (1.0, 0.5), kind
    assert [row.of.name for row in found.per_class] == ["no", "yes"]


def test_the_threshold_of_one_output_is_a_half():
    predictions = np.array([0.49, 0.51] * 10)
    assert performance(predictions, np.array([0, 1] * 10)).accuracy == 1.0


@pytest.mark.parametrize(
    ("predictions", "labels", "reason"),
    [
        (np.eye(4), None, "carry no labels"),
        (np.eye(4), np.full(4, -1), "carry no labels"),
        (np.eye(4), np.eye(4, dtype=int), "multi-label"),
        (np.eye(4), np.array([0.5, 1.2, 3.0, 0.1]), "regression"),
        (np.ones((4, 1)), np.array([20, 31, 44, 7]), "regression"),
        (
            np.array([[-3.2], [0.4], [1.1], [5.0]]),
            np.arange(4) % 2,
            "between -3.2 and 5: that is no",
        ),
        (np.ones((4, 8, 8, 3)), np.zeros(4, int), "8 x 8 x 3 per image"),
        ({"a": np.eye(4), "b": np.eye(4)}, np.arange(4), "2 outputs"),
        (np.eye(4), np.array([0, 1, 2, 7]), "up to 7, and the model knows 4 classes"),
    ],
)
def test_what_accuracy_cannot_judge_is_not_tested_and_says_why(predictions, labels, reason):
    found = performance(predictions, labels)
    assert (found.verdict, found.accuracy, found.images) == ("not-tested", None, 0)
    assert reason in found.reason
    assert reason in performance_panel(found).not_tested[0]
    assert low_accuracy(found) == ()


@pytest.mark.parametrize(
    ("hits", "classes", "reason"), [(5, 4, "at least 10"), (40, 1, "all images are of one class")]
)
def test_numbers_without_a_verdict_say_why(hits, classes, reason):
    predictions, labels = guesses(hits, 0, classes)
    if classes == 1:
        predictions = np.eye(4)[labels]
    found = performance(predictions, labels)
    assert found.accuracy == 1.0
    assert found.verdict == "not-tested"
    assert reason in found.reason.lower()


def test_unknown_labels_are_left_out_and_counted():
    predictions, labels = guesses(30, 10)
    labels[:10] = -1
    found = performance(predictions, labels)
    assert (found.images, found.accuracy) == (30, pytest.approx(20 / 30))
    assert "10 images without a known label left out" in found.notes[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("outputs", [1, 2])
def test_outputs_that_are_not_finite_are_wrong_and_counted(bad, outputs):
    labels = np.array([0, 1] * 60)
    predictions = np.eye(2)[labels][:, -outputs:].astype(np.float32)
    predictions[:30] = bad
    found = performance(predictions, labels)
    assert found.accuracy == 0.75
    assert "30 outputs with NaN or infinity counted as wrong" in " ".join(found.notes)
    assert found.calibration_error == pytest.approx(0, abs=1e-6)
    assert found.confused == ()


def oracle(confidence, hits, bins):
    total = 0.0
    for k in range(bins):
        inside = (confidence >= k / bins) & (
            (confidence < (k + 1) / bins) | ((k == bins - 1) & (confidence == 1))
        )
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    return total


def test_the_calibration_error_is_that_of_its_definition():
    random = np.random.default_rng(0)
    confidence = np.append(random.uniform(0.2, 1, 500), 1.0)
    hits = random.uniform(size=501) < confidence**2
    assert calibration_error(confidence, hits, 15) == pytest.approx(oracle(confidence, hits, 15))
    assert calibration_error(confidence, hits, 15) > 0.1


def test_the_last_bin_of_the_calibration_error_holds_certainty():
    confidence, hits = np.repeat([0.95, 1.0], 5), np.repeat([True, False], 5)
    assert calibration_error(confidence, hits) == pytest.approx(0.475)


def test_a_probability_that_rounding_lifts_above_1_is_no_logit():
    labels = np.arange(200) % 2
    predictions = (np.eye(2)[labels] * (1 + 1e-7)).astype(np.float32)
    assert performance(predictions, labels).calibration_error == pytest.approx(0, abs=1e-6)


def test_logits_are_as_calibrated_as_their_softmax():
    random = np.random.default_rng(1)
    logits = random.normal(size=(300, 5)).astype(np.float32) * 3
    labels = random.integers(0, 5, 300)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    by_logits, by_softmax = performance(logits, labels), performance(softmax, labels)
    assert by_logits.calibration_error == pytest.approx(by_softmax.calibration_error, abs=1e-5)
    assert by_logits.accuracy == by_softmax.accuracy


def test_half_precision_probabilities_are_no_logits():
    logits = np.random.default_rng(2).normal(size=(200, 1000)).astype(np.float32) * 2
    logits[:100] = 0  # a thousandth is rounded alike in a whole row
    softmax = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float16)
    labels = softmax.argmax(1)
    error = performance(softmax, labels).calibration_error
    assert error == pytest.approx(1 - softmax.max(1).mean(dtype=float), abs=1e-3)


def test_separate_sigmoids_and_few_images_have_no_calibration_error():
    sigmoids = np.full((200, 3), 0.9)
    found = performance(sigmoids, np.arange(200) % 3)
    assert found.calibration_error is None
    assert "do not add up to 1" in found.notes[0]
    found = performance(*guesses(40, 10))
    assert found.calibration_error is None
    assert "needs 100 images" in found.notes[0]


def test_low_accuracy_is_found_and_says_what_to_try():
    (found,) = low_accuracy(performance(*guesses(200, 300)))
    assert (found.id, found.severity, found.panel) == (
        "low-accuracy/test",
        "warn",
        "performance",
    )
    assert "40.0 % (95 % CI 35.8 to 44.4) on 500 images, against 25.0 %" in found.message
    assert "preprocessing" in found.advice
    assert low_accuracy(performance(*guesses(400, 100))) == ()


def test_worse_than_guessing_points_at_the_order_of_the_classes():
    (found,) = low_accuracy(performance(*guesses(10, 490)))
    assert "another order" in found.advice
    (found,) = low_accuracy(performance(*guesses(125, 375)))
    assert "another order" not in found.advice


def test_an_assumed_order_is_named_where_two_classes_are_swapped_or_one_is_never_right():
    labels, names = np.arange(400) % 4, ["cat", "dog", "hen", "fox"]
    swapped = performance(np.eye(4)[[1, 0, 2, 3]][labels], labels, names)
    (found,) = low_accuracy(swapped, assumed=True)
    assert "order of the classes is an assumption" in found.advice
    assert "cat and dog are mostly taken for each other" in found.advice
    assert "recognised" not in found.advice
    lost = performance(np.eye(4)[[0, 1, 0, 1]][labels], labels, names)
    (found,) = low_accuracy(lost, assumed=True)
    assert "order of the classes is an assumption" in found.advice
    assert "no image of hen, fox is recognised" in found.advice
    for known in (low_accuracy(swapped), low_accuracy(lost)):
        assert "assumption" not in known[0].advice
    (found,) = low_accuracy(performance(*guesses(200, 300)), assumed=True)
    assert "assumption" not in found.advice


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_named_as_the_cause_and_no_order_is_blamed(bad):
    predictions, labels = guesses(500, 0)
    predictions[:300] = bad
    (found,) = low_accuracy(performance(predictions, labels))
    assert "For 300 of them the output is NaN or infinite" in found.message
    assert found.advice.startswith("Outputs that are not finite come from")
    assert "order" not in found.advice
    predictions[:] = bad
    (found,) = low_accuracy(performance(predictions, labels))
    assert "For 500 of them" in found.message
    assert "order" not in found.advice


def test_a_few_outputs_that_are_not_finite_hide_no_other_cause():
    predictions, labels = guesses(10, 490)
    predictions[-5:] = np.nan
    (found,) = low_accuracy(performance(predictions, labels))
    assert found.advice.startswith("Outputs that are not finite come from")
    assert "another order" in found.advice
    (found,) = low_accuracy(performance(*guesses(10, 490)))
    assert "not finite" not in found.advice
    assert "NaN" not in found.message


def test_the_panel_carries_the_verdict_and_its_numbers():
    panel = performance_panel(performance(*guesses(480, 20)))
    assert panel.verdict == "high"
    assert panel.summary.startswith("Performance is high: accuracy 96.0 % (95 % CI 93.9 to 97.4)")
    assert "distinguishable" not in panel.summary
    assert panel.not_tested == ()
