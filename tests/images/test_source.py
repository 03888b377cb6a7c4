import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError, MissingFileError
from layerscope.images import decode as decode_module
from layerscope.images import loading
from layerscope.images.decode import decode
from layerscope.images.resize import resize
from layerscope.images.source import read

RNG = np.random.default_rng(5)


def write(path: Path, shape=(20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
    return path


def collected(source):
    batches = list(source)
    ids = [name for batch in batches for name in batch.ids]
    labels = [batch.labels for batch in batches]
    together = None if labels[0] is None else np.concatenate(labels).tolist()
    return ids, together, batches


@pytest.fixture
def classes_folder(tmp_path):
    for name in ("10/a.png", "2/b.png", "2/deep/er/c.JPG", "2/d10.png", "2/d9.png"):
        write(tmp_path / "set" / name)
    for junk in (
        ".cache/x.png",
        ".a/x.txt",
        ".a/._x.png",
        "2/.DS_Store",
        "2/._b.png",
        "2/notes.txt",
        "empty/readme.md",
    ):
        (tmp_path / "set" / junk).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / junk).write_text("junk")
    return tmp_path / "set"


def test_a_folder_per_class_gives_labels_ids_and_a_stable_order(classes_folder):
    source = read(classes_folder, size=(8, 9), batch_size=2)
    ids, labels, batches = collected(source)

    assert ids == ["2/b.png", "2/d9.png", "2/d10.png", "2/deep/er/c.JPG", "10/a.png"]
    assert source.ids == tuple(ids)
    assert labels == [1, 1, 1, 1, 0]  # Keras sorts "10" before "2"
    assert source.class_names == ("10", "2")
    assert [batch.pixels.shape for batch in batches] == [(2, 8, 9, 3), (2, 8, 9, 3), (1, 8, 9, 3)]
    assert {batch.pixels.dtype for batch in batches} == {np.dtype(np.float32)}
    assert source.skipped == []
    assert source.length == 5


def test_a_hidden_folder_with_images_is_told_as_skipped(classes_folder):
    write(classes_folder / ".cat" / "x.png")
    write(classes_folder / ".cat" / "y.png")
    source = read(classes_folder, size=(8, 9))
    assert len(collected(source)[0]) == 5
    (skipped,) = source.skipped
    assert skipped.file == ".cat"
    assert "its name begins with a dot" in skipped.reason
    assert source.class_names == ("10", "2")


def test_batches_hold_what_decode_and_resize_give(classes_folder):
    source = read(classes_folder, size=(8, 9), how="crop")

    batch = next(iter(source))

    for name, pixels in zip(batch.ids, batch.pixels, strict=True):
        expected = resize(decode(classes_folder / name).pixels, (8, 9), "crop")
        np.testing.assert_array_equal(pixels, expected)


def test_a_folder_gives_what_the_keras_loader_gives(tmp_path):
    keras = pytest.importorskip("keras")
    for number in range(6):
        suffix = ("png", "jpg", "bmp")[number % 3]
        write(tmp_path / f"class{number % 2}/{number}.{suffix}", (30 + number, 50 - number))
    theirs = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(16, 17), shuffle=False, verbose=False
    )
    (their_pixels, their_labels), *_ = theirs.as_numpy_iterator()

    (batch,) = read(tmp_path, size=(16, 17))

    tolerance = 10 if decode_module.simplejpeg is None else 1e-3
    np.testing.assert_allclose(batch.pixels, their_pixels, atol=tolerance)
    assert batch.labels.tolist() == their_labels.tolist()
    assert [str(tmp_path / name) for name in batch.ids] == theirs.file_paths


def test_a_dataset_of_tensorflow_is_a_stream_whose_class_names_count(tmp_path):
    keras = pytest.importorskip("keras")
    for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
        write(tmp_path / name)
    dataset = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(8, 8), shuffle=False, verbose=False
    )

    ids, labels, batches = collected(read(dataset, size=(8, 8), classes=["dog", "cat"]))

    assert ids == ["0", "1", "2"]
    assert labels == [1, 0, 0]
    assert batches[0].pixels.shape == (3, 8, 8, 3)


def test_names_map_folders_to_outputs_and_without_them_numbers_must_agree(classes_folder):
    named = read(classes_folder, size=(8, 8), outputs=3, classes=["2", "x", "10"])
    assert collected(named)[1] == [0, 0, 0, 0, 2]
    assert named.class_names == ("2", "x", "10")

    unnamed = read(classes_folder, size=(8, 8), outputs=3)
    assert collected(unnamed)[1] is None
    assert unnamed.labels is None
    assert "2 classes and the model 3" in unnamed.label_mismatch


def test_a_flat_folder_has_no_labels_and_says_what_it_leaves_out(tmp_path):
    for name in ("b10.png", "b9.png", "B8.png", "thumbs/b9.png"):
        write(tmp_path / name)

    source = read(tmp_path, size=(4, 4), outputs=5)
    ids, labels, _ = collected(source)

    assert ids == ["B8.png", "b9.png", "b10.png"]
    assert labels is None
    assert source.label_mismatch == ""
    assert [(item.file, item.reason) for item in source.skipped] == [
        ("thumbs/b9.png", "lies in a sub-folder of a flat folder")
    ]


def test_images_beside_class_folders_are_listed_as_skipped(classes_folder):
    write(classes_folder / "cover.png")

    source = read(classes_folder, size=(4, 4))
    ids, *_ = collected(source)

    assert "cover.png" not in ids
    assert [item.file for item in source.skipped] == ["cover.png"]
    assert "beside the class folders" in source.skipped[0].reason


def test_one_file_and_a_list_of_files_are_read_in_the_order_given(tmp_path):
    one, two = write(tmp_path / "z.png"), write(tmp_path / "a.png")

    assert collected(read(one, size=(4, 4)))[0] == ["z.png"]
    assert collected(read(str(one), size=(4, 4)))[0] == ["z.png"]
    ids = collected(read([one, str(two), one], size=(4, 4)))[0]
    assert ids == [one.as_posix(), two.as_posix(), f"{one.as_posix()}@2"]
    assert collected(read((one, two), size=(4, 4)))[0] == ids[:2]


def test_a_table_gives_paths_from_its_own_folder_and_labels(tmp_path, monkeypatch):
    write(tmp_path / "set/in/a, b.png")
    write(tmp_path / "set/c.png")
    (tmp_path / "set/index.csv").write_text(
        f'\ufefflabel,path,extra\ndog,"in/a, b.png",1\ncat,{tmp_path}/set/c.png\n,c.png\ndog,\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)

    source = read("set/index.csv", size=(4, 4), outputs=2)
    ids, labels, _ = collected(source)

    assert ids == ["in/a, b.png", f"{tmp_path}/set/c.png", "c.png"]
    assert labels == [1, 0, -1]
    assert source.class_names == ("cat", "dog")
    assert [(item.file, item.reason) for item in source.skipped] == [
        ("index.csv, line 5", "has no path")
    ]


def test_a_table_of_numbers_gives_positions(tmp_path):
    write(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("path,label\na.png,7\n")

    assert collected(read(tmp_path / "index.csv", size=(4, 4), outputs=10))[1] == [7]
    with pytest.raises(InputError, match="from 0 to 4, or -1 for unknown; image 0 has 7"):
        read(tmp_path / "index.csv", size=(4, 4), outputs=5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path;label\na.png;1\n", "starts with the line path,label; .* starts with 'path;label'"),
        ("file,class\n", "starts with 'file,class'"),
        ("", "starts with ''"),
        ("path,label\n", "a line per image"),
        ("path,label\n" + "x" * 200_000 + ",1\n", "CSV in UTF-8"),
        ("path,label\n\udcff.png,1\n", "CSV in UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, words):
    (tmp_path / "index.csv").write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(InputError, match=words):
        read(tmp_path / "index.csv")


def test_pipes_and_devices_are_left_out_and_never_opened(tmp_path):
    for number in range(3):
        write(tmp_path / f"x/{number}.png")
        write(tmp_path / f"y/{number}.png")
    os.mkfifo(tmp_path / "x/pipe.png")
    (tmp_path / "y/zero.png").symlink_to("/dev/zero")
    source = read(tmp_path, size=(6, 6))
    assert source.length == 6
    assert {item.file: item.reason for item in source.left_out} == {
        "x/pipe.png": "is no ordinary file", "y/zero.png": "is no ordinary file",
    }  # fmt: skip
    assert source.digest()
    with pytest.raises(InputError, match="ordinary files"):
        read([tmp_path / "x/pipe.png"], size=(6, 6))


def test_damaged_files_are_listed_and_the_rest_goes_on(tmp_path):
    for number in range(12):
        write(tmp_path / f"x/{number}.png")
        write(tmp_path / f"y/{number}.png")
    (tmp_path / "x/3.png").write_bytes((tmp_path / "x/3.png").read_bytes()[:500])
    (tmp_path / "x/4.png").write_bytes(b"")
    (tmp_path / "y/5.png").unlink()
    (tmp_path / "y/5.png").symlink_to("nowhere")
    write(tmp_path / "y/6.png", (1, 1))
    (tmp_path / "y/phone.heic").write_bytes(b"\0\0\0\x1cftypheic")
    write(tmp_path / "y/picture.eps")

    for size in ((6, 6), None):
        source = read(tmp_path, size=size, batch_size=8)
        ids, labels, batches = collected(source)

        skipped = {item.file: item.reason for item in source.skipped}
        assert list(skipped) == ["x/3.png", "x/4.png", "y/5.png", "y/6.png", "y/phone.heic"]
        for reason, words in zip(
            skipped.values(), ["damaged", "empty", "exist", "1x1", "no supported"], strict=True
        ):
            assert words in reason
        assert ids == [name for name in source.ids if name not in skipped]
        assert labels == [int(name.startswith("y")) for name in ids]
        for batch in batches:
            for name, pixels in zip(batch.ids, batch.pixels, strict=True):
                whole = decode(tmp_path / name).pixels
                np.testing.assert_array_equal(
                    pixels, whole if size is None else resize(whole, size)
                )


def test_a_file_that_vanishes_on_the_way_is_skipped(tmp_path):
    for number in range(200):
        write(tmp_path / f"{number}.png")
    source = read(tmp_path, size=(4, 4), batch_size=4)

    rest = iter(source)
    next(rest)
    (tmp_path / "199.png").unlink()
    ids = [name for batch in rest for name in batch.ids]

    assert len(ids) == 195
    assert [(item.file, "does not exist" in item.reason) for item in source.skipped] == [
        ("199.png", True)
    ]


def test_notes_and_skipped_start_afresh_with_each_pass(tmp_path):
    write(tmp_path / "a.png")
    Image.fromarray(np.full((9, 9, 4), 7, np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "c.png").touch()
    source = read(tmp_path, size=(4, 4))

    assert collected(source)[0] == ["a.png", "b.png"]
    assert source.notes == {"b.png": "transparency ignored"}
    assert [item.file for item in source.skipped] == ["c.png"]

    write(tmp_path / "b.png")
    write(tmp_path / "c.png")
    assert collected(source)[0] == ["a.png", "b.png", "c.png"]
    assert (source.notes, source.skipped) == ({}, [])


def test_at_their_own_size_neighbours_of_one_size_share_a_batch(tmp_path):
    for number, shape in enumerate([(5, 6), (5, 6), (5, 6), (7, 6), (5, 6)]):
        write(tmp_path / f"{number}.png", shape)

    batches = list(read(tmp_path, batch_size=2))

    assert [batch.pixels.shape[:3] for batch in batches] == [
        (2, 5, 6), (1, 5, 6), (1, 7, 6), (1, 5, 6),
    ]  # fmt: skip
    assert {batch.pixels.dtype for batch in batches} == {np.dtype(np.float32)}


def test_one_channel_gives_grey_files(tmp_path):
    write(tmp_path / "a.png")

    (batch,) = read(tmp_path, size=(4, 5), channels=1)

    assert batch.pixels.shape == (1, 4, 5, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_hostile_file_names_become_ids_that_can_be_written(tmp_path):
    names = [
        b"line\nbreak.png",
        b"\xff\xfe.png",
        b"<script>.png",
        "日本.png".encode(),
        b"-rf *.png",
    ]
    good = write(tmp_path / "good.png").read_bytes()
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(good)

    source = read(tmp_path, size=(4, 4))
    ids, *_ = collected(source)

    assert len(ids) == 6
    assert "\\xff\\xfe.png" in ids
    assert {"line\nbreak.png", "<script>.png", "日本.png"} < set(ids)
    "".join(ids).encode("utf-8")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda folder: folder / "gone", MissingFileError, "'.*gone' cannot be found"),
        (lambda folder: "x" * 5000, MissingFileError, "cannot be found"),
        (lambda folder: "a\0b", MissingFileError, "cannot be found"),
        (lambda folder: folder, InputError, "holds none with a suffix such as .jpg"),
        (lambda folder: [], InputError, "the list is empty"),
        (lambda folder: [np.zeros((4, 4, 3))], InputError, "Join a list of arrays"),
        (lambda folder: {"x": 1}, InputError, "got dict"),
        (lambda folder: 7, InputError, "got int"),
        (lambda folder: np.zeros((2, 2, 2, 2, 2)), InputError, "shape"),
        (lambda folder: np.zeros((0, 4, 4, 3)), InputError, "at least one pixel"),
        (lambda folder: np.array(["a"]), InputError, "real numbers"),
        (lambda folder: np.zeros((4, 4, 3), complex), InputError, "real numbers"),
        (lambda folder: np.zeros((2, 4, 4, 2)), InputError, "H x W x 3, the array holds 4 x 4 x 2"),
        (lambda folder: (np.zeros((2, 4, 4, 3)), [1]), InputError, "one per image; got 1 for 2"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, make, error, words):
    with pytest.raises(error, match=words):
        read(make(tmp_path))


def test_options_are_checked(tmp_path):
    write(tmp_path / "a.png")
    with pytest.raises(InputError, match="batch_size=0"):
        read(tmp_path, batch_size=0)
    with pytest.raises(InputError, match="stretch, crop, letterbox"):
        read(tmp_path, how="zoom")
    with pytest.raises(InputError, match="files give 1 or 3 channels; the model takes 5"):
        read(tmp_path, channels=5)


@pytest.mark.parametrize("size", [(4, 4), None])
def test_a_set_without_one_readable_image_is_an_error_with_the_reasons(tmp_path, size):
    for number in range(5):
        (tmp_path / f"{number}.png").touch()

    with pytest.raises(InputError, match=r"none is .'0.png': it is empty .*; and 2 more"):
        list(read(tmp_path, size=size))


@pytest.mark.parametrize("size", [(8, 8), None])
def test_memory_stays_flat_however_many_files_there_are(tmp_path, size):
    good = write(tmp_path / "0.png", (100, 100)).read_bytes()
    for number in range(1, 600):
        (tmp_path / f"{number}.png").write_bytes(good if number % 3 else good[:300])

    def peak(count):
        paths = [tmp_path / f"{number}.png" for number in range(count)]
        tracemalloc.start()
        for _ in read(paths, size=size, batch_size=8):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(30)  # what is imported and cached once
    # All pixels of 600 would be 12 MB; a path, an id and a reason are a few hundred bytes each.
    assert peak(600) - peak(60) < 700_000


def test_leaving_early_ends_the_threads(tmp_path):
    for number in range(100):
        write(tmp_path / f"{number}.png")

    for _ in read(tmp_path, size=(8, 8), batch_size=4):
        break

    assert not [one for one in threading.enumerate() if "layerscope" in one.name]


def test_many_files_give_what_few_give(tmp_path, monkeypatch):
    pytest.importorskip("numba")
    for number in range(5):
        write(tmp_path / f"{number}.png", (30 + number, 40))
    expected = [resize(decode(path).pixels, (21, 17)) for path in sorted(tmp_path.iterdir())]
    monkeypatch.setattr(loading, "MANY", 1)

    (batch,) = read(tmp_path, size=(21, 17))

    np.testing.assert_array_equal(batch.pixels, expected)


def test_reading_images_loads_neither_tensorflow_nor_numba(tmp_path):
    write(tmp_path / "a.png")
    program = (
        "import sys, layerscope.images.source as source\n"
        "list(source.read(sys.argv[1], size=(4, 4)))\n"
        "assert not {'tensorflow', 'keras', 'numba'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=60)


@pytest.mark.parametrize("kind", ["files", "array", "archive"])
def test_a_part_keeps_ids_and_labels_in_the_order_asked_for(tmp_path, kind):
    pixels = np.arange(6)[:, None, None, None] * np.ones((1, 4, 5, 3), np.float32)
    if kind == "files":
        for i in range(6):
            write(tmp_path / f"class{i % 2}/{i}.png")
        images = tmp_path
    elif kind == "array":
        images = (pixels, [0, 1] * 3)
    else:
        np.savez(tmp_path / "x.npz", x=pixels, y=[0, 1] * 3)
        images = tmp_path / "x.npz"
    whole = read(images, size=(4, 5), batch_size=2, outputs=2)
    part = whole.part([5, 0, 3])
    assert part.ids == tuple(whole.ids[i] for i in (5, 0, 3))
    ids, labels, batches = collected(part)
    assert tuple(ids) == part.ids
    assert labels == [int(whole.labels[i]) for i in (5, 0, 3)]
    every = np.concatenate([batch.pixels for batch in read(images, size=(4, 5), outputs=2)])
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in batches]), every[[5, 0, 3]])
    further = part.part([2, 0])
    assert collected(further)[0] == [whole.ids[3], whole.ids[5]]
    assert collected(further)[1] == [int(whole.labels[i]) for i in (3, 5)]
    assert len({one.digest() for one in (whole, part, further, whole.part([1]))}) == 4
    assert whole.part([5, 0, 3]).digest() == part.digest()
    assert whole.spread(3).ids == tuple(whole.ids[i] for i in (0, 2, 5))
    assert whole.spread(99).ids == whole.ids


def test_a_stream_has_no_part():
    with pytest.raises(InputError, match="stream of images is read in its own order"):
        read(iter([np.zeros((2, 4, 5, 3))]), size=(4, 5)).part([0])


def opened(file):
    image = Image.open(file)
    image.load()
    return image


def test_pillow_images_come_in_as_their_files_do(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    pixels = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "c.png")
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for channels in (1, 3):
        _, _, expected = collected(read(files, size=(8, 9), channels=channels))
        source = read([opened(file) for file in files], size=(8, 9), channels=channels)
        ids, labels, found = collected(source)
        assert ids == [file.as_posix() for file in files]
        assert labels is None
        np.testing.assert_array_equal(found[0].pixels, expected[0].pixels)
    few = read([opened(file) for file in files], size=(8, 9)).part([2, 0]).part([1])
    assert few.ids == (files[0].as_posix(),)
    np.testing.assert_array_equal(next(iter(few)).pixels[0], expected[0].pixels[0])
    _, _, (own,) = collected(read(Image.fromarray(pixels)))
    np.testing.assert_array_equal(own.pixels[0], pixels)
    assert own.ids == ("0",)


def test_a_pillow_image_that_cannot_be_used_is_listed_and_the_rest_goes_on(tmp_path):
    file = write(tmp_path / "cut.png")
    file.write_bytes(file.read_bytes()[:-900])
    deep = Image.fromarray(np.zeros((5, 5), np.int32))
    with Image.open(file) as cut:
        source = read([cut, deep, Image.fromarray(np.zeros((5, 5), np.uint8))])
        ids, _, _ = collected(source)
    assert ids == ["2"]
    assert [item.file for item in source.skipped] == [file.as_posix(), "1"]
    assert "mode I have no known range" in source.skipped[1].reason


def test_pillow_images_have_a_digest_of_what_they_hold():
    pixels = RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    one, same, other = (Image.fromarray(p) for p in (pixels, pixels, 255 - pixels))
    assert read(one).digest() == read(same).digest() != read(other).digest()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "'' cannot be found .the path is empty"),
        (["a.png", ""], "A path of an image is empty"),
        (["SET", "a.png"], r"one image file each, and '.*set' is a whole set"),
        (["a.png", "b.npz"], r"one image file each, and 'b.npz' is a whole set"),
        ("x.npy", r"x\.npy' is an \.npy\. Write it with np\.savez"),
    ],
)
def test_paths_that_name_no_image_are_refused_with_what_to_do(
    given, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set" / "good.png")
    write(tmp_path / "here.png")
    np.save("x.npy", np.zeros((2, 5, 5, 3)))
    if isinstance(given, list):
        given = [str(tmp_path / "set") if name == "SET" else name for name in given]
    with pytest.raises(InputError, match=message):
        read(given)
