"""The layering of the package, and what an import may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import layerscope

PACKAGE = Path(layerscope.__file__).parent

# From the inside outwards: a module imports only from its own row and the rows before it.
ROWS = (
    ("errors", "vocabulary", "compiled"),
    ("images",),
    ("model",),
    ("feed",),
    ("statistics",),
    ("measures",),
    ("leakage",),
    ("store",),
    ("selection",),
    ("profile",),
    ("focus",),
    ("interventions",),
    ("run",),
    ("audit",),
    ("document",),
    ("render",),
    ("show", "heatmaps", "auditing"),
    ("zoo",),
    ("testing",),
    ("intake",),
    ("focusing", "effects", "decisive", "describing", "leaking", "probing"),
    ("examining",),
    ("scope",),
    ("interfaces", "__init__", "__main__"),
)
TENSORFLOW = {"model", "focus", "interventions", "intake", "scope", "zoo", "testing"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide the layering"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_rows_before_it(path: Path):
    row = {part: i for i, parts in enumerate(ROWS) for part in parts}
    own = part_of(path)
    for name in imports(path):
        package, _, rest = name.partition(".")
        part = rest.split(".")[0]
        if package == "layerscope" and part in row:
            assert row[part] <= row[own], f"{own} imports {name}"
        if package in {"tensorflow", "keras"}:
            assert own in TENSORFLOW, f"{own} imports {name}"
        assert not name.startswith("keras.src"), f"{own} imports the private {name}"
        assert name.split(".")[0] != "pickle" or own == "zoo", f"{own} imports pickle"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_stay_small_and_names_say_something(path: Path):
    source = path.read_text()
    assert len(source.splitlines()) <= 500
    assert path.stem not in {"util", "utils", "common", "helper", "helpers", "misc", "base", "core"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


def test_every_part_of_the_package_has_its_row():
    parts = {part_of(path) for path in FILES}
    assert parts == {part for parts in ROWS for part in parts}


@pytest.mark.parametrize(
    "command",
    [
        "import layerscope",
        "from layerscope.interfaces import cli",
        "from layerscope.interfaces import audit",
    ],
)
def test_nothing_heavy_loads_before_it_is_needed(command: str):
    heavy = "tensorflow, keras, pandas, matplotlib, scipy, sklearn, skimage, zarr, PIL, jinja2"
    code = f"{command}; import sys; print([m for m in '{heavy}'.split(', ') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
