"""Rises of classes beyond controls: against definitions, and how often chance is called a push."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

from layerscope.measures.pushes import (
    DRAWS,
    FLIPS,
    Answers,
    drawn_means,
    p_of_leads,
    pushes,
    resamples,
    share_limits,
)


def answers(values):
    values = np.asarray(values, np.float32)
    return Answers(values, softmax(values, 1))


def test_resampled_outcomes_count_by_the_product_of_their_parts():
    photos, donors = np.array(["a", "a", "b", "c"]), np.array([0, 1, 1, 2])
    both, alone = resamples(photos, donors, seed=3), resamples(photos, seed=3)
    assert both.shape == (DRAWS, 4)
    np.testing.assert_array_equal(alone[:, 0], alone[:, 1])
    np.testing.assert_array_equal(alone[:, [0, 2, 3]].sum(1), np.full(DRAWS, 3))
    ratio = both[:, 1:3][(alone[:, 1:3] > 0).all(1)] / alone[:, 1:3][(alone[:, 1:3] > 0).all(1)]
    np.testing.assert_array_equal(ratio[:, 0], ratio[:, 1])


def test_resampled_means_are_weighted_means():
    rows, weights = np.array([[1.0, 10.0], [3.0, 30.0]]), np.array([[1.0, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(drawn_means(rows, weights), [[2, 20], [1, 10]])
    assert np.isnan(drawn_means(rows, np.zeros((1, 2)))).all()


@pytest.mark.parametrize(("hits", "count"), [(0, 25), (7, 25), (25, 25)])
def test_limits_of_shares_are_wilsons(hits, count):
    found = share_limits(np.array([hits / count]), np.array([count]))
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose([found.low[0], found.high[0]], expected, atol=1e-6)


def test_a_p_value_is_corrected_for_all_classes():
    wrong = 0
    for seed in range(60):
        leads = np.random.default_rng(seed).standard_normal((20, 50))
        wrong += p_of_leads(leads, np.arange(20), seed).min() <= 0.05
    assert wrong <= 9  # 3 expected; 50 classes without a correction would give 55
    leads[:, 7] += 3
    found = p_of_leads(leads, np.arange(20))
    assert found.argmin() == 7
    assert found[7] == 1 / (1 + FLIPS)


def test_crops_of_few_photos_are_no_proof():
    leads = np.ones((40, 2))
    assert p_of_leads(leads, np.arange(40))[0] == 1 / (1 + FLIPS)
    assert p_of_leads(leads, np.arange(40) % 3)[0] > 0.08


def made(count=30, lift=2.0, control=0.0, seed=0):
    random = np.random.default_rng(seed)
    base = random.standard_normal((count, 5))
    noise = random.standard_normal((2, count, 5)) / 10
    up = np.eye(5)[3]
    after = {"": answers(base + noise[0] + lift * up), "c": answers(base + noise[1] + control * up)}
    return answers(base), after


def test_the_table_holds_means_shares_and_leads():
    before, after = made()
    found = pushes(before, after, np.arange(30), {})
    rises = after[""].values - before.values
    np.testing.assert_allclose(found["rise"], rises.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        found["c_rise_lead"], (after[""].values - after["c"].values).mean(0), rtol=1e-4
    )
    np.testing.assert_allclose(
        found["probability"], (after[""].likely - before.likely).mean(0), rtol=1e-4
    )
    free = before.called != 3
    assert found["moved"][3] == (after[""].called[free] == 3).mean()
    spread = rises.std(0, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(found["rise_high"] - found["rise_low"], 3.92 * spread, rtol=0.3)
    assert found["pushed"].tolist() == [False, False, False, True, False]


def test_what_a_control_does_as_well_is_no_push():
    before, after = made(lift=2.0, control=2.0)
    found = pushes(before, after, np.arange(30), {})
    assert found["rise_low"][3] > 1.5
    assert not found["pushed"].any()


def test_fewer_than_eight_photos_give_no_limits_and_no_push():
    before, after = made()
    for photos, donors in ((np.arange(30) % 7, {}), (np.arange(30), {"": np.arange(30) % 7})):
        donors = donors and donors | {"c": np.arange(30)}
        found = pushes(before, after, photos, donors)
        assert np.isnan(found["rise_low"]).all()
        assert np.isnan(found["p"]).all()
        assert not found["pushed"].any()
        assert np.isfinite(found["rise"]).all()


def test_few_donors_make_the_limits_wider():
    random = np.random.default_rng(0)
    base, up = random.standard_normal((40, 5)), np.eye(5)[3]
    gives = np.arange(40) % 8
    lift = random.normal(2, 1, 8)[gives, None] * up
    after = {"": answers(base + lift), "c": answers(base)}
    width = {}
    for name, donors in (("each", np.arange(40)), ("few", gives)):
        found = pushes(answers(base), after, np.arange(40), {"": donors, "c": np.arange(40)})
        width[name] = (found["rise_high"] - found["rise_low"])[3]
    assert width["few"] > 1.4 * width["each"]


def test_what_two_of_eight_donors_do_is_no_push():
    random = np.random.default_rng(0)
    base, up = random.standard_normal((40, 5)), np.eye(5)[3]
    gives = np.arange(40) % 8
    both = base + 2 * up + random.standard_normal((40, 5)) / 100
    after = {"": answers(both + 3 * (gives < 2)[:, None] * up), "c": answers(both)}
    found = pushes(answers(base), after, np.arange(40), {"": gives, "c": np.arange(40)})
    assert found["rise_low"][3] > 1.5
    assert found["p"][3] < 0.02
    assert not found["pushed"][3]
