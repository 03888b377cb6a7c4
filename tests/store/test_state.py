"""States survive the way to disk and back to the bit; damage is told."""

import random
from pathlib import Path

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.store.state import read_states, write_states

HOSTILE = [
    "../../up",
    "/etc/passwd",
    "a/b",
    "nul\0",
    "x" * 5000,
    "",
    "index",
    "0",
    "\ud800",
    "Ä:*?",
]


def round_trip(path: Path, states: dict) -> dict:
    with path.open("wb") as file:
        write_states(file, states)
    return read_states(path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float64).reshape(1, 2, 3),
        np.array([np.nan, np.inf, -np.inf, -0.0, 1e-310], np.float64),
        np.float32([[1.5, np.nan]]),
        np.int64(7),
        np.array(True),
        np.zeros((0, 4), np.int32),
        np.asfortranarray(np.arange(12, dtype=np.uint16).reshape(3, 4)),
        np.arange(20.0)[::3],
        np.array([1, 2], ">i4"),
        np.array(["photo/1.jpg", "Ä"]),
        np.array([(1, 2.5)], [("image", "i8"), ("value", "f4")]),
        np.array([1 + 2j]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_comes_back_with_its_bits_type_and_shape(tmp_path: Path, array: np.ndarray):
    back = round_trip(tmp_path / "s.npz", {"layer": {"statistic": {"a": array}}})
    back = back["layer"]["statistic"]["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_hostile_names_and_empty_states_come_back_and_make_no_files(tmp_path: Path):
    states = {
        layer: {name: {name: np.array(i)} for i, name in enumerate(HOSTILE)} | {"none": {}}
        for layer in HOSTILE
    } | {"nothing": {}}
    assert round_trip(tmp_path / "s.npz", states) == states
    assert [path.name for path in tmp_path.rglob("*")] == ["s.npz"]


def test_python_objects_are_refused(tmp_path: Path):
    states = {"layer": {"top": {"ids": np.array(["a", None])}}}
    with pytest.raises(InputError, match=r"'ids' of the statistic 'top' has the type object"):
        round_trip(tmp_path / "s.npz", states)


def test_a_file_with_pickled_objects_is_not_opened(tmp_path: Path):
    np.savez(tmp_path / "s.npz", index=np.array([None]), allow_pickle=True)
    with pytest.raises(InputError, match=r"damaged .*Object arrays cannot be loaded"):
        read_states(tmp_path / "s.npz")


def test_a_missing_state_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="is missing or damaged"):
        read_states(tmp_path / "s.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"text"])
def test_another_file_in_the_place_of_the_state_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(InputError, match="is missing or damaged"):
        read_states(tmp_path / "s.npz")


def test_a_single_array_in_the_place_of_the_state_is_told(tmp_path: Path):
    with (tmp_path / "s.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="is missing or damaged"):
        read_states(tmp_path / "s.npz")


def told(path: Path, states: dict, content: bytes) -> bool:
    """Whether reading fails with one clear message; what is read is right to the bit."""
    path.write_bytes(content)
    try:
        back = read_states(path)
    except InputError:
        return True
    for name, array in states["layer"]["s"].items():
        assert back["layer"]["s"][name].tobytes() == array.tobytes()
    return False


def test_a_damaged_state_is_told_or_gives_the_same_bits(tmp_path: Path):
    path, chance = tmp_path / "s.npz", random.Random(1)
    states = {"layer": {"s": {"a": np.arange(40.0), "b": np.ones((3, 3), np.float32)}}}
    round_trip(path, states)
    whole = path.read_bytes()
    flipped = [
        whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :]
        for at in range(len(whole))
    ]
    assert sum(told(path, states, content) for content in flipped) > len(whole) / 2
    assert all(told(path, states, whole[:at]) for at in range(0, len(whole), 7))
