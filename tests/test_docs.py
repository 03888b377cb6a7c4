"""The README and the pages say what is true: their code runs, and nothing is left out."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from layerscope import Scope
from layerscope.audit.findings import KINDS, VERDICTS
from layerscope.audit.memorisation import LIMITS
from layerscope.focus.methods import METHODS
from layerscope.focus.names import NAMES
from layerscope.interfaces.cli import app

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
README = PAGES["README.md"]
COMMANDS = get_command(app).commands

pytestmark = pytest.mark.xdist_group("docs")


@dataclass(frozen=True)
class Block:
    """A block of code of a page, with the reason why it is not run, if it says one."""

    language: str
    code: str
    excuse: str


def blocks(page):
    found = re.findall(r"^(?:<!-- not run: (.+) -->\n)?```([^\n]*)\n(.*?)^```$", page, re.M | re.S)
    return [Block(language, code, excuse) for excuse, language, code in found]


WITH_CODE = [name for name, page in PAGES.items() if "```python" in page or "```console" in page]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with everything that the pages name."""
    home = tmp_path_factory.mktemp("docs")
    random = np.random.default_rng(0)
    files = ["cat.jpg", "dog.jpg", "photos/a.jpg", "photos/b.jpg"]
    files += [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in CLASSES
              for i in range(4)]  # fmt: skip
    for file in files:
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (30, 40, 3), np.uint8)).save(home / file)
    Image.fromarray(random.integers(0, 255, (4, 6, 3), np.uint8)).save(home / "mark.png")
    (home / "names.txt").write_text("\n".join(CLASSES))
    network().save(home / "model.keras")
    return home


CLASSES = ("ant", "bee", "cat", "dog")


def network():
    i = keras.Input((24, 24, 3))
    x = L.Rescaling(1 / 255)(i)
    x = L.Conv2D(4, 3, name="block1", activation="relu")(x)
    x = L.Conv2D(4, 3, name="block3_conv", activation="relu")(x)
    return keras.Model(i, L.Softmax()(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page_runs_or_says_why_not(name, place, monkeypatch):
    monkeypatch.chdir(place)
    model = keras.saving.load_model("model.keras")
    names = {"model": model, "scope": Scope(model, classes=CLASSES)}
    for block in blocks(PAGES[name]):
        if block.excuse or block.language.startswith("{"):  # a part of the page, and no code
            continue
        match block.language:
            case "python":
                exec(block.code, names)
            case "console":
                for line in block.code.replace("\\\n", " ").splitlines():
                    in_a_shell(line)
            case language:
                assert language == "text", f"{name}: a block of {language!r} needs its reason"


def in_a_shell(line):
    command, *words = shlex.split(line)
    assert command == "layerscope", f"not run, and no reason is given: {line}"
    done = CliRunner().invoke(app, words)
    assert done.exit_code in ((0, 1) if "--fail-on" in words else (0,)), f"{line}\n{done.output}"


def test_a_reason_why_code_is_not_run_is_a_reason():
    excused = [block for page in PAGES.values() for block in blocks(page) if block.excuse]
    assert excused
    assert all(len(block.excuse.split()) > 3 for block in excused)


def test_the_page_on_heatmaps_has_the_words_of_the_legend_for_every_method():
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGES["docs/focus.md"], re.MULTILINE))
    assert rows == NAMES


def test_every_kind_of_finding_is_documented_with_its_panel_severity_and_title():
    page = PAGES["docs/findings.md"]
    entries = {}
    for part in re.split(r"^## ", page, flags=re.M)[1:]:
        panel = part.partition("\n")[0].lower()
        for kind, severity, title, text in re.findall(
            r"^### (\S+)\n\n\*\*(\w+)\*\* · (.+)\n\n((?:.+\n)+)", part, re.M
        ):
            entries[kind] = (panel, severity, title)
            assert re.search(r"\*What to\s+do:\*", text), kind
    assert entries == {kind: (of.panel, of.severity, of.title) for kind, of in KINDS.items()}


@pytest.mark.parametrize("panel", VERDICTS)
def test_every_panel_has_a_page_with_all_its_verdicts(panel):
    told = set(re.findall(r"^(?:\| |- )`([a-z-]+)`", PAGES[f"docs/{panel}.md"], re.MULTILINE))
    assert set(VERDICTS[panel]) <= told


def test_the_page_on_memorisation_has_the_lines_of_the_code():
    rows = PAGES["docs/memorisation.md"]
    line = f"reaches {100 * LIMITS.gap:.0f} %, and the lower end of the area {LIMITS.auc:.2f}"
    assert line.replace("0.", ".") in rows
    train, test = LIMITS.fewest_train, LIMITS.fewest_test
    assert f"fewer than {train} labelled training images or {test} labelled test images" in rows


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_argument_and_option_is_explained(name):
    command = COMMANDS[name]
    assert len(command.help.split()) > 5
    for parameter in command.params:
        assert len((parameter.help or "").split()) > 2, f"{name} {parameter.name}"
        assert parameter.help.endswith("."), f"{name} {parameter.name}"
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_every_command_is_told_on_a_page():
    code = "\n".join(block.code for page in PAGES.values() for block in blocks(page))
    told = set(re.findall(r"^(?:.*&& )?layerscope ([a-z]+)", code, re.MULTILINE))
    assert told == set(COMMANDS)


def test_the_test_command_of_the_readme_is_the_one_that_ci_runs():
    assert "pip install -e '.[test]' && pytest\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"pip install .*-e '\.\[test\]' && pytest\b", ci)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_link_leads_somewhere(name):
    links = re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", PAGES[name])
    assert links
    for file, anchor in links:
        assert (ROOT / file).exists(), file
        headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]
        assert not anchor or anchor in slugs, f"{file}#{anchor}"


def test_the_page_on_heatmaps_has_the_parameters_of_every_method_with_their_defaults():
    table = PAGES["docs/focus.md"].split("| method | parameters |")[1].split("\n\n")[0]
    found = {}
    for methods, parameters in re.findall(r"^\| (`.*) \| (.*) \|$", table, re.MULTILINE):
        given = dict(re.findall(r"`(\w+)=([^`]+)`", parameters))
        found |= dict.fromkeys(re.findall("`([^`]+)`", methods), given)
    assert found == {
        name: {own: f"{p.default:g}" if isinstance(p.default, float) else str(p.default)
               for own, p in method.parameters.items()}
        for name, method in METHODS.items()
    }  # fmt: skip
