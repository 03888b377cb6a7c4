"""Arrays, archives and streams as sources of images."""

import tracemalloc

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.images.source import read

RNG = np.random.default_rng(5)


def collected(source):
    batches = list(source)
    ids = [name for batch in batches for name in batch.ids]
    labels = [batch.labels for batch in batches]
    together = None if labels[0] is None else np.concatenate(labels).tolist()
    return ids, together, batches


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64, np.int32, bool])
def test_arrays_keep_their_values(dtype):
    array = (RNG.integers(0, 2, (5, 4, 6, 3)) * 200).astype(dtype)

    source = read(array, size=(4, 6), batch_size=2)
    ids, labels, batches = collected(source)

    assert ids == ["0", "1", "2", "3", "4"]
    assert labels is None
    pixels = np.concatenate([batch.pixels for batch in batches])
    np.testing.assert_array_equal(pixels, array.astype(np.float32))
    assert pixels.dtype == np.float32
    assert collected(source)[0] == ids


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [((7, 8, 9), 1, (7, 8, 9, 1)), ((8, 9, 3), 3, (1, 8, 9, 3)), ((8, 9), 1, (1, 8, 9, 1))],
)
def test_arrays_of_lower_rank_are_understood(shape, channels, expected):
    (batch,) = read(np.zeros(shape), channels=channels)

    assert batch.pixels.shape == expected


def test_batches_of_arrays_are_copies():
    array = np.zeros((2, 4, 4, 3), np.float32)

    (batch,) = read(array)
    batch.pixels[:] = 9

    assert (array == 0).all()


def test_an_array_of_another_size_is_refused_rather_than_resized():
    with pytest.raises(InputError, match="takes images of 8 x 8 x 3, the array holds 4 x 6 x 3"):
        read(np.zeros((5, 4, 6, 3)), size=(8, 8))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_archive_gives_its_images_and_labels(tmp_path, save, order):
    x = np.asarray(RNG.integers(0, 256, (7, 4, 6, 3), dtype=np.uint8), order=order)
    y = np.arange(7) % 3
    save(tmp_path / "set.npz", x=x, y=y, other=np.zeros(3))

    source = read(tmp_path / "set.npz", batch_size=3, outputs=3)
    ids, labels, batches = collected(source)

    assert ids == list("0123456")
    assert labels == y.tolist()
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([batch.pixels for batch in batches]), x)
    assert collected(source)[0] == ids


def test_an_archive_may_hold_grey_images_or_one_image(tmp_path):
    np.savez(tmp_path / "grey.npz", x=np.ones((5, 4, 6)))
    np.savez(tmp_path / "one.npz", x=np.ones((4, 6, 3)))

    assert next(iter(read(tmp_path / "grey.npz", channels=1))).pixels.shape == (5, 4, 6, 1)
    assert next(iter(read(tmp_path / "one.npz"))).pixels.shape == (1, 4, 6, 3)


def test_archives_that_are_none_are_refused(tmp_path):
    np.savez(tmp_path / "names.npz", images=np.zeros((2, 4, 4, 3)))
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}], object))
    np.savez(tmp_path / "labels.npz", x=np.zeros((2, 4, 4, 3)), y=np.array([0, 9]))
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "alone.npy", np.zeros((2, 4, 4, 3)))
    (tmp_path / "alone.npy").rename(tmp_path / "alone.npz")
    np.savez(tmp_path / "cut.npz", x=RNG.integers(0, 256, (9, 40, 40, 3)))
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InputError, match="holds 'images'"):
        read(tmp_path / "names.npz")
    with pytest.raises(InputError, match="from 0 to 3, or -1 for unknown; image 1 has 9"):
        read(tmp_path / "labels.npz", outputs=4)
    for name in ("pickled", "text", "alone", "cut"):
        with pytest.raises(InputError, match=r"cannot be read as an .npz archive"):
            read(tmp_path / f"{name}.npz")


def test_an_archive_whose_content_is_damaged_says_so(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x=RNG.integers(0, 256, (9, 40, 40, 3)))
    whole = bytearray((tmp_path / "set.npz").read_bytes())
    whole[len(whole) // 2] ^= 255
    (tmp_path / "set.npz").write_bytes(whole)

    with pytest.raises(InputError, match=r"cannot be read as an .npz archive"):
        list(read(tmp_path / "set.npz", batch_size=2))


def test_a_large_archive_is_streamed(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x=np.zeros((400, 64, 64, 3)))  # 39 MB

    tracemalloc.start()
    for batch in read(tmp_path / "set.npz", batch_size=8):
        assert len(batch) == 8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8_000_000


class Tensor:
    """What a tensor of TensorFlow shows of itself."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def numpy(self):
        return self.values


def test_a_stream_is_read_once_in_order_with_its_labels():
    x, y = RNG.random((10, 4, 4, 3)), np.arange(10)
    pulled = []

    def batches():
        for at in range(0, 10, 5):
            pulled.append(at)
            yield Tensor(x[at : at + 5]), Tensor(y[at : at + 5])

    source = read(batches(), batch_size=4, outputs=10)
    assert pulled == []  # nothing is read before the iteration
    ids, labels, collected_batches = collected(source)

    assert (source.ids, source.length, source.labels) == (None, None, None)
    assert ids == [str(n) for n in range(10)]
    assert labels == list(range(10))
    assert [len(batch) for batch in collected_batches] == [4, 4, 2]
    pixels = np.concatenate([batch.pixels for batch in collected_batches])
    np.testing.assert_array_equal(pixels, x.astype(np.float32))
    with pytest.raises(InputError, match="read once"):
        list(source)


def test_a_stream_of_single_images_is_batched():
    images = [(np.full((4, 4, 3), n), n) for n in range(5)]

    _, labels, batches = collected(read(iter(images), batch_size=2))

    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert labels == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("element", "words"),
    [
        ({"image": np.zeros((2, 4, 4, 3))}, "it gave dict"),
        ("photo.jpg", "it gave str"),
        ((np.zeros((2, 4, 4, 3)), 1, 2, 3), "it gave tuple"),
        (np.zeros((2, 4, 4, 1)), "H x W x 3, the array holds 4 x 4 x 1"),
        (np.zeros((2, 4, 4, 3), complex), "real numbers"),
        ((np.zeros((2, 4, 4, 3)), [0, 7]), "image 1 has 7"),
    ],
)
def test_a_stream_of_something_else_is_refused(element, words):
    with pytest.raises(InputError, match=words):
        list(read(iter([element]), outputs=5))


def test_masks_and_lone_names_leave_a_stream_unlabelled_with_a_reason():
    for y in (np.zeros((2, 4, 4)), np.array(["a", "b"])):
        source = read(iter([(np.zeros((2, 4, 4, 3)), y)]), outputs=2)
        assert collected(source)[1] is None
        assert source.label_mismatch
