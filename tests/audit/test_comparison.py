"""Two audits side by side."""

import json

import pytest

import layerscope as ls
from layerscope.audit.comparison import compare, compared
from layerscope.errors import InputError


def finding(name, value, ci95=None, effect="share of channels", severity="warn", **more):
    return {
        "id": name, "kind": name.split("/")[0], "severity": severity, "message": f"About {name}.",
        "effect": {"name": effect, "value": value, "ci95": ci95} | more,
    }  # fmt: skip


def audit(findings=(), accuracy=0.8, ci95=(0.75, 0.85), clarity="clear", weights="a", **more):
    verdicts = dict.fromkeys(("focus", "leakage", "memorisation", "performance"), "not-tested")
    return {
        "schema_version": 1, "complete": True, "findings": list(findings),
        "model": {"sha256": weights}, "data": {"test": {"images": 100}},
        "performance": {"test": {"accuracy": accuracy, "ci95": ci95}},
        "panels": {n: {"verdict": v} for n, v in {**verdicts, "clarity": clarity}.items()},
        "channels": {"total": 10, "dead": 1}, "preprocess": {"name": "0..1"},
        "provenance": {"data": "x"},
    } | more  # fmt: skip


def test_what_appears_and_vanishes_is_told_by_id():
    found = compared(audit([finding("dead/a", 0.1)]), audit([finding("noisy/b", 0.2)], weights="b"))
    assert [one[0] for one in found.appeared] == ["noisy/b"]
    assert [one[0] for one in found.vanished] == ["dead/a"]
    assert (found.changed, found.same, found.remarks) == ((), 0, ())
    assert "Appeared warn noisy/b: About noisy/b." in str(found)


def test_a_panel_that_only_one_audit_tested_is_named():
    before, after = audit([finding("dead/a", 0.1)]), audit(clarity="not-tested")
    said = "The second audit did not test clarity: what has vanished there may be unchanged."
    assert said in compared(before, after).remarks
    said = "The first audit did not test clarity: what has appeared there may be unchanged."
    assert said in compared(after, before).remarks


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        (finding("x/a", 0.5), finding("x/a", 0.2), True),
        (finding("x/a", 0.2), finding("x/a", 0.5), False),
        (finding("x/a", 0.6, effect="accuracy"), finding("x/a", 0.4, effect="accuracy"), False),
        (
            finding("x/a", -0.1, effect="gain over the edges of the image"),
            finding("x/a", 0.1, effect="gain over the edges of the image"),
            True,
        ),
        (finding("x/a", 1.0, effect="entropy"), finding("x/a", 2.0, effect="entropy"), None),
    ],
)
def test_what_changed_is_better_or_worse_by_its_kind_of_effect(before, after, better):
    (change,) = compared(audit([before]), audit([after])).changed
    assert change.better is better


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("share", "50.0 % (95 % CI 40.0 to 60.0), then 0.0 %."),
        ("points", "50.0 points (95 % CI 40.0 to 60.0), then 0.0 points."),
        ("number", "0.50 (95 % CI 0.40 to 0.60), then 0.00."),
        (None, "0.50 (95 % CI 0.40 to 0.60), then 0.00."),
    ],
)
def test_what_changed_is_told_in_the_unit_of_the_finding(unit, words):
    more = {} if unit is None else {"unit": unit}  # older audits do not say it
    pair = finding("x/a", 0.5, [0.4, 0.6], **more), finding("x/a", 0.0, **more)
    assert f"Better x/a: share of channels {words}" in str(compared(*(audit([x]) for x in pair)))


def test_a_change_within_the_interval_is_none():
    pairs = [(0.3, [0.2, 0.4], 0.35, [0.25, 0.45]), (0.3, None, 0.35, [0.25, 0.45])]
    for a, of_a, b, of_b in pairs:
        found = compared(audit([finding("x/a", a, of_a)]), audit([finding("x/a", b, of_b)]))
        assert found.changed == ()
        assert found.same == 1


def test_panels_accuracy_and_channels_stand_beside_it():
    after = audit(
        accuracy=0.9, ci95=(0.86, 0.93), clarity="mixed", channels={"total": 10, "dead": 3}
    )
    found = compared(audit(), after)
    assert found.panels == (("clarity", "clear", "mixed"),)
    assert found.channels == (("dead", 1, 3),)
    assert "Accuracy: 80.0 % (95 % CI 75.0 to 85.0), then 90.0 %" in str(found)
    assert "+10.0 points, beyond both intervals." in str(found)
    little = compared(audit(), audit(accuracy=0.78, ci95=(0.73, 0.83)))
    assert "-2.0 points, within an interval." in str(little)
    assert "same weights" in found.remarks[0]
    none = compared(audit(), audit(accuracy=None, ci95=None))
    assert "then not tested" in str(none)


def test_other_images_and_preprocessing_are_remarked():
    other = audit(
        weights="b", provenance={"data": "y"}, preprocess={"name": "torch"}, complete=False,
        quick=True,
    )  # fmt: skip
    remarks = compared(audit(), other).remarks
    assert len(remarks) == 4
    assert "The second was a quick look" in remarks[1]
    assert "test images differ" in remarks[0]
    assert "torch" in remarks[2]


def test_accuracies_of_one_label_and_of_several_are_told_apart():
    several = {"test": {"accuracy": 0.9, "ci95": (0.8, 0.95), "several_labels": True}}
    other = audit(weights="b", performance=several)
    assert "not of one kind" in compared(audit(), other).remarks[0]
    assert compared(other, audit(performance=several)).remarks == ()
    untested = {"test": {"accuracy": None, "several_labels": False}}
    assert compared(other, audit(performance=untested)).remarks == ()


def test_runs_are_read_from_their_directories(tmp_path):
    for name, given in (("a", audit()), ("b", audit([finding("dead/a", 0.1)]))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(json.dumps(given))
    found = ls.compare(tmp_path / "a", tmp_path / "b" / "audit.json")
    assert [one[0] for one in found.appeared] == ["dead/a"]


@pytest.mark.parametrize(
    "text", [None, "no json", "{}", '{"schema_version": 2, "findings": []}', "[]"]
)
def test_what_is_no_audit_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "audit.json").write_text(text)
    with pytest.raises(InputError, match="An audit is compared by its"):
        compare(tmp_path, tmp_path)
