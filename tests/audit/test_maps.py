import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from layerscope.audit.maps import SMALLEST_P, MapLimits, map_findings, map_verdicts, unjudged

CLEAR = {
    "structure": (0.4, 0.35, 0.45),
    "noise_share": (0.1, 0.08, 0.12),
    "blur": (1.0, 0.9, 1.1),
    "positional_kept": (0.01, 0.0, 0.02),
    "board": (np.nan, np.nan, np.nan),
    "specificity": (0.3, 0.25, 0.35),
    "repeat_shift": (0.95, 0.9, 0.99),
    "repeat_jpeg": (0.9, 0.85, 0.95),
}
ENDS = ("", "_low", "_high")


def table(*channels, layer="conv", **more):
    """One row per channel; each names the measures in which it differs from a clear one."""
    rows = [
        {f"{name}{end}": value for name, values in (CLEAR | own).items()
         for end, value in zip(ENDS, values, strict=True)}
        for own in channels
    ]  # fmt: skip
    about = {"layer": layer, "channel": range(len(rows)), "images": 200, "verdict": "not_judged"}
    return pd.DataFrame(rows).assign(**about | more)


def verdicts(*channels, regime="early", **more):
    return list(map_verdicts(table(*channels, **more), {"conv": regime})["verdict"])


@pytest.mark.parametrize(
    ("measure", "on_the_line", "beyond", "verdict"),
    [
        ("noise_share", (0.5, 0.4, 0.6), (0.6, 0.5, 0.7), "noisy"),
        ("blur", (0.1, 0.05, 0.15), (0.05, 0.02, 0.1), "blurry"),
        ("positional_kept", (0.3, 0.2, 0.4), (0.4, 0.3, 0.5), "artefact"),
        ("board", (0.02, 0.01, 0.03), (0.06, 0.05, 0.07), "artefact"),
    ],
)
def test_a_verdict_needs_the_whole_interval_beyond_the_line(measure, on_the_line, beyond, verdict):
    found = verdicts({}, {measure: on_the_line}, {measure: beyond})
    assert found == ["clear", "unsure", verdict]


def test_no_more_order_than_noise_input_gives_is_unsure_and_never_noisy():
    assert verdicts({"structure": (0.01, -0.05, 0.06)}) == ["unsure"]
    assert verdicts({"structure": (-0.2, -0.3, -0.1)}) == ["unsure"]


def test_the_first_verdict_that_applies_counts():
    noisy, marked = {"noise_share": (0.8, 0.7, 0.9)}, {"positional_kept": (0.4, 0.3, 0.5)}
    blurry = {"blur": (0.05, 0.02, 0.1)}
    found = verdicts(noisy | marked | blurry, noisy | blurry, blurry)
    assert found == ["artefact", "noisy", "blurry"]


def test_late_layers_and_those_of_unknown_depth_get_no_verdict_on_arrangement():
    noisy = {"noise_share": (0.8, 0.7, 0.9)}
    assert verdicts(noisy, {}, regime="late") == ["not_judged", "not_judged"]
    assert verdicts(noisy, regime=None) == ["not_judged"]
    assert verdicts(noisy, regime="middle") == ["noisy"]


def test_what_vitality_said_stays():
    assert verdicts({}, {}, verdict=["dead", "not_judged"]) == ["dead", "clear"]


def test_too_few_images_make_unsure_and_tell_so():
    unknown = (0.1, np.nan, np.nan)
    found = map_verdicts(table({"noise_share": unknown}), {"conv": "early"})
    assert list(found["verdict"]) == ["unsure"]
    assert "too few images" in found["reason"][0]


def test_the_reason_is_the_measure_that_decided():
    found = map_verdicts(table({}, {"noise_share": (0.6, 0.5, 0.7)}), {"conv": "early"})
    assert list(found["reason"]) == [
        "order 0.40 above noise input, noise 0.10",
        "noise 0.60 (0.50 to 0.70)",
    ]


def test_maps_that_do_not_follow_their_image_are_not_clear_unless_they_follow_it_a_little():
    channels = [{"specificity": values} for values in ((0.0, -0.02, 0.02), (0.04, 0.02, 0.06))]
    early = map_verdicts(table(*channels), {"conv": "early"})
    assert list(early["verdict"]) == ["unsure", "clear"]
    assert list(early["flagged"]) == ["image-independent", ""]
    middle = map_verdicts(table(*channels), {"conv": "middle"})
    assert list(middle["flagged"]) == ["", ""]


def test_maps_are_inconsistent_where_no_small_change_leaves_them_as_they_are():
    upset = dict.fromkeys(("repeat_shift", "repeat_jpeg"), (0.3, 0.2, 0.4))
    found = map_verdicts(
        table(upset, upset | {"repeat_jpeg": CLEAR["repeat_jpeg"]}), {"conv": "early"}
    )
    assert list(found["flagged"]) == ["inconsistent-maps", ""]
    assert list(found["verdict"]) == ["unsure", "clear"]


def test_findings_give_the_median_channel_with_its_interval_and_a_corrected_p():
    noisy = [{"noise_share": (v, v - 0.05, v + 0.05)} for v in (0.9, 0.6, 0.7)]
    rows = map_verdicts(table(*noisy, *[{}] * 5), {"conv": "early"})
    (found,) = map_findings(rows)
    assert (found.id, found.severity, found.channels) == ("noisy-maps/conv", "warn", (0, 1, 2))
    assert (found.effect.value, found.images) == (0.7, 200)
    assert found.effect.ci95 == pytest.approx((0.65, 0.75))
    # the p of the median one, times 8 / 3 and no smaller than resampling can tell
    assert found.p == SMALLEST_P
    assert found.message.startswith("3 of 8 channels of conv are noisy: 70 % of the variance")


def test_p_is_corrected_over_the_channels_judged():
    near = [{"noise_share": (0.5, 0.455, 0.545)}] * 2
    rows = map_verdicts(table(*near, *[{}] * 6), {"conv": "early"})
    (found,) = map_findings(rows)
    one_sided = norm.sf((0.5 - MapLimits().noise) / (0.09 / 2 / norm.ppf(0.975)))
    assert found.p == pytest.approx(one_sided * 8 / 2)


def test_a_channel_is_part_of_one_finding_on_noise_and_no_more():
    ill = {"noise_share": (0.8, 0.7, 0.9), "repeat_shift": (0.3, 0.2, 0.4),
           "repeat_jpeg": (0.3, 0.2, 0.4)}  # fmt: skip
    marked = ill | {"positional_kept": (0.4, 0.3, 0.5)}
    found = map_verdicts(table(ill, marked), {"conv": "early"})
    assert list(found["flagged"]) == ["noisy-maps", "positional-bias inconsistent-maps"]


def test_few_flagged_channels_are_a_note():
    rows = map_verdicts(table({"noise_share": (0.9, 0.8, 1.0)}, *[{}] * 30), {"conv": "early"})
    assert [found.severity for found in map_findings(rows)] == ["info"]


@pytest.mark.parametrize(
    ("kind", "measures"),
    [
        ("noisy-maps", {"noise_share": (0.8, 0.7, 0.9)}),
        ("blurry-maps", {"blur": (0.05, 0.02, 0.1)}),
        ("positional-bias", {"positional_kept": (0.4, 0.3, 0.5)}),
        ("checkerboard", {"board": (0.06, 0.05, 0.07)}),
        ("image-independent", {"specificity": (0.0, -0.02, 0.02)}),
        ("inconsistent-maps", {"repeat_shift": (0.3, 0.2, 0.4), "repeat_jpeg": (0.1, 0.0, 0.2)}),
    ],
)
@pytest.mark.parametrize("ill", [1, 4])
def test_every_kind_is_raised_where_it_is_and_nowhere_else(kind, measures, ill):
    sound = table({}, {}, layer="sound")
    rows = pd.concat([sound, table(*[measures] * ill, *[{}] * 4)], ignore_index=True)
    (found,) = map_findings(map_verdicts(rows, {"sound": "early", "conv": "early"}))
    assert (found.kind, found.layer, found.channels) == (kind, "conv", tuple(range(ill)))
    assert found.advice
    assert "will" not in found.advice.split()


def test_what_is_not_judged_is_named_with_its_number():
    rows = map_verdicts(table({}, {}), {"conv": "late"})
    (said,) = unjudged(rows)
    assert said.startswith("The arrangement of the maps of 1 late layer (2 channels)")
    (said,) = unjudged(map_verdicts(table({}), {"conv": None}))
    assert "not known (1 channel)" in said


def test_an_empty_table_is_no_error():
    rows = map_verdicts(table({}).iloc[:0], {})
    assert len(rows) == 0
    assert map_findings(rows) == ()
