"""The command `layerscope focus`: what it writes and prints, and how it fails."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image
from typer.testing import CliRunner

from layerscope.errors import InputError
from layerscope.interfaces.cli import app
from layerscope.interfaces.focus import Asked, check, read_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("focus")
    keras.utils.set_random_seed(0)
    i = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, name="conv", activation="relu")(L.Rescaling(1 / 255)(i))
    out = L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x))
    keras.Model(i, out, name="tiny").save(folder / "model.keras")
    (folder / "names.txt").write_text("ant\nbee\ncow\n")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for at in range(20):
        pixels = random.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{at:02}.png")
    return folder


def run(folder, *arguments, images="photos/00.png"):
    given = ["focus", folder / "model.keras", folder / images, *arguments]
    return CliRunner().invoke(app, [str(a) for a in given])


def test_one_image_gives_a_page_and_a_picture(folder, tmp_path):
    done = run(folder, "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    few = "not tested: it takes 8 different images or more, and there are 1."
    assert done.stdout == f"Heatmaps of grad-cam at conv: {few}\n{tmp_path / 'out'}\n"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["heatmap.png", "index.html"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "grad-cam (Selvaraju et al. 2017)" in page
    assert "not tested" in page
    assert "It takes 8" in page


def test_a_folder_is_tested_and_some_of_it_is_drawn(folder, tmp_path):
    options = ["--class", "bee", "--classes", folder / "names.txt", "--method", "Layer_CAM"]
    done = run(folder, *options, "-o", tmp_path / "out", images="photos")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == (
        "layerscope: 16 of 20 images have a picture, evenly spread over the set.\n"
    )
    assert len(list((tmp_path / "out").glob("heatmap-*.png"))) == 16
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("bee (class 1)") >= 16
    assert "Heatmaps of layer-cam at conv" in page
    assert ">believable<" in page or ">unreliable<" in page
    said, place = done.stdout.splitlines()
    assert said.startswith("Heatmaps of layer-cam at conv: ")
    assert ("better than" in said, "on 20 images" in said) == (True, True)
    assert place == str(tmp_path / "out")
    quiet = run(folder, *options, "-o", tmp_path / "out", "--quiet", images="photos")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_one_file_without_controls(folder, tmp_path):
    options = ["--no-controls", "--method", "hires-cam", "--class", "2", "--layer", "conv"]
    options += ["--alpha", "0.7"]
    done = run(folder, *options, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("not tested: no controls were asked for.")
    page = (tmp_path / "page.html").read_text()
    assert "class 2, logit" in page
    assert "70 % heatmap" in page
    assert "untrained twin" not in page
    done = run(folder, *options, "-o", tmp_path / "one.png")
    assert done.exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "page.html"]


def test_a_terminal_gets_a_line_on_each_image(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("layerscope.interfaces.cli._on_terminal", lambda: True)
    done = run(folder, "--classes", folder / "names.txt", "-o", tmp_path / "out", images="photos")
    lines = done.stdout.splitlines()
    assert len(lines) == 22
    assert lines[0].startswith("00.png: ")
    assert lines[0].endswith((": believable", ": unreliable"))
    assert any(name in lines[0] for name in ("ant (class 0)", "bee (class 1)", "cow (class 2)"))


def test_parameters_of_a_method_are_set(folder, tmp_path):
    options = ["--method", "occlusion", "--no-controls", "-o", tmp_path / "page.html"]
    done = run(folder, *options, "--set", "patch=5", "--set", "baseline=0,0.5,1")
    assert done.exit_code == 0, done.stderr
    assert "patch 5, baseline array of shape (3,)" in (tmp_path / "page.html").read_text()


def test_settings_are_read_as_numbers_lists_switches_and_words():
    given = ["a=3", "b = 0.5", "c=true", "d=None", "e=mean", "f=1,2", "g=x=y", "h=(", "i=__name__"]
    assert read_settings(given) == {
        **{"a": 3, "b": 0.5, "c": True, "d": None, "e": "mean", "f": (1, 2), "g": "x=y"},
        **{"h": "(", "i": "__name__"},
    }


def test_digits_are_a_name_where_a_class_has_it_and_nothing_else_is_meant(folder, tmp_path):
    (tmp_path / "names.txt").write_text("2\n7\n1\n")
    options = ["--no-controls", "-o", tmp_path / "page.html", "--classes", tmp_path / "names.txt"]

    def explained(text):
        done = run(folder, *options, "--class", text)
        assert done.exit_code == 0, done.stderr
        return re.search(r"Explained: (.*?),", (tmp_path / "page.html").read_text())[1]

    assert explained("7") == explained("index:1") == "7 (class 1)"
    assert explained("name:2") == explained("0") == "2 (class 0)"
    done = run(folder, *options, "--class", "2")
    assert (done.exit_code, done.stderr) == (
        2,
        "layerscope: --class 2 is the name of class 0 and the index of '1': write name:2 or "
        "index:2.\n",
    )


def test_a_damaged_image_among_others_is_said(folder, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "bad.png").write_text("no image")
    (tmp_path / "set" / "good.png").write_bytes((folder / "photos" / "00.png").read_bytes())
    done = run(folder, "-o", tmp_path / "out", images=tmp_path / "set")
    assert done.exit_code == 0
    assert done.stderr.startswith("layerscope: skipped bad.png: ")
    assert "bad.png was skipped" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "gradcom"], "Did you mean 'grad-cam'?"),
        (["--method", "occlusion", "--layer", "conv"], "occlusion looks at the image"),
        (["--layer", "conf"], "Near: conv"),
        (["--class", "7"], "A class index counts from 0 to 2"),
        (["--class", "bee"], "--classes"),
        (["--set", "patch"], "--set takes NAME=VALUE, such as steps=128; got 'patch'"),
        (["--set", "relu=no"], "relu of grad-cam is True or False; got 'no'"),
        (["--set", "controls=False"], "The parameters of grad-cam are relu=True"),
        (["--set", "a=1", "--set", "a=2"], "each parameter once"),
        (["--method", "occlusion", "--set", "stride=17"], "stride is at most the longer side"),
        (["--alpha", "4"], "--alpha lies between 0"),
        (["-o", "picture.jpg"], "saved as .png"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    folder, tmp_path, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    done = run(folder, *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_one_picture_of_several_images_is_refused(folder, tmp_path):
    done = run(folder, folder / "photos" / "01.png", "-o", tmp_path / "a.png")
    assert (done.exit_code, "there are more" in done.stderr) == (2, True)
    done = run(folder, "--no-controls", "-o", tmp_path / "a.png", images="photos")
    assert (done.exit_code, "there are more" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_refused_is_refused_before_tensorflow_starts():
    code = (
        "import sys; from pathlib import Path; from layerscope.interfaces.focus import *\n"
        "print(check(Asked(('a.png',), Path('out'), None, 'Grad_CAM', 'conv')))\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["None", "[]"]
    with pytest.raises(InputError, match="there are more"):
        check(Asked(("a.png", "b.png"), Path("a.png"), method="rise"))


def test_the_pictures_never_take_the_place_of_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr("layerscope.interfaces.cli._start", lambda: pytest.fail("it starts"))
    photo = tmp_path / "cat.png"
    photo.write_bytes(b"precious")
    done = CliRunner().invoke(app, ["focus", "no.keras", str(photo), "-o", str(photo)])
    assert done.exit_code == 2
    assert "is among the images" in done.stderr
    assert photo.read_bytes() == b"precious"
