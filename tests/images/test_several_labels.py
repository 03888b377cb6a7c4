"""Images that may have several labels each, on their way in."""

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.images.labels import label_values
from layerscope.images.source import read

ROWS = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0]])
IMAGES = np.random.default_rng(0).random((5, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_rows_that_do_not_all_hold_a_single_one_are_several_labels(dtype):
    found = label_values(ROWS.astype(dtype), 5, 3, ["a", "b", "c"])

    assert found.values is None
    assert found.mismatch == ""
    assert found.names == ("a", "b", "c")
    np.testing.assert_array_equal(found.several, ROWS.astype(bool))


@pytest.mark.parametrize("rows", [np.eye(3)[[0, 2]], np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])])
def test_one_hot_rows_and_soft_labels_stay_one_label(rows):
    found = label_values(rows, 2, 3, None)

    assert found.values.tolist() == [0, 2]
    assert found.several is None


@pytest.mark.parametrize("rows", [2 * ROWS - 1, 255 * ROWS, 255.0 * ROWS, ROWS - ROWS[::-1]])
def test_several_labels_in_other_numbers_are_not_taken_for_one(rows):
    found = label_values(rows, 5, 3, None)

    assert (found.values, found.several) == (None, None)
    assert "without one largest in each row" in found.mismatch
    assert label_values(2 * np.eye(3) - 1, 3, 3, None).values.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("outputs", "words"),
    [(4, "3 columns and the model 4 classes"), (1, "the model has one output")],
)
def test_another_number_of_columns_leaves_the_images_unlabelled(outputs, words):
    found = label_values(ROWS, 5, outputs, None)

    assert (found.values, found.several) == (None, None)
    assert words in found.mismatch


def test_columns_go_where_their_names_say():
    found = label_values(ROWS, 5, 3, ["c", "a", "b"], groups=["a", "b", "c"])

    np.testing.assert_array_equal(found.several, ROWS.astype(bool)[:, [2, 0, 1]])
    assert (
        "fit no class name" in label_values(ROWS, 5, 3, ["c", "a", "x"], ["a", "b", "c"]).mismatch
    )


def sources(tmp_path, rows=ROWS):
    path = tmp_path / "images.npz"
    np.savez(path, x=IMAGES, y=rows)
    return read((IMAGES, rows), outputs=3, batch_size=2), read(path, outputs=3, batch_size=2)


def test_arrays_and_archives_bring_them_and_so_do_their_parts(tmp_path):
    for source in sources(tmp_path):
        assert source.labels is None
        assert "one label per image" in source.unlabelled
        np.testing.assert_array_equal(source.several, ROWS.astype(bool))
        part = source.part([3, 0]).part([1])
        np.testing.assert_array_equal(part.several, ROWS[[0]].astype(bool))
        assert all(batch.labels is None for batch in source)


def test_other_labels_are_another_set(tmp_path):
    other = ROWS.copy()
    other[0, 0] = 0
    digests = {source.digest() for source in (*sources(tmp_path), *sources(tmp_path, other))}

    assert len(digests) == 2  # an array and an archive of the same are the same


def table(folder, text):
    for name in "abc":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{name}.png")
    (folder / "table.csv").write_text(text)
    return folder / "table.csv"


def test_a_table_may_have_a_column_per_class(tmp_path):
    path = table(tmp_path, "path,cat,dog,photo\na.png,1,1,p\n,0,0,\nb.png,0,1,p\nc.png,0,0,q\n")

    source = read(path, outputs=2, classes=["Dog", "Cat"])

    np.testing.assert_array_equal(source.several, [[1, 1], [1, 0], [0, 0]])
    assert source.class_names == ("Dog", "Cat")
    assert source.photos == ("p", "p", "q")
    assert read(path, outputs=2).class_names == ("cat", "dog")
    np.testing.assert_array_equal(source.part([2, 0]).several, [[0, 0], [1, 1]])
    changed = table(tmp_path, path.read_text().replace("c.png,0,0", "c.png,1,0"))
    assert read(changed, outputs=2, classes=["Dog", "Cat"]).digest() != source.digest()


def test_a_table_with_one_class_per_image_has_one_label_per_image(tmp_path):
    path = table(tmp_path, "path,cat,dog\na.png,1,0\nb.png,0,1\nc.png,0,1\n")

    source = read(path, outputs=2, classes=["dog", "cat"])

    assert source.labels.tolist() == [1, 0, 0]
    assert source.several is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,cat,dog\na.png,1,yes\n", "line 2, column 'dog' has 'yes'"),
        ("path,cat,dog\na.png,1\n", "line 2, column 'dog' has ''"),
        ("path,cat,cat\na.png,1,1\n", "each with a name of its own"),
        ("path,cat\na.png,1\n", "starts with the line path,label"),
    ],
)
def test_a_table_that_says_something_else_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read(table(tmp_path, text))


def test_a_stream_knows_them_after_a_pass_even_where_a_batch_looks_like_one_label_each():
    source = read(((IMAGES[at : at + 1], ROWS[at : at + 1]) for at in range(5)), outputs=3)

    labels = [batch.labels for batch in source]

    assert labels == [None]
    np.testing.assert_array_equal(source.several, ROWS.astype(bool))
    assert source.label_mismatch == ""
    assert source.settled(np.array([0, 1])).tolist() == [-1, -1]


def test_a_stream_of_one_hot_rows_has_one_label_each():
    source = read(((IMAGES[:3], np.eye(3)) for _ in range(2)), outputs=3)

    (batch,) = source

    assert source.several is None
    assert source.settled(batch.labels).tolist() == [0, 1, 2, 0, 1, 2]


def test_a_stream_that_changes_its_mind_is_unlabelled_and_says_so():
    pairs = [(IMAGES[:2], ROWS[:2]), (IMAGES[:2], np.array([0, 2]))]
    source = read(iter(pairs), outputs=3)

    list(source)

    assert source.several is None
    assert "labels of one form" in source.label_mismatch
    assert source.settled(np.array([0, 1])).tolist() == [-1, -1]
