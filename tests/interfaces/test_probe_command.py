"""The command `layerscope probe`: what it writes and prints, and how it fails."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image
from typer.testing import CliRunner

from layerscope.interfaces.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    i = keras.Input((16, 16, 3))
    # Each class is a colour.
    x = L.Conv2D(3, 1, name="conv", activation="relu")(L.Rescaling(1 / 255)(i))
    out = L.Dense(3, activation="softmax", name="out")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(i, out, name="tiny")
    model.get_layer("conv").set_weights([np.eye(3)[None, None], np.zeros(3)])
    model.get_layer("out").set_weights([20 * np.eye(3), np.zeros(3)])
    model.save(folder / "model.keras")
    (folder / "names.txt").write_text("ant\nbee\ncow\n")
    random = np.random.default_rng(0)
    for place, name in enumerate(("ant", "bee", "cow")):
        (folder / "photos" / name).mkdir(parents=True)
        for at in range(10):
            pixels = random.integers(90, 110, (16, 16, 3), np.uint8)
            pixels[2:6, 2:6, place] += 60
            Image.fromarray(pixels).save(folder / "photos" / name / f"{at:02}.png")
    (folder / "flat").mkdir()
    for at in range(9):
        Image.fromarray(pixels).save(folder / "flat" / f"{at}.png")
    red = np.zeros((4, 6, 4), np.uint8)
    red[1:, :, 0] = 255
    red[..., 3] = 200
    Image.fromarray(red).save(folder / "mark.png")
    Image.fromarray(np.zeros((4, 17, 3), np.uint8)).save(folder / "large.png")
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(folder / "clear.png")
    (folder / "broken.png").write_text("no picture")
    return folder


def run(folder, *arguments, images="photos"):
    given = ["probe", folder / "model.keras", folder / images, *arguments]
    return CliRunner().invoke(app, [str(a) for a in given])


def test_a_mark_gives_a_page_a_sentence_and_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--mark", folder / "mark.png", "--at", "0.5,0.5"]
    done = run(folder, *options)
    assert done.exit_code == 0, done.stderr
    sentence, place = done.stdout.splitlines()
    # To this model a block of that colour is the same thing.
    assert sentence.startswith("The mark pushes none of 3 classes beyond what its controls do")
    assert "Most images move to ant: 100" in sentence
    assert place == "layerscope-probe"
    names = sorted(path.name for path in (tmp_path / "layerscope-probe").iterdir())
    assert names == ["index.html", *[f"probe-{at:02}.png" for at in range(1, 7)]]
    page = (tmp_path / "layerscope-probe" / "index.html").read_text()
    assert "6 × 4 pixels, upper left corner at x 8, y 8" in page
    assert "ant/00.png: ant " in page
    assert "Which classes the mark pushes" in page
    again = run(folder, *options, "--quiet", "--most", "9")  # its own files are replaced
    assert (again.exit_code, again.stderr) == (0, "")
    assert "on 9 images" in (tmp_path / "layerscope-probe" / "index.html").read_text()


def test_a_region_of_a_class_as_one_page(folder, tmp_path):
    options = ["--region", "0.1,0.1,0.4,0.4", "--from-class", "cow"]
    done = run(folder, *options, "-o", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("The region of class cow ")
    assert "the same region of a third class" in done.stdout
    assert done.stdout.endswith(f"\n{tmp_path / 'page.html'}\n")
    assert "of 16 × 16 pixels, from 10 images" in (tmp_path / "page.html").read_text()
    by_number = run(folder, *options[:-1], "2", "-o", tmp_path / "two.html")
    assert by_number.stdout.split("\n")[0] == done.stdout.split("\n")[0]


def test_a_roaming_mark_follows_the_seed(folder, tmp_path):
    options = ["--mark", folder / "mark.png", "--roam", "-o", tmp_path / "out"]
    pictures = []
    for seed in ("1", "1", "2"):
        assert run(folder, *options, "--seed", seed, images="flat").exit_code == 0
        pictures.append((tmp_path / "out" / "probe-01.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "got neither"),
        (["--mark", "mark.png", "--region", "0,0,1,1", "--from-class", "ant"], "got both"),
        (["--region", "0,0,1,1"], "got only --region"),
        (["--mark", "mark.png", "--from-class", "ant"], "got only --from-class"),
        (["--mark", "mark.png", "--at", "0.5,1.5"], "fractions 0 to 1"),
        (["--mark", "mark.png", "--at", "0.5"], "A place is X,Y"),
        (["--mark", "mark.png", "--at", "left"], "--at takes numbers"),
        (["--mark", "mark.png", "--at", "0,0", "--roam"], "not both"),
        (["--region", "0,0,0,1", "--from-class", "ant"], "X0 < X1"),
        (["--region", "0,0,1,1", "--from-class", "ant", "--roam"], "go with --mark only"),
        (["--mark", "broken.png"], "cannot be used as an image"),
        (["--mark", "none.png"], "it does not exist"),
        (["--mark", "clear.png"], "all of this one are transparent"),
        (["--mark", "mark.png", "-o", "one.png"], "a folder or to one .html"),
        (["--mark", "mark.png", "-o", "one.jpg"], "saved as .png"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_loaded(
    folder, tmp_path, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("layerscope.interfaces.cli._scope", None)
    given = [
        folder / o if o.endswith("k.png") or o in ("broken.png", "clear.png") else o
        for o in options
    ]
    done = run(folder, *given)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_serve_are_refused_before_the_model_is_loaded(folder, monkeypatch):
    monkeypatch.setattr("layerscope.interfaces.cli._scope", None)
    done = run(folder, "--region", "0,0,1,1", "--from-class", "ant", images="flat")
    assert (done.exit_code, "these are not labelled" in done.stderr) == (2, True)
    done = run(folder, "--mark", folder / "mark.png", images="nowhere")
    assert (done.exit_code, "does not exist" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mark", "large.png"], "17 x 4 pixels do not fit on 16 x 16"),
        (["--region", "0,0,1,1", "--from-class", "bea"], "Near: bee"),
        (["--region", "0,0,1,1", "--from-class", "7"], "A class index counts from 0 to 2"),
    ],
)
def test_what_the_model_must_tell_is_one_sentence_as_well(folder, tmp_path, options, words):
    given = [folder / o if o == "large.png" else o for o in options]
    done = run(folder, *given, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_checking_loads_no_tensorflow(folder):
    code = (
        "import sys; from pathlib import Path; from layerscope.interfaces.probe import check\n"
        f"asked = check({str(folder / 'mark.png')!r}, '0.1,0.5', False, None, None, "
        f"{str(folder / 'photos')!r}, Path('out'))\n"
        "print(asked.at, asked.mark.size)\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["(0.1, 0.5) (4, 6)", "[]"]
