"""Channels held at a value in every kind of model."""

import numpy as np
import pytest
from matrix import APPLICATIONS, CASES
from ready_models import Ready, ready

from layerscope.errors import InputError
from layerscope.focus.contract import NOISE
from layerscope.focus.targets import explained
from layerscope.interventions.ablation import (
    UNCHANGED,
    Case,
    ablated,
    ablated_anywhere,
    cut_at,
)
from layerscope.model.traced import Edit, view

NAMES = [
    *(name for name in CASES if name not in APPLICATIONS),
    "MobileNetV2",
    pytest.param("ResNet50", marks=pytest.mark.slow),
]
"""Every kind of model; of the large networks two, as each takes long to cut."""


@pytest.fixture(params=NAMES)
def kind(request: pytest.FixtureRequest) -> Ready:
    return ready(request.param)


def few_taps(kind: Ready):
    """What is explained, and some layers that it depends on; of large networks one."""
    about = explained(kind.traced, 0)
    taps = [tap for tap in kind.traced.taps if tap.tensor and depends(about, tap)]
    if kind.case.name in APPLICATIONS:
        return about, taps[len(taps) // 2 : len(taps) // 2 + 1]
    return about, taps[:: max(1, len(taps) // 3)][:4]


def depends(about, tap) -> bool:
    try:
        return bool(cut_at(about, tap.tensor))
    except InputError:
        return False


def first(kind: Ready):
    return np.zeros(kind.case.batch, np.int64)


def slowly(kind: Ready, about, tap, image, channel, value):
    """One image, one channel, the whole model."""
    inputs = [x[image : image + 1] for x in kind.inputs]
    width = kind.traced.tensor(tap.tensor).shape[-1]
    edits = {tap.tensor: Edit.channels(width, [channel], value)}
    given = {about.index: first(kind)[:1]}
    (values,) = kind.traced.run(inputs, [about.values], edits=edits, given=given)
    return view(values)[0]


def test_many_cases_in_a_pass_equal_one_after_the_other_through_the_whole_model(kind: Ready):
    about, taps = few_taps(kind)
    assert taps
    close = 2e-2 if kind.case.name in (*APPLICATIONS, "mixed_float16") else 1e-4
    for tap in taps:
        cut = cut_at(about, tap.tensor)
        width = kind.traced.tensor(tap.tensor).shape[-1]
        who = np.array([0, 1, 1, 0, 1])
        which = np.array([0, width - 1, UNCHANGED, width // 2, 0])
        what = np.array([0.3, -0.2, 9.0, 1.5, 0.0])
        found = np.empty((5, about.classes))
        for at, (values, score) in ablated(cut, kind.inputs, first(kind), who, which, what, 2):
            found[at] = values
            np.testing.assert_array_equal(score, values[:, 0])
        (plain,) = about.ask(kind.inputs, first(kind), [about.values])
        size = np.abs(plain).max() + NOISE
        for row, (image, channel, value) in enumerate(zip(who, which, what, strict=True)):
            if channel == UNCHANGED:
                expected = plain[image]
            else:
                expected = slowly(kind, about, tap, image, channel, value)
            np.testing.assert_allclose(found[row], expected, atol=close * size, err_msg=tap.path)


def test_cases_in_many_layers_equal_those_in_one(kind: Ready):
    about, taps = few_taps(kind)
    cases = [Case(tap.tensor, 0, 0.7) for tap in taps]
    inputs = [x[1:2] for x in kind.inputs]
    found = ablated_anywhere(about, inputs, first(kind)[:1], [Case("", 0, 0.0), *cases], 3)
    (plain,) = about.ask(inputs, first(kind)[:1], [about.score])
    expected = [plain[0], *(slowly(kind, about, tap, 1, 0, 0.7)[0] for tap in taps)]
    close = 2e-2 if kind.case.name in (*APPLICATIONS, "mixed_float16") else 1e-4
    np.testing.assert_allclose(found, expected, atol=close * (np.abs(expected).max() + NOISE))
