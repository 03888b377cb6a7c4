import pytest

from layerscope.audit.findings import (
    KINDS,
    PANELS,
    VERDICTS,
    Finding,
    check_fail_on,
    failing,
    untested,
)
from layerscope.errors import InputError
from layerscope.vocabulary import Class

CONTRACT = {
    "fail": "non-finite, leak-confirmed",
    "warn": "dead-channels, constant-channels, saturated-channels, noisy-maps, blurry-maps, "
    "checkerboard, positional-bias, random-kernels, like-untrained-twin, image-independent, "
    "inconsistent-maps, redundant-layer, leak-present-unused, leak-suspect, data-label-property, "
    "near-duplicates-across-splits, near-duplicates-across-classes, memorisation, low-accuracy, "
    "preprocessing-suspect, label-mismatch, unreliable-heatmap",
    "info": "unused-channels, no-class-signal, small-decisive-region",
}


def finding(kind="dead-channels", **more):
    return Finding(kind, "seen", "try", **more)


def test_the_kinds_are_those_of_the_contract_with_their_severity():
    for severity, kinds in CONTRACT.items():
        own = {name for name, kind in KINDS.items() if kind.severity == severity}
        assert own == set(kinds.split(", "))


def test_every_panel_has_verdicts_and_kinds_and_can_be_untested():
    assert set(VERDICTS) == set(PANELS) == {kind.panel for kind in KINDS.values()}
    for panel in PANELS:
        assert untested("Why.").verdict in VERDICTS[panel]
    assert untested("Why.").not_tested == ("Why.",)


@pytest.mark.parametrize(
    ("more", "id"),
    [
        ({"layer": "a/conv@2"}, "dead-channels/a/conv@2"),
        ({"classes": (Class(3, "cat"),), "number": 2}, "dead-channels/cat/2"),
        ({}, "dead-channels/test"),
        ({"data": "train"}, "dead-channels/train"),
    ],
)
def test_an_id_names_the_kind_and_what_it_is_about_but_no_number_that_was_measured(more, id):
    assert finding(**more).id == id
    assert finding(**more, images=7, p=0.01).id == id


@pytest.mark.parametrize("name", ["a b", 'x"><script>', "é", "\udcff", "a#b?c", "50%"])
def test_an_anchor_fits_into_a_link_whatever_a_layer_is_called(name):
    anchor = finding(layer=name).anchor
    assert anchor.isascii()
    assert not set(anchor) & set(' "<>#?\\')
    others = [f"{name}2", "\udcfe", "?", "a", ""]
    assert anchor not in [finding(layer=other).anchor for other in others]


def test_a_minor_finding_is_for_information():
    assert finding().severity == "warn"
    assert finding(minor=True).severity == "info"


@pytest.mark.parametrize(
    ("fail_on", "kinds"),
    [
        ([], []),
        (["fail"], ["non-finite"]),
        (["warn"], ["non-finite", "dead-channels"]),
        (["unused-channels"], ["unused-channels"]),
        (["saturated-channels", "fail"], ["non-finite", "saturated-channels"]),
    ],
)
def test_fail_on_names_kinds_or_a_severity_and_above(fail_on, kinds):
    found = [
        finding("non-finite"),
        finding(),
        finding("unused-channels"),
        finding("saturated-channels", minor=True),
    ]
    assert [one.kind for one in failing(found, fail_on)] == kinds


@pytest.mark.parametrize("name", ["warning", "info", "leak", ""])
def test_fail_on_refuses_what_is_no_kind(name):
    with pytest.raises(InputError, match=r"--fail-on takes warn, fail or kinds.*The kinds are non"):
        check_fail_on(["warn", name])
