"""Tables keep their figures and say where these come from."""

import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerscope.errors import EnvironmentFailure, InputError, MissingFileError
from layerscope.store.directory import RunDirectory, open_run

PROVENANCE = {"model": "ab12", "seeds": [1, 2], "versions": {"keras": "3"}}


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": pd.Categorical(["../a", "b\0"]),
            "channel": np.array([0, 1], np.int32),
            "moran": np.array([0.5, np.nan], np.float32),
            "sum": np.array([np.inf, -1e-310]),
            "dead": [True, False],
            "flag": ["", None],
        },
        index=pd.Index(["x", "y"], name="id"),
    )


@pytest.fixture
def run(tmp_path: Path):
    with open_run(tmp_path / "run", {}, "hash") as directory:
        yield directory


def test_a_table_comes_back_with_its_types_and_provenance(run: RunDirectory):
    run.write_table("channels", frame(), PROVENANCE)
    back, provenance = run.read_table("channels")
    pd.testing.assert_frame_equal(back, frame())
    assert provenance == PROVENANCE
    assert back.attrs == frame().attrs == {}


def test_a_reader_of_parquet_finds_the_provenance(run: RunDirectory):
    given = frame()
    run.write_table("channels", given, PROVENANCE)
    assert pd.read_parquet(run.path / "channels.parquet").attrs == {"provenance": PROVENANCE}
    assert given.attrs == {}


def test_a_full_disk_keeps_the_table_that_was_there(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    run.write_table("channels", frame(), PROVENANCE)

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(EnvironmentFailure, match=r"channels.parquet' cannot be written \(No space"):
        run.write_table("channels", frame()[:1], {})
    assert len(run.read_table("channels")[0]) == 2
    assert not list(run.path.glob(".*partial"))


def test_a_missing_table_is_told(run: RunDirectory):
    with pytest.raises(MissingFileError, match=r"There is no table '.*channels.parquet'"):
        run.read_table("channels")


def test_a_damaged_table_is_told(run: RunDirectory):
    run.write_table("channels", frame(), PROVENANCE)
    path = run.path / "channels.parquet"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"The table '.*channels.parquet' is damaged"):
        run.read_table("channels")


def test_a_table_without_provenance_is_refused(run: RunDirectory):
    frame().to_parquet(run.path / "channels.parquet")
    with pytest.raises(InputError, match="does not say where its figures come from"):
        run.read_table("channels")


def test_provenance_that_json_cannot_hold_is_an_error_and_not_lost(run: RunDirectory):
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        run.write_table("channels", frame(), {"seeds": {1}})


def test_the_name_of_a_table_is_no_path(run: RunDirectory):
    with pytest.raises(InputError, match=r"named in small letters, digits, - and _, got '../x'"):
        run.write_table("../x", frame(), {})
