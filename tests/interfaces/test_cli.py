"""The command line: what it prints, what it writes, how it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from layerscope.interfaces.cli import app

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    keras.utils.set_random_seed(0)
    i = keras.Input((24, 24, 3))
    x = L.Conv2D(6, 3, name="block1_conv", activation="relu")(L.Rescaling(1 / 255)(i))
    x = L.Conv2D(6, 3, name="block2_conv", activation="relu")(x)
    out = L.Dense(2, activation="softmax")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(i, out, name="tiny")
    model.save(folder / "model.keras")
    model.save_weights(folder / "only.weights.h5")
    model.get_layer("block1_conv").kernel.assign(np.full((3, 3, 3, 6), np.nan))
    model.save(folder / "nan.keras")
    vector = keras.Input((4,))
    keras.Model(vector, L.Dense(2)(vector)).save(folder / "vector.keras")
    four = keras.Input((24, 24, 4))
    keras.Model(four, L.Conv2D(2, 3)(four)).save(folder / "four.keras")
    second = keras.Input((5,))
    both = L.Concatenate()([L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(i)), second])
    keras.Model([i, second], L.Dense(2)(both)).save(folder / "two.keras")
    keras.Model(i, L.Lambda(lambda x: x * 2)(L.Conv2D(2, 3)(i))).save(folder / "lambda.keras")
    (folder / "broken.keras").write_bytes((folder / "model.keras").read_bytes()[:700])
    for name in ("a.tflite", "b.pth"):
        (folder / name).write_bytes(b"something")
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"")
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes((folder / "photo.jpg").read_bytes()[:400])
    return folder


def run(*arguments, cwd=None):
    before = Path.cwd()
    try:
        if cwd:
            os.chdir(cwd)
        return CliRunner().invoke(app, [str(a) for a in arguments])
    finally:
        os.chdir(before)


def test_a_terminal_also_gets_a_preview(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("layerscope.interfaces.cli._on_terminal", lambda: True)
    done = run("show", folder / "model.keras", folder / "photo.jpg", "-o", tmp_path / "out")
    assert "block1_conv" in done.stdout
    assert done.stdout.endswith(f"{tmp_path / 'out'}\n")


def test_show_writes_the_pictures_and_prints_where(folder, tmp_path):
    done = run("show", folder / "model.keras", folder / "photo.jpg", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert done.stderr == ""
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "index.html",
        "layer-1-block1_conv.png",
        "layer-2-block2_conv.png",
        "overview.png",
    ]


def test_show_one_layer_to_one_file_with_a_given_number_of_maps(folder, tmp_path):
    options = ["--layers", "block1_conv", "--maps", "3", "--scale", "layer"]
    target = tmp_path / "one.png"
    done = run("show", folder / "model.keras", folder / "photo.jpg", *options, "-o", target)
    assert (done.exit_code, done.stdout) == (0, f"{target}\n")
    assert list(tmp_path.iterdir()) == [target]


def test_a_damaged_image_among_others_is_said_and_the_rest_is_shown(folder, tmp_path):
    images = [folder / "photo.jpg", folder / "text.jpg"]
    done = run("show", folder / "model.keras", *images, "-o", tmp_path / "out")
    assert done.exit_code == 0
    assert "skipped" in done.stderr
    assert "text.jpg" in done.stderr
    assert (tmp_path / "out" / "overview.png").exists()


def test_what_was_left_out_and_done_to_files_is_said_on_stderr(folder, tmp_path):
    random = np.random.default_rng(1)
    frames = [Image.fromarray(random.integers(0, 255, (9, 9, 3), np.uint8)) for _ in range(2)]
    for at in range(18):
        frames[0].save(tmp_path / f"{at}.gif", save_all=True, append_images=frames[1:])
    options = ["--layers", "block1_conv", "--maps", "1"]
    done = run("show", folder / "model.keras", tmp_path, *options, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    cut, gif = done.stderr.splitlines()
    assert cut == "layerscope: 16 of 18 images are shown, evenly spread over the set."
    assert gif.startswith("layerscope: First frame of an animation: 0.gif, 1.gif")
    done = run("show", folder / "model.keras", tmp_path, *options, "-o", tmp_path / "o", "--quiet")
    assert done.stderr == ""


def test_maps_lie_over_the_photo_with_alpha(folder, tmp_path):
    arguments = ["show", folder / "model.keras", folder / "photo.jpg", "-o", tmp_path / "out"]
    done = run(*arguments, "--alpha", "0.4")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out" / "overlay-2-block2_conv-1.png").exists()
    page = (tmp_path / "out" / "index.html").read_text()
    assert "over photo.jpg: 40 % map over the photo" in page
    done = run(*arguments, "--alpha", "4")
    assert done.exit_code == 2
    assert "alpha is a number from 0" in done.stderr


def test_a_folder_with_a_page_of_others_is_refused(folder, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    done = run("show", folder / "model.keras", folder / "photo.jpg", "-o", tmp_path)
    assert done.exit_code == 2
    assert "was not written by layerscope show" in done.stderr
    assert (tmp_path / "index.html").read_text() == "mine"


def test_the_place_that_is_printed_is_where_the_pictures_are(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run("show", folder / "model.keras", folder / "photo.jpg", "-o", "~/out")
    assert done.stdout == f"{tmp_path / 'out'}\n"


def test_model_and_images_may_lie_at_home_unless_a_file_has_that_name(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(folder))
    (tmp_path / "~photo.jpg").write_bytes((folder / "photo.jpg").read_bytes())
    given = ("~/model.keras", "~/photo.jpg", "~photo.jpg")
    done = run("show", *given, "-o", "out", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    done = run("show", "~/model.keras", "~nobody-here/photo.jpg", "-o", "out2", cwd=tmp_path)
    assert done.exit_code == 2
    assert "A path that begins with ~ lies in a home directory" in done.stderr


def test_layers_is_a_table_or_json(folder):
    done = run("layers", folder / "model.keras")
    assert done.exit_code == 0, done.stderr
    assert "block2_conv" in done.stdout
    assert "20x20x6" in done.stdout
    rows = json.loads(run("layers", folder / "model.keras", "--json").stdout)
    assert [row["path"] for row in rows] == ["block1_conv", "block2_conv"]
    assert rows[1]["receptive_field"] == 5
    assert rows[0]["shape"] == [22, 22, 6]


BAD = {
    "missing model": (["show", "no.keras", "photo.jpg"], "no.keras"),
    "missing image": (["show", "model.keras", "no.jpg"], "'no.jpg'"),
    "unknown layer": (
        ["show", "model.keras", "photo.jpg", "--layers", "block1_cnv"],
        "Near: block1_conv",
    ),
    "number of maps": (["show", "model.keras", "photo.jpg", "--maps", "0"], "--maps takes"),
    "preprocessing": (
        ["show", "model.keras", "photo.jpg", "--preprocess", "0..2"],
        "none, 0..1, -1..1",
    ),
    "channels": (["show", "four.keras", "photo.jpg", "--preprocess", "none"], "4 channels|takes 4"),
    "inputs": (["show", "two.keras", "photo.jpg", "--preprocess", "none"], "one image input"),
    "auto": (["show", "two.keras", "photo.jpg"], "one image input"),
    "corrupt": (["layers", "broken.keras"], "broken.keras"),
    "weights only": (["layers", "only.weights.h5"], "load_weights"),
    "lambda": (["layers", "lambda.keras"], "--trust"),
    "no maps": (["layers", "vector.keras"], "two-dimensional convolutions"),
    "nan": (["layers", "nan.keras"], "NaN"),
    "saved model": (["layers", "saved"], "not supported yet"),
    "tflite": (["layers", "a.tflite"], "not supported yet"),
    "torch": (["layers", "b.pth"], "not supported yet"),
    "text as image": (["show", "model.keras", "text.jpg"], "text.jpg"),
    "zero bytes": (["show", "model.keras", "empty.jpg"], "empty.jpg"),
    "truncated": (["show", "model.keras", "cut.jpg"], "cut.jpg"),
    "folder and file": (["show", "model.keras", "saved", "photo.jpg"], "'saved' is a whole set"),
    "no image": (["show", "model.keras", ""], "the path is empty"),
    "classes": (["show", "model.keras", "photo.jpg", "--classes", "no.txt"], "no.txt"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(folder, what):
    arguments, message = BAD[what]
    before = sorted(folder.iterdir())
    done = run(*arguments, cwd=folder)
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    assert any(part in done.stderr for part in message.split("|")), done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_cannot_be_written_is_exit_4(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "out"
    done = run("show", folder / "model.keras", folder / "photo.jpg", "-o", target)
    assert done.exit_code == 4
    assert "cannot" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--fail-on", "deadly"], 2, "'deadly'"),
        (
            ["--panels", "beauty"],
            2,
            "Panels are a list of clarity, focus, leakage, memorisation, performance; got 'beauty'",
        ),
        (["-o", "photo.jpg"], 2, "'photo.jpg' is or lies below a file"),
        (["-o", "photo.jpg/run"], 2, "is or lies below a file"),
        (["-o", "saved"], 2, "holds other things ('saved_model.pb')"),
        (["-o", "sealed/run"], 4, "'sealed/run' cannot be written (Permission denied)"),
    ],
)
def test_an_audit_refuses_bad_options_before_tensorflow_starts(
    folder, monkeypatch, options, code, message
):
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p).name != "sealed" and real(p, mode))
    monkeypatch.setattr("layerscope.interfaces.cli._start", lambda: pytest.fail("it starts"))
    (folder / "sealed").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    done = run("audit", "no.keras", "no", *options, cwd=folder)
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("package", ["keras", "rich"])
def test_a_missing_package_is_one_sentence_and_exit_4(package):
    lines = [
        "import sys",
        "from layerscope.interfaces.cli import main",
        "for name in [n for n in sys.modules if n.split('.')[0] == sys.argv[1]]:",
        "    del sys.modules[name]",
        "sys.modules[sys.argv.pop(1)] = None",
        "main()",
    ]
    command = [sys.executable, "-c", "\n".join(lines), package, "audit", "no.keras", "no"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stderr
    assert package in done.stderr
    assert "install" in done.stderr
    assert done.stderr.count("\n") == 1


def test_hostile_names_reach_no_terminal(folder):
    done = run("show", folder / "model.keras", "\x1b[31mred\nline.jpg")
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interruption_is_exit_130(folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("layerscope.scope.Scope.show", interrupted)
    done = run("show", folder / "model.keras", folder / "photo.jpg")
    assert done.exit_code == 130


def test_a_process_of_its_own_prints_only_its_result(folder, tmp_path):
    command = [sys.executable, "-m", "layerscope", "layers", str(folder / "model.keras")]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "block1_conv" in done.stdout


def test_the_demo_shows_real_photos_through_a_real_network(tmp_path):
    done = run("demo", "-o", tmp_path / "demo")
    assert done.exit_code == 0, done.stderr
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert len(lines) >= 6
    assert lines["coffee"].split()[0] == "espresso"
    assert float(lines["coffee"].split()[1].strip(",")) > 0.9
    assert str(tmp_path / "demo" / "index.html") in done.stdout
    first = (tmp_path / "demo" / "index.html").read_text()
    for part in ("early in the network", "in the middle of", "late in the network", "top_conv"):
        assert part in first
    assert lines["leaking"].endswith("leakage: confirmed-used")
    assert lines["honest"].endswith("leakage: not-found")
    story = (tmp_path / "demo" / "leak" / "index.html").read_text()
    assert "confirmed used" in story
    assert (tmp_path / "demo" / "leak" / "leaking" / "report.html").exists()
    pages = sorted(tmp_path.glob("demo/[!l]*/index.html"))
    assert len(pages) == len(lines) - 2
    for page in pages:
        assert len(list(page.parent.glob("layer-*.png"))) == 58
        assert (page.parent / "overview.png").stat().st_size > 100_000


@pytest.mark.parametrize("command", ["audit", "probe"])
def test_the_help_tells_both_forms_of_a_table(command):
    images = next(one for one in get_command(app).commands[command].params if one.name == "images")
    assert "CSV path,label (or path and a column of 0 and 1 per class)" in images.help
