"""Tables of docs/evidence.md, between marks, from files of lines."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "evidence.md"

Row = dict[str, Any]


def markdown(
    rows: Sequence[Row], columns: Mapping[str, str], shown: Callable[[str, Any], str]
) -> str:
    """A table with a heading for each column."""
    head = f"| {' | '.join(columns.values())} |\n|{'---|' * len(columns)}"
    lines = [f"| {' | '.join(shown(n, row.get(n)) for n in columns)} |" for row in rows]
    return "\n".join([head, *lines])


def put(mark: str, table: str) -> None:
    """Replace what stands between two marks of the page."""
    begin, end = f"<!-- {mark} -->\n", f"\n<!-- end {mark} -->"
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + table + end + rest.split(end, 1)[1])


def kept(file: Path) -> list[Row]:
    """What an earlier run kept."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, rows: Iterable[Row]) -> None:
    """Add rows."""
    with file.open("a") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
