import numpy as np
import pandas as pd
import pytest

from layerscope.audit.learned import learned, learned_findings, no_class_signal

NAN = float("nan")


def layers(*given):
    """One row per layer; healthy twins of dimension 10 +- 0.5, class signal .2 +- .01."""
    healthy = {
        "channels": 32,
        "probe_dimension": 20.0, "twin_dimension": 10.0, "twin_dimension_sd": 0.5,
        "dimension_p": 0.001,
        "probe_class_signal": 0.3, "twin_class_signal": 0.2, "twin_class_signal_sd": 0.01,
        "class_signal_high_p": 0.001,
        "probe_entropy": 0.8, "twin_entropy": 0.95, "twin_entropy_sd": 0.001,
        "entropy_low_p": 0.001,
    }  # fmt: skip
    return pd.DataFrame([{"layer": f"l{i}"} | healthy | own for i, own in enumerate(given)])


ALIKE = {"probe_dimension": 10.2, "dimension_p": 0.7, "class_signal_high_p": 0.4}
UNTESTED = {"entropy_low_p": NAN, "probe_entropy": NAN}


def answers(*given, images=32):
    return list(learned(layers(*given), images)["learned"])


def test_one_test_that_tells_a_layer_from_its_twins_is_enough():
    assert answers({}, ALIKE, ALIKE | UNTESTED | {"dimension_p": 0.001}) == ["yes"] * 3


def test_a_layer_that_agrees_with_its_twins_in_every_test_was_not_learned():
    alike = ALIKE | {"entropy_low_p": 0.6}
    assert answers(alike, ALIKE | UNTESTED) == ["no", "no"]


def test_agreement_says_nothing_where_a_difference_could_not_be_seen():
    blunt = {"twin_dimension_sd": 3.0, "twin_class_signal_sd": 0.1}
    assert answers(ALIKE | UNTESTED | blunt) == ["unsure"]
    assert answers(ALIKE | UNTESTED | blunt | {"twin_class_signal_sd": 0.01}) == ["no"]


def test_p_values_are_corrected_over_all_tests_of_all_layers():
    lone = ALIKE | {"entropy_low_p": 0.6, "dimension_p": 0.03}
    assert answers(lone) == ["unsure"]  # .03 is neither agreement nor, times three, a difference
    assert answers(*[lone] * 20) == ["unsure"] * 20


def test_what_was_not_tested_is_so_called_and_few_images_leave_the_kernels_alone():
    nothing = UNTESTED | {"dimension_p": NAN, "class_signal_high_p": NAN}
    assert answers(nothing) == ["not-tested"]
    assert answers(UNTESTED, images=7) == ["not-tested"]
    assert answers({}, images=7) == ["yes"]


def test_a_profile_without_twins_is_not_tested():
    bare = pd.DataFrame({"layer": ["a"], "channels": [3]})
    judged = learned(bare, 32)
    assert list(judged["learned"]) == ["not-tested"]
    assert learned_findings(judged, 32) == ()


def findings(*given, images=32):
    return learned_findings(learned(layers(*given), images), images)


def test_random_kernels_are_named_where_they_are():
    fresh = {"entropy_low_p": 0.3, "probe_entropy": 0.9501}
    (found,) = findings({}, fresh, {}, {"entropy_low_p": 0.005})
    assert (found.id, found.severity) == ("random-kernels/l1", "warn")
    assert found.effect.value == pytest.approx(0.9501 / 0.95)
    assert "not distinguishable from random initialisation" in found.message
    assert "untrained" not in found.message


def test_a_single_layer_like_its_twin_is_a_note_and_most_of_them_a_warning():
    alike = ALIKE | {"entropy_low_p": 0.005} | UNTESTED
    (one,) = findings(alike, {}, {})
    assert (one.id, one.severity) == ("like-untrained-twin/l0", "info")
    assert {found.severity for found in findings(alike, alike, {})} == {"warn"}
    assert "dimension, class signal all agree" in one.message


def test_a_layer_of_half_the_twins_dimension_is_redundant():
    kinds = [found.id for found in findings({"probe_dimension": 4.0}, {"probe_dimension": 6.0})]
    assert kinds == ["redundant-layer/l0"]
    assert findings({"probe_dimension": 4.0}, images=7) == ()


def channels(p, regime="late"):
    rows = {"layer": "top", "regime": regime, "class_p": p, "class_signal": 0.1}
    return pd.DataFrame(rows)


def test_a_late_layer_without_a_channel_that_knows_a_class_is_told():
    p = np.linspace(0.05, 1, 20)
    (found,) = no_class_signal(channels(p), 100)
    assert (found.id, found.severity, found.images) == ("no-class-signal/top", "info", 100)
    assert no_class_signal(channels(np.append(p, 0.0005)), 100) == ()
    assert no_class_signal(channels(p, "early"), 100) == ()
    assert no_class_signal(channels([NAN] * 3), 100) == ()
