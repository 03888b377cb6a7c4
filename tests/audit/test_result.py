import copy
import json
from dataclasses import replace

import audit_cases
import numpy as np
import pytest
from audit_cases import HOSTILE, audit, guesses, judged, layer, ordinary, table
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from layerscope.audit.clarity import CHANNEL_VERDICTS
from layerscope.audit.findings import KINDS, PANELS, VERDICTS, Effect, Finding, Panel
from layerscope.audit.performance import performance
from layerscope.audit.result import layer_results, schema

CASES = ("ordinary", "broken", "hostile", "untested")


def closed(part):
    """The schema without room for additions, so that a misspelt key is seen."""
    if isinstance(part, dict):
        kept = {key: closed(value) for key, value in part.items()}
        return {**kept, "additionalProperties": False} if "properties" in part else kept
    return [closed(value) for value in part] if isinstance(part, list) else part


def strictly_read(text):
    """Parse as readers do that know no NaN, from bytes of UTF-8."""

    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    return json.loads(text.encode("utf-8"), parse_constant=refuse)


def checked(made):
    content = strictly_read(made.to_json())
    Draft202012Validator(closed(schema())).validate(content)
    return content


@pytest.mark.parametrize("case", CASES)
def test_audits_are_valid_against_the_published_schema_without_additions(case):
    checked(getattr(audit_cases, case)())


def test_the_schema_is_one_and_bears_additions():
    Draft202012Validator.check_schema(schema())
    content = ordinary().to_dict()
    content["new"] = content["findings"][0]["new"] = {"any": "thing"}
    Draft202012Validator(schema()).validate(content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("channels", "dead"), -1),
        (("channels", "dead"), None),
        (("findings", 0, "severity"), "grave"),
        (("findings", 0, "link"), "http://example.org"),
        (("panels", "clarity", "verdict"), "high"),
        (("performance", "test", "accuracy"), 1.5),
        (("performance", "test", "ci95"), [0.5]),
        (("model", "sha256"), "abc"),
        (("statement",), None),
    ],
)
def test_the_schema_refuses_what_the_contract_does_not_allow(path, value):
    content = copy.deepcopy(ordinary().to_dict())
    part = content
    for key in path[:-1]:
        part = part[key]
    assert part[path[-1]] != value
    part[path[-1]] = value
    with pytest.raises(ValidationError, match=r".+"):
        Draft202012Validator(schema()).validate(content)


def test_the_schema_knows_every_panel_verdict():
    panels = schema()["properties"]["panels"]["properties"]
    assert {name: tuple(panels[name]["properties"]["verdict"]["enum"]) for name in panels} == {
        **VERDICTS
    }


@pytest.mark.parametrize(
    "key",
    [
        "schema_version",
        "complete",
        "tool",
        "created",
        "model",
        "preprocess",
        "data",
        "performance",
        "panels",
        "channels",
        "findings",
        "statement",
    ],
)
def test_every_key_of_the_contract_is_there_and_required(key):
    content = ordinary().to_dict()
    del content[key]
    with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
        Draft202012Validator(schema()).validate(content)


@pytest.mark.parametrize("case", CASES)
def test_channel_counts_sum_to_total_in_each_layer_and_in_all(case):
    content = getattr(audit_cases, case)().to_dict()
    layers = [one["channels"] for one in content["model"]["layers"]]
    for counts in (content["channels"], *layers):
        assert list(counts) == ["total", *CHANNEL_VERDICTS]
        assert sum(counts[name] for name in CHANNEL_VERDICTS) == counts["total"]
    assert content["channels"]["total"] == sum(counts["total"] for counts in layers)


def test_what_is_missing_or_not_finite_is_null():
    nan, inf = float("nan"), np.float32("inf")
    found = Finding(
        "noisy-maps",
        "seen",
        "try",
        layer="conv",
        channels=tuple(np.arange(2)),
        effect=Effect("share", np.float64(nan), (np.float32(0.25), nan)),
        p=inf,
        images=np.int64(8),
    )
    made = replace(ordinary(), findings=(found,), provenance={"a": -inf, "b": np.array([1, nan])})
    content = checked(made)
    one = content["findings"][0]
    assert one["effect"] == {"name": "share", "value": None, "ci95": None, "unit": "share"}
    assert (one["p"], one["region"], one["images"], one["channels"]) == (None, None, 8, [0, 1])
    assert content["provenance"] == {"a": None, "b": [1.0, None]}
    assert content["data"]["train"] is None
    assert content["performance"]["train"] is None


def test_numpy_numbers_become_plain_ones():
    found = Finding(
        "noisy-maps",
        "seen",
        "try",
        layer="conv",
        effect=Effect("share", np.float32(0.5), (np.float64(0.25), np.float16(0.75))),
        region=tuple(np.linspace(0, 1, 4)),
    )
    one = checked(replace(ordinary(), findings=(found,), complete=np.True_))["findings"][0]
    assert one["effect"] == {"name": "share", "value": 0.5, "ci95": [0.25, 0.75], "unit": "share"}
    assert one["region"] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_hostile_names_are_kept_as_text_that_every_reader_takes():
    content = checked(audit_cases.hostile())
    spelled = HOSTILE.replace("\udcff", "\\udcff")
    assert content["data"]["test"]["skipped"] == [{"file": spelled, "reason": spelled}]
    assert content["data"]["test"]["classes"][0] == spelled
    assert content["provenance"] == {spelled: spelled}


def test_accuracy_that_cannot_be_measured_is_null_but_there():
    test = audit_cases.untested().to_dict()["performance"]["test"]
    assert (test["accuracy"], test["ci95"], test["majority"], test["chance"]) == (None,) * 4
    assert test["per_class"] == []


def test_panels_that_were_not_run_are_not_tested():
    panels = replace(ordinary(), panels={"clarity": Panel("clear", "All.")}).to_dict()["panels"]
    assert list(panels) == list(PANELS)
    assert panels["clarity"]["verdict"] == "clear"
    assert panels["leakage"]["verdict"] == "not-tested"
    assert panels["leakage"]["not_tested"] == ["This panel was not run."]


def test_findings_carry_their_link_into_the_report():
    for found in ordinary().to_dict()["findings"]:
        assert found["link"] == f"report.html#{found['id']}"
        assert found["kind"] in KINDS


def test_layers_without_measured_channels_are_not_judged():
    rows = [layer("a", 8), layer("unmeasured", 5), layer("any", None)]
    found = layer_results(rows, judged(table("a", 8)), {"a": "late"})
    assert [one.channels["total"] for one in found] == [8, 5, 0]
    assert found[1].channels["not_judged"] == 5
    assert [one.regime for one in found] == ["late", None, None]
    made = audit(performance(*guesses(20, 0)), judged(table("a", 8)), rows)
    assert checked(made)["model"]["layers"][2]["shape"] == [28, 28, None]


def test_the_same_audit_gives_the_same_json():
    assert ordinary().to_json() == ordinary().to_json()
