"""A run that is killed at random moments goes on and ends with the same bits."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from killed_run import BLOCK, LAYERS, PLAN, next_states, rows_of

from layerscope.store.directory import open_run

SCRIPT = Path(__file__).with_name("killed_run.py")
ENDLESS = 10**6


def start(run: Path, shards: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(run), str(shards)], stdout=subprocess.PIPE, text=True
    )


def kill_soon(run: Path, after: float) -> None:
    with start(run, ENDLESS) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the run did not start"
        time.sleep(after)
        process.kill()


def check(run: Path, at_least: int) -> int:
    with open_run(run, PLAN, "hash") as directory:
        saved = directory.load_state()
        assert saved.next_shard > at_least, "a checkpoint was lost"
        assert saved.info == {"last": saved.next_shard - 1}
        expected: dict = {}
        for shard in range(saved.next_shard):
            expected = next_states(expected, shard)
        rows = directory.rows({"mean": LAYERS}, block=BLOCK)
        for layer in LAYERS:
            state, right = saved.states[layer]["sums"], expected[layer]["sums"]
            assert state["total"].tobytes() == right["total"].tobytes()
            assert state["shards"] == saved.next_shard
            written = rows.read(layer, "mean", 0, saved.next_shard * BLOCK)
            whole = np.concatenate([rows_of(s)[layer] for s in range(saved.next_shard)])
            assert written.tobytes() == whole.tobytes()
        return saved.next_shard


def survives(run: Path, kills: int) -> None:
    moments, shards = random.Random(kills), 0
    for _ in range(kills):
        kill_soon(run, moments.uniform(0, 0.1))
        shards = check(run, shards)
    with start(run, shards + 2) as process:
        assert process.wait(60) == 0
    assert check(run, shards) == shards + 2
    # Nothing half-written is left, and one state.
    names = {path.name for path in run.iterdir()}
    assert names - {"state-a.npz", "state-b.npz"} == {".lock", "manifest.json", "rows"}
    assert len(names) == 4
    assert not list(run.rglob("*.partial"))


def test_a_run_killed_five_times_goes_on_and_ends_with_the_same_bits(tmp_path: Path):
    survives(tmp_path / "run", 5)


@pytest.mark.slow
def test_a_run_killed_sixty_times_goes_on_and_ends_with_the_same_bits(tmp_path: Path):
    survives(tmp_path / "run", 60)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path):
    run = tmp_path / "run"
    with start(run, ENDLESS) as first:
        assert first.stdout is not None
        first.stdout.readline()
        second = subprocess.run(
            [sys.executable, str(SCRIPT), str(run), "1"], capture_output=True, text=True, timeout=60
        )
        first.kill()
    assert "InputError: One process at a time works in a run directory" in second.stderr
    assert second.returncode == 1
    check(run, 0)
