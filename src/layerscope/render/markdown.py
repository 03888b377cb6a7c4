"""An audit in short, as Markdown: for the summary page of a build, or a comment."""

import re
from pathlib import Path

from layerscope.audit.findings import PANELS, SEVERITIES
from layerscope.audit.result import Audit
from layerscope.render import write_whole
from layerscope.render.labels import plain

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")


def summary(audit: Audit) -> str:
    """Statement, panels and findings; names of files and classes cannot become markup."""
    lines = ["# Layerscope audit", "", *(f"{_safe(words)}\n" for words in audit.sentences)]
    lines += ["| panel | verdict | |", "|---|---|---|"]
    for name in PANELS:
        panel = audit.panel(name)
        lines.append(f"| {name} | {panel.verdict.replace('-', ' ')} | {_safe(panel.summary)} |")
    for severity in SEVERITIES:
        own = [found for found in audit.findings if found.severity == severity]
        if own and severity != "info":
            lines += ["", f"## {severity}", ""]
            lines += [f"- **{_safe(found.id)}**: {_safe(found.message)}" for found in own]
    notes = sum(found.severity == "info" for found in audit.findings)
    lines += ["", f"Notes: {notes}."]
    return "\n".join(lines) + "\n"


def write_summary(audit: Audit, path: str | Path) -> None:
    """Write the summary: the whole file, or nothing.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    write_whole(path, summary(audit).encode())


def _safe(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
