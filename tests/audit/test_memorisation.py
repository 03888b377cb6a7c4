"""The memorisation panel."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from layerscope.audit.memorisation import (
    Memorised,
    area,
    difference,
    memorisation_finding,
    memorisation_panel,
    memorised,
)
from layerscope.audit.performance import Performance, performance


def answers(count: int, right: float, sure: float, seed: int):
    """Predictions (count, 3) right for a share of the images and sure by so much."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    given = np.where(random.random(count) < right, labels, (labels + 1) % 3)
    strength = np.clip(sure + 0.1 * random.standard_normal(count), 0.4, 0.99)
    predictions = np.repeat((1 - strength)[:, None] / 2, 3, 1)
    predictions[np.arange(count), given] = strength
    return predictions.astype(np.float32), labels


def found(train, test) -> Memorised:
    return memorised(performance(*train), performance(*test), train, test)


@pytest.mark.parametrize(
    ("train", "test", "signs"),
    [
        ((1.0, 0.95), (0.6, 0.7), True),
        ((1.0, 0.8), (0.6, 0.8), False),
        ((0.9, 0.95), (0.88, 0.7), False),
        ((0.9, 0.8), (0.9, 0.8), False),
    ],
    ids=["both", "gap alone", "confidence alone", "neither"],
)
def test_signs_need_a_gap_and_confidence_that_tells(train, test, signs):
    case = found(answers(600, *train, 0), answers(400, *test, 1))
    panel = memorisation_panel(case)
    assert panel.verdict == ("signs" if signs else "no-signs")
    raised = memorisation_finding(case)
    assert [one.kind for one in raised] == ["memorisation"] * signs
    assert "600 training images" in panel.summary
    for one in raised:
        assert one.effect.value == pytest.approx(case.gap)
        assert one.severity == "warn"


def test_a_gap_below_0_is_told_as_lower():
    case = replace(found(answers(600, 0.9, 0.8, 0), answers(400, 0.9, 0.8, 1)), gap=-0.02)
    case = replace(case, gap_ci95=(-0.05, 0.01))
    summary = memorisation_panel(case).summary
    assert "accuracy is 2.0 % (95 % CI -1.0 to 5.0) lower on 600 training images" in summary


def test_the_area_is_that_of_all_pairs_and_its_interval_covers_the_truth():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 5, 40), random.integers(0, 4, 30)
    value, _ = area(a.astype(float), b.astype(float))
    assert value == pytest.approx(mannwhitneyu(a, b).statistic / (40 * 30))
    hits = 0
    for _ in range(300):
        x, y = random.normal(1, 1, 60), random.normal(0, 1, 80)
        low, high = area(x, y)[1]
        hits += low <= 0.7602 <= high  # Phi(1 / sqrt(2))
    assert 0.9 <= hits / 300 <= 0.99


def test_the_interval_of_the_gap_is_newcombes():
    """His example: 56 of 70 against 48 of 80 gives .0524 to .3339 (Newcombe 1998, table II a)."""

    def of(hits, images):
        labels = np.zeros(images, int)
        predictions = np.zeros((images, 2))
        predictions[np.arange(images), (np.arange(images) >= hits).astype(int)] = 1
        return performance(predictions, labels)

    low, high = difference(of(56, 70), of(48, 80))
    assert low == pytest.approx(0.0524, abs=5e-4)
    assert high == pytest.approx(0.3339, abs=5e-4)


def test_what_is_missing_is_named():
    good = answers(100, 0.9, 0.9, 0)
    assert "--train" in memorised(None, performance(*good), None, good).reason
    few = answers(120, 0.9, 0.9, 0)
    assert "200 labelled training images" in found(few, good).reason
    unlabelled = Performance(reason="The images carry no labels.")
    assert "no labels" in memorised(unlabelled, performance(*good), good, good).reason
    many = answers(600, 0.9, 0.9, 0)
    both = performance(*many), performance(*many), many, many
    assert "are the test images" in memorised(*both, same=True).reason
    assert memorised(*both).reason == ""
    assert memorisation_panel(found(few, good)).verdict == "not-tested"
    assert memorisation_finding(found(few, good)) == []
