import numpy as np
import pandas as pd
import pytest
from audit_cases import judged, silent, table

from layerscope.audit.inputs import label_mismatch, preprocessing_suspect
from layerscope.audit.vitality import VitalityLimits, vitality_findings, vitality_verdicts


def found_in(rows, verdict):
    return list(rows["channel"][vitality_verdicts(rows) == verdict])


def test_only_channels_that_never_fired_are_dead():
    rows = table(channels=16, **silent(2, 5, 11))
    assert found_in(rows, "dead") == [2, 5, 11]
    assert (vitality_verdicts(rows) == "not_judged").sum() == 13


def test_one_image_in_which_it_fires_keeps_a_channel_alive():
    rows = table(fired=(3, 1), maximum=(3, 1e-9))
    assert found_in(rows, "dead") == []


@pytest.mark.parametrize("pre_activation", [True, False])
def test_on_signed_maps_no_channel_is_dead_and_only_the_range_counts(pre_activation):
    """As of a linear bottleneck (before an activation), and of SiLU or a leaky ReLU (after)."""
    rows = table(
        signed=True,
        fired=[(1, 0), (2, 0), (3, 0)],
        minimum=[(1, -5.0), (2, 0.0), (3, -1.0)],
        maximum=[(1, -0.1), (2, 0.0), (3, -1.0)],
    ).assign(pre_activation=pre_activation)
    assert found_in(rows, "dead") == []
    assert found_in(rows, "constant") == [2, 3]


def test_a_pre_activation_layer_without_a_negative_value_is_signed_all_the_same():
    rows = table(**silent(4)).assign(pre_activation=True)
    assert found_in(rows, "constant") == [4]


def test_a_signed_range_counts_against_the_layer_s_own():
    narrow = {"minimum": [(2, 1.0)], "maximum": [(2, 1.002)]}
    assert found_in(table(signed=True, **narrow), "constant") == [2]
    others = [0, 1, *range(3, 8)]
    low, high = ([(c, value) for c in others] for value in (-1e-3, 1e-3))
    weak = {"minimum": [*narrow["minimum"], *low], "maximum": [*narrow["maximum"], *high]}
    assert found_in(table(signed=True, **weak), "constant") == []
    # a weak channel after a ReLU still says where it fires
    assert found_in(table(maximum=(2, 1e-6)), "constant") == []


def test_a_range_that_is_rounding_is_constant_on_all_maps():
    rows = table(minimum=(6, 1.0), maximum=(6, np.float32(1) + np.float32(2e-7)))
    assert found_in(rows, "constant") == [6]


def test_layers_are_judged_apart():
    rows = pd.concat([table("a", **silent(0)), table("b", signed=True)], ignore_index=True)
    assert list(rows["layer"][vitality_verdicts(rows) == "dead"]) == ["a"]


def test_a_channel_has_the_first_verdict_that_applies():
    rows = table(
        finite=(0, 0),
        fired=[(0, 0), (1, 0)],
        minimum=[(0, np.nan), (2, 6.0)],
        maximum=[(0, np.nan), (1, 0.0), (2, 6.0)],
        saturated_share=[(0, np.nan), (2, 1.0), (3, 0.5), (4, 0.49)],
    )
    assert list(vitality_verdicts(rows)) == [
        "non_finite",
        "dead",
        "constant",
        "saturated",
        *["not_judged"] * 4,
    ]


def test_few_images_say_nothing_but_what_is_not_finite():
    rows = table(images=9, finite=(1, 0), **silent(2))
    assert list(vitality_verdicts(rows))[1:3] == ["non_finite", "not_judged"]
    assert vitality_verdicts(rows, VitalityLimits(fewest_images=5))[2] == "dead"


def test_the_table_is_left_unchanged_and_its_index_kept():
    rows = table(**silent(2)).set_index(pd.Index(range(100, 108)))
    before = rows.copy()
    assert list(vitality_verdicts(rows).index) == list(range(100, 108))
    pd.testing.assert_frame_equal(rows, before)


def test_an_empty_table_has_no_verdicts_and_no_findings():
    rows = judged(table().iloc[:0])
    assert len(vitality_verdicts(rows)) == 0
    assert vitality_findings(rows) == ()


def test_dead_channels_are_reported_with_the_limit_of_their_firing_rate():
    (found,) = vitality_findings(judged(table("a/conv", 16, **silent(2, 5))))
    assert found.id == "dead-channels/a/conv"
    assert found.channels == (2, 5)
    assert (found.effect.value, found.effect.ci95) == (2 / 16, None)
    assert found.message == (
        "2 of 16 channels of a/conv never fired on 800 images: each fires on at most 0.37 % of "
        "such images (95 %)."
    )
    assert "pruned" in found.advice
    assert "will" not in found.advice.split()


PLANTS = {
    "dead-channels": silent(*range(4)),
    "constant-channels": {end: [(c, 2.0) for c in range(4)] for end in ("minimum", "maximum")},
    "saturated-channels": {"saturated_share": [(c, 0.8) for c in range(4)]},
    "non-finite": {"finite": [(c, 0) for c in range(4)]},
}


@pytest.mark.parametrize("kind", PLANTS)
def test_each_kind_is_found_where_it_was_planted_and_nowhere_else(kind):
    rows = judged(table("sound"), table("ill", **PLANTS[kind]))
    (found,) = vitality_findings(rows)
    assert (found.kind, found.layer, found.channels) == (kind, "ill", (0, 1, 2, 3))
    assert found.severity == ("fail" if kind == "non-finite" else "warn")
    assert found.images == 800
    assert found.message.startswith("4 of 8 channels of ill ")


@pytest.mark.parametrize(
    ("channels", "dead", "images", "severity"),
    [
        (64, 6, 800, "info"),  # a few are ordinary
        (64, 7, 800, "warn"),
        (4, 1, 800, "info"),  # one channel is no share
        (4, 2, 800, "warn"),
        (64, 12, 12, "info"),  # twelve images overlook channels that fire on 22 % of all
        (64, 18, 12, "warn"),
    ],
)
def test_a_warning_needs_a_share_of_the_layer_that_the_images_can_bear(
    channels, dead, images, severity
):
    rows = judged(table("conv", channels, images=images, **silent(*range(dead))))
    assert [found.severity for found in vitality_findings(rows)] == [severity]


def test_what_is_not_finite_is_traced_to_the_first_layer():
    rows = judged(table("a"), table("z", finite=(3, 3)), table("b", finite=(0, 0)))
    first, second = vitality_findings(rows)
    assert (first.layer, second.layer) == ("z", "b")
    assert first.message == (
        "1 of 8 channels of z gave NaN or infinity on 797 of 800 images. No layer before it did."
    )
    assert second.advice.startswith("Look at z first")
    assert not first.minor


def test_doubts_about_the_images_carry_their_reason():
    mismatch = label_mismatch("3 classes, 4 outputs.", "train")
    assert (mismatch.id, mismatch.severity) == ("label-mismatch/train", "warn")
    assert mismatch.message.endswith("3 classes, 4 outputs.")
    suspect = preprocessing_suspect("0..1 fits better.")
    assert (suspect.id, suspect.severity) == ("preprocessing-suspect/test", "warn")
    assert suspect.message.endswith("0..1 fits better.")
