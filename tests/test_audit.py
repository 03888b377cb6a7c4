"""`layerscope audit`, first form: what it says, writes and exits with."""

import errno
import json
import os
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import layerscope
from layerscope.audit.result import schema
from layerscope.errors import InputError
from layerscope.interfaces.cli import app

L = keras.layers
COLOURS = ("blue", "green", "red")
COUNT = 60


def colour_model() -> keras.Model:
    """Right for every image that is mostly of one colour; half of its channels are dead."""
    image = keras.Input((16, 16, 3))
    x = L.Rescaling(1 / 255)(image)
    x = L.Conv2D(6, 1, activation="relu", name="colours")(x)
    x = L.Dense(3, activation="softmax", name="answer")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    kernel, bias = np.zeros((1, 1, 3, 6), np.float32), np.zeros(6, np.float32)
    kernel[0, 0, [2, 1, 0], [0, 1, 2]] = 1  # blue, green, red
    bias[3:] = -1
    model.get_layer("colours").set_weights([kernel, bias])
    answer = np.zeros((6, 3), np.float32)
    answer[:3] = 30 * np.eye(3)
    model.get_layer("answer").set_weights([answer, np.zeros(3, np.float32)])
    return model


def write_images(root: Path, wrong: int = 0) -> Path:
    random = np.random.default_rng(1)
    for i in range(COUNT):
        colour = i % 3
        shown = (colour + 1) % 3 if i < wrong else colour
        pixels = random.integers(0, 60, (16, 16, 3))
        pixels[..., 2 - shown] += random.integers(60, 190)
        path = root / COLOURS[colour] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("audit")
    colour_model().save(root / "model.keras")
    write_images(root / "test", wrong=6)
    write_images(root / "train")
    return root


def audit(*arguments):
    return CliRunner().invoke(app, ["audit", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def done(folder):
    out = folder / "run"
    result = audit(folder / "model.keras", folder / "test", "--train", folder / "train", "-o", out)
    assert result.exit_code == 0, result.stderr
    return result, out


def test_the_run_holds_a_report_a_result_and_tables(done):
    _, out = done
    content = json.loads((out / "audit.json").read_text())
    jsonschema.validate(content, schema())
    assert content["complete"]
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    channels = pd.read_parquet(out / "channels.parquet")
    verdicts = pd.read_parquet(out / "verdicts.parquet")
    assert verdicts["verdict"].value_counts().sum() == len(channels)
    assert (verdicts["reason"][verdicts["verdict"] == "noisy"] != "").all()
    assert len(channels) == content["channels"]["total"] == 6
    assert json.loads((out / "manifest.json").read_text())["complete"]


def test_the_figures_are_those_of_the_planted_model(done):
    _, out = done
    content = json.loads((out / "audit.json").read_text())
    performance = content["performance"]["test"]
    assert performance["accuracy"] == pytest.approx(0.9)
    assert performance["ci95"][0] < 0.9 < performance["ci95"][1]
    assert performance["majority"] == pytest.approx(1 / 3)
    assert [row["class"] for row in performance["per_class"]] == list(COLOURS)
    assert content["performance"]["train"]["accuracy"] == 1
    assert content["channels"]["dead"] == 3
    (dead,) = [f for f in content["findings"] if f["kind"] == "dead-channels"]
    assert dead["channels"] == [3, 4, 5]
    assert dead["severity"] == "warn"
    assert "at most 4.9 %" in dead["message"]
    assert content["preprocess"] == {
        "name": "none", "chosen_by": "model", "alternatives": []
    }  # fmt: skip
    assert content["panels"]["performance"]["verdict"] == "moderate"
    assert content["panels"]["leakage"]["verdict"] == "not-tested"


def test_stdout_carries_the_statement_the_warnings_and_the_report(done):
    result, out = done
    lines = result.stdout.splitlines()
    assert lines[-1] == str(out / "report.html")
    assert any(line.startswith("warn dead-channels: 3 of 6 channels of colours") for line in lines)
    assert result.stderr == ""


def test_the_same_command_again_reads_the_finished_run(done, folder, monkeypatch):
    _, out = done
    before = json.loads((out / "audit.json").read_text())
    monkeypatch.setattr("layerscope.run.profiling.run", None)
    again = audit(
        folder / "model.keras", folder / "test", "--train", folder / "train", "-o", out, "--json"
    )
    assert again.exit_code == 0, again.stderr
    after = json.loads(again.stdout)
    assert {**after, "created": ""} == {**before, "created": ""}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--fail-on", "dead-channels"], 1),
        (["--fail-on", "warn"], 1),
        (["--fail-on", "fail"], 0),
        (["--fail-on", "fail,non-finite"], 0),
    ],
)
def test_findings_that_fail_on_names_give_exit_code_1(done, folder, options, code):
    _, out = done
    again = audit(folder / "model.keras", folder / "test", "-o", out, *options)
    assert again.exit_code == code, again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fail-on", "deadly"], "deadly"),
        (["--fail-on", ""], "warn, fail or kinds"),
        (
            ["--panels", "clarity,beauty"],
            "Panels are a list of clarity, focus, leakage, memorisation, performance; got 'beauty'",
        ),
        (["--max-skipped", "2"], "max-skipped"),
        (["--seed", "1"], "another plan"),
    ],
)
def test_bad_options_are_told_in_one_sentence(done, folder, options, message):
    _, out = done
    again = audit(folder / "model.keras", folder / "test", "-o", out, *options)
    assert again.exit_code == 2
    assert message in again.stderr


def test_too_many_unreadable_images_give_exit_code_3_and_findings_outrank_them(folder, tmp_path):
    images = write_images(tmp_path / "images")
    for i in range(5):
        (images / "red" / f"broken{i}.png").write_bytes(b"")
    arguments = [folder / "model.keras", images, "-o", tmp_path / "run"]
    assert audit(*arguments).exit_code == 3
    assert audit(*arguments, "--max-skipped", "0.1").exit_code == 0
    assert audit(*arguments, "--fail-on", "warn").exit_code == 1
    content = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert [item["file"] for item in content["data"]["test"]["skipped"]] == [
        f"red/broken{i}.png" for i in range(5)
    ]


def test_labels_that_do_not_fit_are_a_finding_and_no_accuracy(folder, tmp_path):
    images = write_images(tmp_path / "images")
    (images / "blue").rename(images / "blue1")
    (images / "extra").mkdir()
    (images / "red" / "002.png").rename(images / "extra" / "002.png")
    result = audit(
        folder / "model.keras", images, "-o", tmp_path / "run", "--panels", "performance"
    )
    content = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert result.exit_code == 0
    assert [f["kind"] for f in content["findings"]] == ["label-mismatch"]
    assert content["performance"]["test"]["accuracy"] is None
    assert content["panels"]["performance"]["verdict"] == "not-tested"
    assert content["model"]["layers"] == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC], ids=["denied", "full"])
@pytest.mark.parametrize("what", ["mkdir", "open"])
def test_a_disk_that_refuses_is_told_in_one_line_with_exit_code_4(
    folder, tmp_path, monkeypatch, what, number
):
    real, run = getattr(Path, what), tmp_path / "run"

    def refuse(path, *args, **kwargs):
        if run in (path, *path.parents):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, what, refuse)
    result = audit(folder / "model.keras", folder / "test", "-o", run)
    assert result.exit_code == 4
    refused = run if what == "mkdir" else run / "manifest.json"
    assert result.stderr == (
        f"layerscope: '{refused}' cannot be written ({os.strerror(number)}); make room or choose "
        "another directory. What was saved before stays.\n"
    )


def test_python_users_hold_findings_panels_statement_and_save(folder, tmp_path):
    scope = layerscope.Scope(folder / "model.keras")
    found = scope.audit(folder / "test", panels=["clarity"])
    assert "dead-channels" in [finding.kind for finding in found.findings]
    assert found.panels["performance"].verdict == "not-tested"
    assert found.statement
    assert "<iframe" in found._repr_html_() or "<html" in found._repr_html_()
    report = found.save(tmp_path / "run")
    assert report == tmp_path / "run" / "report.html"
    jsonschema.validate(json.loads((tmp_path / "run" / "audit.json").read_text()), schema())
    assert (tmp_path / "run" / "channels.parquet").exists()
    with pytest.raises(InputError, match="holds other things"):
        found.save(folder)


def test_arrays_and_unlabelled_images_are_audited_too(folder):
    scope = layerscope.Scope(folder / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.float32)
    found = scope.audit(pixels)
    assert found.panels["performance"].verdict == "not-tested"
    labelled = scope.audit((pixels, np.arange(20) % 3))
    assert labelled.result.performance.images == 20


def test_images_that_are_not_finite_are_refused_and_named(folder):
    scope = layerscope.Scope(folder / "model.keras")
    pixels = np.full((12, 16, 16, 3), 100, np.float32)
    pixels[3, 0, 0, 0] = np.nan
    for ask in (scope.audit, scope.profile, lambda x: scope.audit(x, panels=["performance"])):
        with pytest.raises(InputError, match=r"must be finite.* is in 3\."):
            ask(pixels)


def test_the_order_of_classes_is_an_assumption_where_nobody_named_the_outputs(folder):
    model, images = folder / "model.keras", folder / "test"
    for names, assumed in ((None, True), (["red", "green", "blue"], False)):
        scope = layerscope.Scope(model, classes=names)
        found = scope.audit(images, folder / "train", panels=["performance"])
        assert found.result.test.order_assumed is assumed
        assert found.result.train.order_assumed is assumed
        advice = [one.advice for one in found.findings if one.kind == "low-accuracy"]
        assert advice == [] if assumed else "assumption" not in advice[0]
    pixels = np.full((12, 16, 16, 3), 100, np.float32)
    for numbers in (pixels, (pixels, np.arange(12) % 3)):
        found = layerscope.Scope(model).audit(numbers, panels=["performance"])
        assert not found.result.test.order_assumed


def test_an_assumed_order_that_is_wrong_is_suspected(tmp_path):
    model = colour_model()
    answer, bias = model.get_layer("answer").get_weights()
    model.get_layer("answer").set_weights([answer[:, [2, 1, 0]], bias])
    found = layerscope.Scope(model).audit(write_images(tmp_path), panels=["performance"])
    (low,) = found.findings
    assert "blue and red are mostly taken for each other" in low.advice


def test_few_images_are_said_to_be_few_and_not_to_show_nothing_dead(folder):
    scope = layerscope.Scope(folder / "model.keras")
    found = scope.audit(np.full((5, 16, 16, 3), 100, np.float32))
    summary = found.panels["clarity"].summary
    assert "5 images are too few to call a channel dead" in summary
    assert "none dead" not in summary


def test_a_model_with_two_inputs_is_told_what_works():
    image, more = keras.Input((8, 8, 3)), keras.Input((4,))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))
    model = keras.Model([image, more], L.Dense(2)(L.Concatenate()([x, more])))
    arrays = [np.zeros((4, 8, 8, 3), np.float32), np.zeros((4, 4), np.float32)]
    with pytest.raises(
        InputError, match=r"one image input so far.*2 inputs; maps\(\) and show\(\)"
    ):
        layerscope.Scope(model).profile(arrays)


def test_labels_of_an_archive_have_their_numbers_as_names(folder, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(20) % 3)
    found = layerscope.Scope(folder / "model.keras").audit(
        tmp_path / "x.npz", panels=["performance"]
    )
    assert found.result.test.classes == ("0", "1", "2")


def test_channels_at_their_bound_everywhere_are_told_apart_from_silent_ones():
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, activation="relu6", name="stuck")(image)
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    kernel, bias = model.get_layer("stuck").get_weights()
    bias[:3] = 1e6
    model.get_layer("stuck").set_weights([kernel, bias])
    pixels = np.random.default_rng(0).uniform(0, 1, (20, 16, 16, 3)).astype(np.float32)
    findings = layerscope.Scope(model).audit(pixels, panels=["clarity"]).findings
    (found,) = (one for one in findings if one.kind == "constant-channels")
    assert (
        "3 of 6 channels of stuck are at the bound of the activation in every pixel"
        in found.message
    )
    assert "all near 0" not in found.advice


@pytest.mark.parametrize("written", ["~/run", "~nobody-of-this-name/run"])
def test_a_run_in_the_home_directory_lies_there(folder, tmp_path, monkeypatch, written):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    more = ("--panels", "performance", "-o", written, "--summary", "~/short.md")
    done = audit(folder / "model.keras", folder / "test", *more)
    assert not list(tmp_path.glob("~*"))
    if written == "~/run":
        assert (tmp_path / "home" / "run" / "audit.json").exists()
        assert (tmp_path / "home" / "short.md").exists()
        assert str(tmp_path / "home" / "run") in done.stdout
    else:
        assert done.exit_code == 2
        assert "begins with ~" in done.stderr


def test_a_quick_audit_looks_at_a_part_and_says_what_that_cannot_tell(folder, tmp_path):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 60, (450, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(450) % 3
    pixels[np.arange(450), ..., 2 - labels] += 120
    np.savez(tmp_path / "x.npz", x=pixels, y=labels)
    arguments = [folder / "model.keras", tmp_path / "x.npz", "--train", tmp_path / "x.npz"]
    done = audit(*arguments, "-o", tmp_path / "run", "--quick")
    assert done.exit_code == 0, done.stderr
    assert "This was a quick look at 200 of 450 test images." in done.stdout
    assert "about 6.9 % either way" in done.stdout
    assert "fewer than 1.5 % of the images may count as dead" in done.stdout
    assert "Leaks were not sought." in done.stdout
    content = json.loads((tmp_path / "run" / "audit.json").read_text())
    jsonschema.validate(content, schema())
    assert content["quick"]
    assert content["data"]["test"]["images"] == content["data"]["train"]["images"] == 200
    classes = content["performance"]["test"]["per_class"]
    assert sorted(row["images"] for row in classes) == [66, 67, 67]
    assert content["provenance"]["nulls"] == ["noise"]
    assert "There is no untrained twin" in (tmp_path / "run" / "report.html").read_text()
    assert "--quick" in content["panels"]["leakage"]["not_tested"][0]
    panel = content["panels"]["memorisation"]
    assert panel["verdict"] == "not-tested"
    assert "The training images are the test images" in panel["summary"]
    again = audit(*arguments, "-o", tmp_path / "run")
    assert again.exit_code == 2
    assert "another plan" in again.stderr


def test_a_quick_audit_seeks_leaks_where_they_are_asked_for_and_refuses_a_stream(folder):
    scope = layerscope.Scope(folder / "model.keras")
    found = scope.audit(folder / "test", panels=["leakage", "performance"], quick=True)
    assert "Leaks were not sought" not in found.statement
    assert "quick" not in found.panels["leakage"].summary
    stream = ((np.zeros((16, 16, 3), np.float32), 0) for _ in range(30))
    with pytest.raises(InputError, match="quick audit looks at some of the images"):
        scope.audit(stream, panels=["performance"], quick=True)


@pytest.mark.parametrize(("names", "verdict"), [(None, "not-tested"), (["no", "yes"], "high")])
def test_a_number_that_is_no_probability_is_judged_only_where_two_names_make_it_a_logit(
    names, verdict
):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, L.Dense(1, name="answer")(L.GlobalAveragePooling2D()(image)))
    model.get_layer("answer").set_weights([np.full((3, 1), 8.0), np.array([-12.0])])
    y = np.arange(40) % 2
    x = np.broadcast_to(y[:, None, None, None], (40, 8, 8, 3)).astype(np.float32)
    audit = layerscope.Scope(model, classes=names).audit((x, y), panels=["performance"])

    panel = audit.panels["performance"]
    assert panel.verdict == verdict
    assert ("a regression or a logit" in panel.summary) == (names is None)


def test_a_quick_audit_of_unlabelled_images_says_nothing_of_an_accuracy(folder):
    images = np.zeros((12, 16, 16, 3), np.uint8)
    found = layerscope.Scope(folder / "model.keras").audit(
        images, panels=["performance"], quick=True
    )
    assert "a quick look at 12 of 12" in found.statement
    assert "accuracy is known" not in found.statement
