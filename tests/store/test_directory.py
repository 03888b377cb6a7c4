"""What a run directory accepts, refuses and keeps."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

import layerscope
from layerscope.errors import EnvironmentFailure, InputError, MissingFileError
from layerscope.store.directory import open_run
from layerscope.store.manifest import read_manifest

PLAN = {"model": {"sha256": "ab"}, "sample": 512, "nulls": ["noise", "twin"]}
STATES = {"conv": {"moments": {"sum": np.arange(6.0).reshape(2, 3)}}}


def begin(path: Path) -> Path:
    with open_run(path, PLAN, "hash", "2026-01-02T03:04:05+00:00") as run:
        run.save_state(3, STATES, {"batches": [8, 8, 4]})
    return path


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_manifest_says_what_runs_and_how_far_it_is(tmp_path: Path):
    run = begin(tmp_path / "below" / "run")
    assert json.loads((run / "manifest.json").read_text()) == {
        "schema_version": 1,
        "tool": {"name": "layerscope", "version": layerscope.__version__},
        "created": "2026-01-02T03:04:05+00:00",
        "plan": PLAN,
        "plan_hash": "hash",
        "finished_shards": 3,
        "complete": False,
        "state": "state-a.npz",
        "info": {"batches": [8, 8, 4]},
    }


def test_the_same_plan_goes_on_where_it_was_and_keeps_its_date(tmp_path: Path):
    with open_run(begin(tmp_path), {"sample": 1}, "hash") as run:
        assert run.manifest.created == "2026-01-02T03:04:05+00:00"
        saved = run.load_state()
    assert (saved.next_shard, saved.info) == (3, {"batches": [8, 8, 4]})
    np.testing.assert_array_equal(
        saved.states["conv"]["moments"]["sum"], STATES["conv"]["moments"]["sum"]
    )


def test_a_new_run_begins_at_the_first_shard_without_states(tmp_path: Path):
    with open_run(tmp_path / "new", PLAN, "hash") as run:
        saved = run.load_state()
        assert run.manifest.created.endswith("+00:00")
    assert (saved.next_shard, saved.states, saved.info) == (0, {}, {})


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with open_run("~/run", PLAN, "hash") as run:
        assert run.path == tmp_path / "home" / "run"


def test_another_plan_is_refused_with_what_differs(tmp_path: Path):
    before = (begin(tmp_path) / "manifest.json").read_bytes()
    other = {"model": {"sha256": "ab"}, "sample": 256, "nulls": ("noise",), "new\x1b": None}
    told = (
        "holds another plan; what differs: what maps are compared with (--quick, in Python nulls=) "
        'is ["noise", "twin"] there, ["noise"] here; which images are looked at pixel by pixel '
        r"(--quick, in Python sample=); new\u001b is not set there, null here."
        " Choose another directory"
    )
    with pytest.raises(InputError, match="holds another plan") as caught:
        open_run(tmp_path, other, "other").__enter__()
    assert told in str(caught.value)
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_plans_differ_in_the_words_of_the_user_and_what_was_asked_for_comes_first(tmp_path: Path):
    plan = {
        "data": "ab", "sample": [1, 2], "fine": [1], "versions": {"keras": "3.1"}, "seed": 0,
        "model": "ab",
    }  # fmt: skip
    with open_run(tmp_path, plan, "hash"):
        pass
    other = plan | {"sample": [2], "fine": [2], "versions": {"keras": "3.2"}, "seed": 1}
    with pytest.raises(InputError, match="holds another plan") as caught:
        open_run(tmp_path, other, "other").__enter__()
    assert (
        "what differs: the seed (--seed) is 0 there, 1 here; which images are looked at pixel by "
        'pixel (--quick, in Python sample=); the version of keras is "3.1" there, "3.2" here. '
    ) in str(caught.value)
    with pytest.raises(
        InputError, match=r"what differs: the weights of the model; the images or th"
    ):
        open_run(tmp_path, plan | {"model": "cd", "data": "cd"}, "third").__enter__()


def test_long_differences_are_cut_and_many_are_counted(tmp_path: Path):
    with open_run(tmp_path, {str(i): "x" * 100 for i in range(5)}, "hash"):
        pass
    with (
        pytest.raises(InputError, match=r"0 is \"x{56}\.\.\. there.*; and 2 more\. Choose"),
        open_run(tmp_path, {str(i): "x" * 99 + "y" for i in range(5)}, "other"),
    ):
        pass


def test_two_runs_at_once_are_refused_within_one_process_too(tmp_path: Path):
    with (
        open_run(tmp_path, PLAN, "hash"),
        pytest.raises(InputError, match="One process at a time works in a run directory"),
        open_run(tmp_path, PLAN, "hash"),
    ):
        pass
    with open_run(tmp_path, PLAN, "hash"):
        pass


def test_the_lock_is_freed_when_the_run_fails(tmp_path: Path):
    with pytest.raises(RuntimeError, match="boom"), open_run(tmp_path, PLAN, "hash"):
        raise RuntimeError("boom")
    with open_run(tmp_path, PLAN, "hash"):
        pass


def test_a_directory_with_other_things_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "thesis.doc").write_text("years of work")
    with (
        pytest.raises(InputError, match=r"holds other things \('thesis.doc'\); choose another"),
        open_run(tmp_path, PLAN, "hash"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_what_a_kill_before_the_first_manifest_leaves_is_no_obstacle(tmp_path: Path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".manifest.json.partial").write_text('{"sch')
    with open_run(tmp_path, PLAN, "hash"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "manifest.json"}


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path, below: str):
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(InputError, match=r"A run is kept in a directory, and .* below a file"),
        open_run(tmp_path / "file" / below, PLAN, "hash"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tool": {"name": "webpack"}}, "was not written by layerscope"),
        ({"tool": None}, "was not written by layerscope"),
        ({"schema_version": 2}, r"reads runs of schema 1, and .* has 2; use the .* \('0.1.0'\)"),
        ({"state": "../../precious"}, r"damaged \('state' is '../../precious'\)"),
        ({"finished_shards": -1}, "damaged .*'finished_shards' is -1"),
        ({"finished_shards": True}, "damaged .*'finished_shards' is True"),
        ({"complete": None}, "damaged .*'complete' is None"),
        ({"plan": []}, "damaged .*'plan' is"),
        ({"info": None}, "damaged .*'info' is None"),
        ({"created": 3}, "damaged .*'created' is 3"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict, told: str):
    path = begin(tmp_path) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=told), open_run(tmp_path, PLAN, "hash"):
        pass


@pytest.mark.parametrize("content", [b"", b'{"schema', b"\xff\xfe", b"[" * 100_000, b"[]"])
def test_a_damaged_manifest_is_refused_and_nothing_is_deleted(tmp_path: Path, content: bytes):
    (begin(tmp_path) / "manifest.json").write_bytes(content)
    with (
        pytest.raises(InputError, match=r"manifest.json' (is missing or damaged|was not written)"),
        open_run(tmp_path, PLAN, "hash"),
    ):
        pass
    assert (tmp_path / "manifest.json").read_bytes() == content
    assert (tmp_path / "state-a.npz").exists()


def test_a_directory_without_a_manifest_cannot_be_read_as_a_run(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"holds a manifest.json, and .* has none"):
        read_manifest(tmp_path)


def test_a_full_disk_while_the_state_is_written_keeps_the_last_checkpoint(tmp_path: Path):
    resource = pytest.importorskip("resource")
    large = {"conv": {"moments": {"sum": np.zeros(100_000)}}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_run(begin(tmp_path), PLAN, "hash") as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            with pytest.raises(
                EnvironmentFailure, match=r"state-b.npz' cannot be written \(File t"
            ):
                run.save_state(4, large, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert run.load_state().next_shard == 3
        run.save_state(5, large, {})
        assert run.load_state().next_shard == 5


def test_a_full_disk_while_the_manifest_is_written_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = (begin(tmp_path) / "manifest.json").read_bytes()
    with open_run(tmp_path, PLAN, "hash") as run:
        with monkeypatch.context() as full:
            full.setattr(Path, "replace", no_space)
            with pytest.raises(EnvironmentFailure, match=r"manifest.json' cannot be written \(No"):
                run.save_state(4, {"other": {}}, {})
        assert (tmp_path / "manifest.json").read_bytes() == before
        assert run.load_state().states.keys() == {"conv"}
    with open_run(tmp_path, PLAN, "hash") as run:
        assert run.load_state().next_shard == 3


def test_a_directory_that_cannot_be_made_is_a_failure_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    with (
        pytest.raises(EnvironmentFailure, match=r"run' cannot be written \(Permission denied\)"),
        open_run(tmp_path / "run", PLAN, "hash"),
    ):
        pass


def test_an_error_of_the_run_itself_is_not_taken_for_one_of_the_directory(tmp_path: Path):
    with pytest.raises(OSError, match="of the run") as caught, open_run(tmp_path, PLAN, "hash"):
        raise OSError("of the run")
    assert not isinstance(caught.value, EnvironmentFailure)


def test_one_state_lies_on_disk_between_checkpoints_and_none_after_the_end(tmp_path: Path):
    with open_run(tmp_path, PLAN, "hash") as run:
        for shard in range(1, 4):
            run.save_state(shard, STATES, {})
            assert len(list(tmp_path.glob("state*"))) == 1
        run.finish()
        assert not list(tmp_path.glob("state*"))
    with open_run(tmp_path, PLAN, "hash") as run:
        assert run.manifest.complete
        assert run.load_state().next_shard == 3
