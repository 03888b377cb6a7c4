"""The command compare, and options of audit that need no model."""

import json

import pytest
from typer.testing import CliRunner

from layerscope.interfaces.cli import app
from layerscope.store.directory import open_run

PANELS = ("clarity", "focus", "leakage", "memorisation", "performance")


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(folder, accuracy, findings=()):
    folder.mkdir()
    audit = {
        "schema_version": 1, "complete": True, "findings": list(findings),
        "model": {"sha256": folder.name}, "data": {"test": {"images": 10}},
        "performance": {"test": {"accuracy": accuracy, "ci95": [accuracy - 0.1, accuracy + 0.1]}},
        "panels": {name: {"verdict": "not-tested"} for name in PANELS},
        "channels": {}, "preprocess": {"name": "none"}, "provenance": {"data": "x"},
    }  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(audit))
    return folder


def test_two_runs_are_compared_on_stdout(tmp_path):
    hostile = {
        "id": "dead/\x1b[31mred", "severity": "warn", "message": "About it.", "effect": None
    }  # fmt: skip
    done = run("compare", write(tmp_path / "a", 0.5), write(tmp_path / "b", 0.7, [hostile]))
    assert done.exit_code == 0
    assert "Accuracy: 50.0 %" in done.stdout
    assert "Appeared warn dead/" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_place_without_an_audit_is_one_sentence_and_exit_2(tmp_path):
    done = run("compare", tmp_path, tmp_path)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "audit.json" in done.stderr


def test_a_run_that_was_stopped_is_said_to_be_unfinished_and_how_to_finish_it(tmp_path):
    with open_run(tmp_path / "run", {"seed": 0}, "hash"):
        pass
    done = run("compare", write(tmp_path / "a", 0.5), tmp_path / "run")
    assert done.exit_code == 2
    assert "was not finished" in done.stderr
    assert f"layerscope audit ... -o {tmp_path / 'run'}, again" in done.stderr


@pytest.mark.parametrize(
    ("given", "words"), [("0,0,2,2", "A region is X0,Y0,X1,Y1"), ("nowhere.png", "An expected")]
)
def test_an_expected_pattern_is_checked_before_tensorflow_starts(
    given, words, tmp_path, monkeypatch
):
    monkeypatch.setattr("layerscope.interfaces.cli._start", lambda: pytest.fail("it starts"))
    done = run("audit", "no.keras", "no", "--expected", given, "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert words in done.stderr
