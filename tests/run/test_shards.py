"""Images in shards of 64, whatever could not be read among them."""

import threading

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.images import read
from layerscope.run.shards import ahead, read_shards


def write(folder, count, broken=()):
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i in broken:
            path.write_bytes(b"")
        else:
            Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(path)
    return folder


@pytest.mark.parametrize("first", [0, 1, 2])
def test_every_image_is_in_its_place_and_the_lost_ones_are_named(tmp_path, first):
    source = read(
        write(tmp_path, 150, broken={0, 5, 64, 149}), size=(4, 4), outputs=2, batch_size=7
    )
    shards = list(read_shards(source, first))
    assert [shard.number for shard in shards] == list(range(first, 3))
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 64), (64, 128), (128, 150)][
        first:
    ]
    for shard in shards:
        for image, name, place, label in zip(
            shard.images, shard.ids, shard.places, shard.labels, strict=True
        ):
            assert source.ids[place] == name
            assert image[0, 0, 0] == int(name[7:10])
            assert label == int(name[5])
        assert len(shard.places) + len(shard.skipped) == shard.stop - shard.start
        lost = set(source.ids[shard.start : shard.stop]) - set(shard.ids)
        assert {item.file for item in shard.skipped} == lost


@pytest.mark.parametrize("kind", ["array", "archive", "stream"])
def test_other_sources_come_whole_and_in_order(tmp_path, kind):
    x = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(100) % 3)
    given = {"array": (x, np.arange(100) % 3), "archive": tmp_path / "x.npz"}
    images = given.get(kind) or (
        (x[i : i + 9], np.arange(i, min(100, i + 9)) % 3) for i in range(0, 100, 9)
    )
    shards = list(read_shards(read(images, size=(4, 4), outputs=3)))
    assert [len(shard.images) for shard in shards] == [64, 36]
    assert [int(image[0, 0, 0]) for shard in shards for image in shard.images] == list(range(100))
    assert np.concatenate([s.labels for s in shards]).tolist() == [i % 3 for i in range(100)]
    assert np.concatenate([s.places for s in shards]).tolist() == list(range(100))


def test_nothing_readable_is_an_error_unless_an_earlier_process_had_something(tmp_path):
    with pytest.raises(InputError, match="At least one image must be readable"):
        list(read_shards(read(write(tmp_path / "a", 3, broken=range(3)), size=(4, 4))))
    flat = write(tmp_path / "b", 70, broken=range(64, 70))
    for path in flat.rglob("*.png"):
        path.rename(flat / path.name)
    (shard,) = read_shards(read(flat, size=(4, 4)), 1)
    assert not shard.images
    assert [item.file for item in shard.skipped] == [f"{i:03}.png" for i in range(64, 70)]


def test_one_item_is_made_ahead_and_no_more():
    made, second = [], threading.Event()

    def items():
        for i in range(5):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    coming = ahead(items())
    assert next(coming) == 0
    assert second.wait(10), "the next item is not made while one is used"
    coming.close()
    assert made == [0, 1]
    assert list(ahead(items())) == [0, 1, 2, 3, 4]


def test_what_was_made_before_an_error_still_comes():
    def items():
        yield "first"
        raise MemoryError("too large")

    coming = ahead(items())
    assert next(coming) == "first"
    with pytest.raises(MemoryError, match="too large"):
        next(coming)
