"""An audit that is killed at random moments and given again ends with the same audit.json."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from layerscope.interfaces.cli import app

L = keras.layers
OPTIONS = [
    "--panels",
    "clarity,focus,leakage,memorisation,performance",
    "--batch-size",
    "16",
    "--quiet",
]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("killed")
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 24, 3))
    x = L.Conv2D(8, 3, activation="relu", name="first")(L.Rescaling(1 / 255)(image))
    x = L.Conv2D(8, 3, activation="relu", name="second")(x)
    x = L.Dense(3, activation="softmax", name="answer")(L.GlobalAveragePooling2D()(x))
    keras.Model(image, x).save(folder / "model.keras")
    numbers = np.random.default_rng(0)
    for name in ("test", "train"):
        pixels = numbers.integers(0, 256, (300, 24, 24, 3)).astype(np.uint8)
        np.savez(folder / name, x=pixels, y=np.arange(300) % 3)
    files = [str(folder / name) for name in ("model.keras", "test.npz")]
    return ["audit", *files, "--train", str(folder / "train.npz"), *OPTIONS]


def finished(arguments: list[str], run: Path) -> dict:
    done = CliRunner().invoke(app, [*arguments, "-o", str(run)])
    assert done.exit_code == 0, done.stderr
    content = json.loads((run / "audit.json").read_text())
    assert json.loads((run / "manifest.json").read_text())["complete"]
    assert not list(run.rglob("*.partial"))
    return {**content, "created": ""}


def kill_soon(arguments: list[str], run: Path, after: float) -> bool:
    """Whether it was still running when it was killed, that long after it had begun to work."""
    command = [sys.executable, "-m", "layerscope", *arguments, "-o", str(run)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (run / "manifest.json").exists():
            time.sleep(0.02)
        time.sleep(after)
        running = process.poll() is None
        process.kill()
    return running


@pytest.mark.parametrize(
    "kills", [pytest.param(1, id="once"), pytest.param(20, id="often", marks=pytest.mark.slow)]
)
def test_an_audit_that_is_killed_goes_on_and_ends_with_the_same_numbers(arguments, tmp_path, kills):
    begin = time.perf_counter()
    whole = finished(arguments, tmp_path / "whole")
    lasts = time.perf_counter() - begin
    moments, hit = random.Random(kills), 0
    for _ in range(kills):
        hit += kill_soon(arguments, tmp_path / "run", moments.uniform(0, 0.8 * lasts))
    assert hit, "no run was hit"
    assert finished(arguments, tmp_path / "run") == whole


def test_a_disk_that_refuses_in_the_middle_is_told_and_nothing_is_lost(arguments, tmp_path):
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "layerscope", *arguments, "-o", str(run)]

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))

    refused = subprocess.run(
        command, preexec_fn=small_files, capture_output=True, text=True, timeout=300
    )
    assert refused.returncode == 4, refused.stderr
    assert f"layerscope: '{run}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (run / "audit.json").exists()
    finished(arguments, run)
