"""The summary of an audit as Markdown."""

import re
import sys
from pathlib import Path

import pytest

from layerscope.errors import EnvironmentFailure
from layerscope.render.markdown import summary, write_summary

sys.path.append(str(Path(__file__).parents[1] / "audit"))
import audit_cases


def test_the_summary_has_statement_panels_and_the_grave_findings():
    case = audit_cases.broken()
    text = summary(case)
    assert all(f"| {name} | {case.panel(name).verdict.replace('-', ' ')}" in text for name in
               ("clarity", "focus", "leakage", "memorisation", "performance"))  # fmt: skip
    for found in case.findings:
        assert (found.kind in text) == (found.severity != "info")
    notes = sum(found.severity == "info" for found in case.findings)
    assert text.endswith(f"Notes: {notes}.\n")


def test_hostile_names_stay_text():
    text = summary(audit_cases.hostile())
    assert not re.search(r"(?<!\\)[<`\[]", text)
    assert "\x1b" not in text


def test_a_summary_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot"):
        write_summary(audit_cases.ordinary(), tmp_path / "file" / "summary.md")
    write_summary(audit_cases.ordinary(), tmp_path / "summary.md")
    assert (tmp_path / "summary.md").read_text().startswith("# Layerscope audit")
