import re

import numpy as np
import pytest

from layerscope.measures.repeatability import TRANSFORMS
from layerscope.measures.structure import morans_i
from layerscope.measures.table import BY_NAME, MEASURES

SPATIAL = (
    "noise_share",
    "board",
    "morans_i",
    "structure",
    "flatness",
    "blur",
    "checkerboard",
    "positional",
    "repeat",
)

# The sources whose numbers were looked up.
KNOWN = {"2203.15331", "2010.02178", "1903.06733", "2506.05774"}


def test_each_measure_has_its_own_name():
    assert len(BY_NAME) == len(MEASURES)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_each_measure_says_what_its_ends_mean(measure):
    assert measure.what.endswith("?")
    assert measure.low
    assert measure.high
    assert measure.low != measure.high
    assert measure.range[0] < measure.range[1]
    assert measure.regimes


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_no_measure_of_arrangement_speaks_late_and_no_measure_of_meaning_early(measure):
    assert ("late" in measure.regimes) != measure.name.startswith((*SPATIAL, "specif", "kernel"))
    early = not measure.name.startswith(("class_signal", "coherence", "two_alternative"))
    assert ("early" in measure.regimes) == early


def test_specificity_falls_with_depth_and_speaks_early_only():
    assert BY_NAME["specificity"].regimes == ("early",)


def test_every_change_of_the_photo_has_its_measure():
    assert {f"repeat_{transform.name}" for transform in TRANSFORMS} <= set(BY_NAME)


def test_only_sources_that_were_looked_up_are_named_by_number():
    named = {number for m in MEASURES for number in re.findall(r"\d{4}\.\d{5}", m.source)}
    assert named == KNOWN


def test_the_range_of_morans_i_holds_for_its_extremes():
    low, high = BY_NAME["morans_i"].range
    y, x = np.mgrid[:5, :5]
    board = np.where((y + x) % 2, -1.0, 12 / 13) * np.sin(np.pi * (y + 1) / 6)
    z = board - board.mean()
    rook = (z[1:] * z[:-1]).sum() + (z[:, 1:] * z[:, :-1]).sum()
    reached = float(morans_i(np.array((z**2).sum()), np.array(rook), 5, 5))
    assert low <= reached < -1
    assert high > 1
