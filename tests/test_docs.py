"""The README says what is true."""

import re
from pathlib import Path

import keras
import numpy as np
from keras import layers as L
from PIL import Image
from typer.testing import CliRunner

from layerscope.focus.names import NAMES
from layerscope.interfaces.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


FOCUS, EFFECTS, LEAKAGE, PROBE = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("focus", "effects", "leakage", "probe")
)


def blocks(language, text=README + FOCUS + EFFECTS + LEAKAGE + PROBE):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_and_the_pages_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    for name in ("cat.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(pixels).save(name)
    i = keras.Input((24, 24, 3))
    x = L.Conv2D(4, 3, name="block1", activation="relu")(i)
    x = L.Conv2D(4, 3, name="block3_conv", activation="relu")(x)
    model = keras.Model(i, L.GlobalAveragePooling2D()(x))
    for place in ("train/a", "train/b", "train/c", "train/d"):
        for at in (place, place.replace("train", "test")):
            Path(at).mkdir(parents=True)
            for number in range(4):
                Image.fromarray(pixels).save(f"{at}/{number}.png")
    Image.fromarray(pixels[:4, :6]).save("mark.png")
    names = {"model": model}
    for code in blocks("python"):
        exec(code, names)
    assert names["audit"].result.performance.images == 16
    assert len(names["profile"].channels) == 8
    assert len(list(Path("focus").glob("*.png"))) == 2
    assert list(names["maps"]) == ["block3_conv"]
    assert len(names["maps"].ids) == 2


def test_the_page_on_heatmaps_has_the_words_of_the_legend_for_every_method():
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", FOCUS, re.MULTILINE))
    assert rows == NAMES


def test_every_command_of_the_readme_exists():
    commands = re.findall(r"layerscope ([a-z]+)", "\n".join(blocks("console")))
    assert {"audit", "demo", "focus", "layers", "probe", "show"} <= set(commands)
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_the_test_command_of_the_readme_is_the_one_that_ci_runs():
    assert "pip install -e '.[test]' && pytest\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"pip install .*-e '\.\[test\]' && pytest\b", ci)


def test_every_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_option_is_explained():
    for command in ("show", "layers", "focus", "audit", "probe", "demo"):
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
        for line in text.splitlines():
            if "--" in line and line.lstrip().startswith(("│", "-")):
                assert len(line.split()) > 3, line
