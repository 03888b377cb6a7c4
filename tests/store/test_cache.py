import numpy as np
import pytest

from layerscope.store.cache import cached_arrays


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def asked(key, calls):
    def compute():
        calls.append(key)
        return {"a": np.arange(3.0), "b": np.array([[np.nan]])}

    return cached_arrays({"of": key}, ("a", "b"), compute)


def test_what_was_computed_is_read_the_second_time(folder):
    calls = []
    first, second = asked("x", calls), asked("x", calls)
    asked("y", calls)
    assert calls == ["x", "y"]
    np.testing.assert_array_equal(first["a"], second["a"])
    np.testing.assert_array_equal(first["b"], second["b"])


@pytest.mark.parametrize("harm", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_file_is_computed_again(folder, harm):
    calls = []
    asked("x", calls)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if harm is None else harm)
    assert set(asked("x", calls)) == {"a", "b"}
    assert calls == ["x", "x"]
    assert file.read_bytes() == whole


@pytest.mark.parametrize("other", [np.arange(3), {"a": np.arange(2)}])
def test_another_file_in_its_place_is_computed_again(folder, other):
    calls = []
    asked("x", calls)
    (file,) = folder.iterdir()
    with file.open("wb") as stream:
        np.savez(stream, **other) if isinstance(other, dict) else np.save(stream, other)
    assert set(asked("x", calls)) == {"a", "b"}
    assert calls == ["x", "x"]


def test_a_pickle_in_its_place_is_not_run(folder):
    calls = []
    asked("x", calls)
    (file,) = folder.iterdir()
    with file.open("wb") as stream:
        np.savez(stream, a=np.array([{"an": "object"}], object))
    np.testing.assert_array_equal(asked("x", calls)["a"], np.arange(3.0))


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "file" / "below"))
    calls = []
    assert set(asked("x", calls)) == {"a", "b"}
    asked("x", calls)
    assert calls == ["x", "x"]
