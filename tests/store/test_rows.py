"""Numbers per image on disk: what is written comes back, what was not is NaN."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from layerscope.errors import EnvironmentFailure, InputError
from layerscope.store.rows import open_rows

LAYERS = {"block/../1": 3, "/conv\0@2": 1500, "Ä": 1}
QUANTITIES = {"mean": LAYERS, "moran": {"Ä": 1}}


def some(images: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.random((images, channels), dtype=np.float32) for name, channels in LAYERS.items()
    }


def test_rows_of_all_layers_come_back_through_a_new_store(tmp_path: Path):
    blocks = [some(8, 1), some(8, 2), some(5, 3)]
    store = open_rows(tmp_path / "rows", QUANTITIES, block=8)
    for i, rows in enumerate(blocks):
        store.write(8 * i, {"mean": rows, "moran": {"Ä": -rows["Ä"]}})
    store = open_rows(tmp_path / "rows", QUANTITIES, block=8)
    assert store.images("mean") == 21
    for layer in LAYERS:
        whole = np.concatenate([rows[layer] for rows in blocks])
        back = store.read(layer, "mean")
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, whole)
        np.testing.assert_array_equal(store.read(layer, "mean", 7, 17), whole[7:17])
    np.testing.assert_array_equal(-store.read("Ä", "moran"), store.read("Ä", "mean"))


def test_rows_that_were_never_written_are_nan(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=4, images=20)
    store.write(8, {"mean": {"Ä": np.ones((4, 1), np.float32)}})
    back = store.read("Ä", "mean")
    assert back.shape == (20, 1)
    assert np.flatnonzero(np.isfinite(back[:, 0])).tolist() == [8, 9, 10, 11]
    assert np.isnan(store.read("block/../1", "mean")).all()
    assert np.isnan(store.read("Ä", "moran")).all()


def test_writing_rows_again_in_other_pieces_gives_the_same_bits(tmp_path: Path):
    rows = some(20)
    stores = [open_rows(tmp_path / str(n), QUANTITIES, block=8, images=20) for n in range(2)]
    stores[0].write(0, {"mean": rows})
    for start, stop in [(0, 8), (3, 9), (0, 8), (9, 20), (16, 20)]:
        stores[1].write(start, {"mean": {k: v[start:stop] for k, v in rows.items()}})
    for layer in LAYERS:
        assert stores[0].read(layer, "mean").tobytes() == stores[1].read(layer, "mean").tobytes()


def test_nothing_to_write_changes_nothing(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    store.write(0, {"mean": {}, "moran": {"Ä": np.zeros((0, 1), np.float32)}})
    assert store.images("mean") == store.images("moran") == 0


def test_a_block_of_images_is_one_file_however_many_layers(tmp_path: Path):
    layers = {f"layer{i}": 40 for i in range(100)}
    store = open_rows(tmp_path, {"mean": layers, "maximum": layers}, block=8)
    rows = {name: np.ones((8, 40), np.float32) for name in layers}
    for start in range(0, 80, 8):
        store.write(start, {"mean": rows, "maximum": rows})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2 * 10 + 3
    assert sum(path.stat().st_size for path in files) < 1.02 * 80 * 4000 * 4 * 2


def test_the_array_can_be_read_with_zarr_alone(tmp_path: Path):
    rows = some(3)
    open_rows(tmp_path, QUANTITIES, block=8).write(0, {"mean": rows})
    array = zarr.open_group(tmp_path, mode="r")["mean"]
    assert array.attrs["layers"] == [[name, channels] for name, channels in LAYERS.items()]
    np.testing.assert_array_equal(array[:], np.concatenate(list(rows.values()), axis=1))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"median": {}}, r"kept for \['mean', 'moran'\], got 'median'"),
        ({"moran": {"block/../1": np.ones((1, 3))}}, "No rows of 'moran' .* 'block/../1'"),
        ({"mean": {"Ä": np.ones((1, 2))}}, r"'Ä' have the shape \(1, 1\), got \(1, 2\)"),
        ({"mean": {"Ä": np.ones((2, 1)), "block/../1": np.ones((1, 3))}}, r"\(2, 3\), got \(1, 3"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, rows: dict, told: str):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    with pytest.raises(InputError, match=told):
        store.write(0, rows)
    assert store.images("mean") == 0


def test_reading_what_is_not_kept_is_refused(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    with pytest.raises(InputError, match="No rows of 'mean' are kept for the layer 'conv9'"):
        store.read("conv9", "mean")
    with pytest.raises(InputError, match="got 'p'"):
        store.read("Ä", "p")


def test_rows_of_other_layers_are_refused(tmp_path: Path):
    open_rows(tmp_path, QUANTITIES, block=8)
    with pytest.raises(InputError, match=r"^'.*' holds rows of other layers; choose another"):
        open_rows(tmp_path, {"mean": {"conv": 3}}, block=8)


def test_the_name_of_a_quantity_is_no_path(tmp_path: Path):
    with pytest.raises(InputError, match=r"named in small letters, digits and _, got '../x'"):
        open_rows(tmp_path / "rows", {"../x": LAYERS}, block=8)


@pytest.mark.parametrize("file", ["zarr.json", "mean/zarr.json"])
def test_damaged_rows_are_told_when_they_are_opened(tmp_path: Path, file: str):
    open_rows(tmp_path, QUANTITIES, block=8)
    (tmp_path / file).write_text('{"zarr_')
    with pytest.raises(InputError, match="is missing or damaged"):
        open_rows(tmp_path, QUANTITIES, block=8)


def test_damaged_rows_are_told_when_they_are_read(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    store.write(0, {"mean": some(8)})
    (block,) = (tmp_path / "mean" / "c").rglob("*/0")
    block.write_bytes(block.read_bytes()[:-3])
    with pytest.raises(InputError, match="is missing or damaged"):
        store.read("Ä", "mean")


@pytest.mark.parametrize("most", [0, 8 * 4 * 4, 2**20])
@pytest.mark.parametrize("backwards", [False, True])
def test_layers_read_one_after_the_other_say_the_same(tmp_path: Path, most: int, backwards: bool):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    store.write(0, {"mean": some(8), "moran": {"Ä": -some(8)["Ä"]}})
    read = store.in_order(most)
    for layer in sorted(LAYERS, reverse=backwards):
        np.testing.assert_array_equal(read(layer, "mean"), some(8)[layer])
    np.testing.assert_array_equal(read("Ä", "moran"), -some(8)["Ä"])
    with pytest.raises(InputError, match="are kept for"):
        read("Ä", "other")


def test_what_follows_is_read_with_a_layer(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    store.write(0, {"mean": some(8)})
    read, (first, *others) = store.in_order(), list(LAYERS)
    read(first, "mean")
    (tmp_path / "mean").rename(tmp_path / "gone")
    for layer in others:
        np.testing.assert_array_equal(read(layer, "mean"), some(8)[layer])


def test_damage_is_told_when_layers_are_read_in_order(tmp_path: Path):
    store = open_rows(tmp_path, QUANTITIES, block=8)
    store.write(0, {"mean": some(8)})
    (block,) = (tmp_path / "mean" / "c").rglob("*/0")
    block.write_bytes(block.read_bytes()[:-3])
    with pytest.raises(InputError, match="is missing or damaged"):
        store.in_order()("Ä", "mean")


def test_a_full_disk_is_told_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_rows(tmp_path / "rows", QUANTITIES, block=8, images=8)

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(EnvironmentFailure, match=r"rows' cannot be written \(No space left"):
        store.write(0, {"mean": some(8)})


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path: Path):
    open_rows(tmp_path, QUANTITIES, block=8).write(0, {"mean": some(8)})
    half = tmp_path / "mean" / "c" / "0" / "0.0123abcd.partial"
    half.write_bytes(b"half")
    store = open_rows(tmp_path, QUANTITIES, block=8)
    assert not half.exists()
    assert store.read("Ä", "mean").tobytes() == some(8)["Ä"].tobytes()
