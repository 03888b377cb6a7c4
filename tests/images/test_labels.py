import json
import re

import numpy as np
import pytest

from layerscope.errors import InputError, MissingFileError
from layerscope.images.labels import (
    class_names,
    label_groups,
    label_values,
    match_labels,
    written_class,
)


@pytest.mark.parametrize(
    ("found", "classes", "index"),
    [
        (["cat", "dog"], ["dog", "bird", "cat"], (2, 0)),
        (["Golden_Retriever", "TABBY-cat"], ["tabby cat", "golden retriever"], (1, 0)),
        (["caf\u0065\u0301"], ["caf\u00e9", "bar"], (0,)),  # two ways to write the accent
        (["Cat", "cat"], ["cat", "Cat"], (1, 0)),  # an exact match decides
        (["n02", "tench"], [["n01", "tench"], ["n02", "crane"], ["n03", "crane"]], (1, 0)),
        (["10", "9"], ["9", "10"], (1, 0)),
        (["<b>\n", "'; --"], ["'; --", "<b>\n"], (1, 0)),
    ],
)
def test_classes_match_by_name(found, classes, index):
    match = match_labels(found, len(classes), classes)

    assert match.index == index
    assert match.mismatch == ""
    assert match.names == tuple(name if isinstance(name, str) else name[-1] for name in classes)


@pytest.mark.parametrize(
    ("found", "outputs", "classes", "words"),
    [
        (
            ["cat", "cow"],
            2,
            ["cat", "dog"],
            "1 of 2 classes .* 'cow'.*first names are 'cat', 'dog'",
        ),
        (["crane"], 2, [["n1", "crane"], ["n2", "crane"]], "fit no class name or several: 'crane'"),
        (["a_b"], 2, ["a b", "a-b"], "or several: 'a_b'"),
        (["A B", "a_b"], 2, ["a b", "c"], "Several classes fit the same name: 'A B', 'a_b'"),
        (["a", "b"], 3, ["a", "b"], "2 class names are given and the model has 3"),
        (["a", "b"], 3, None, "The images have 2 classes and the model 3"),
        ([str(n) for n in range(9)], 3, ["x", "y", "z"], "'4' and 4 more"),
    ],
)
def test_what_does_not_match_is_said_and_leaves_the_images_unlabelled(
    found, outputs, classes, words
):
    match = match_labels(found, outputs, classes)

    assert match.index is None
    assert re.search(words, match.mismatch)


@pytest.mark.parametrize("outputs", [2, 1, None])
def test_positions_count_where_the_numbers_agree(outputs):
    assert match_labels(["a", "b"], outputs, None).index == (0, 1)
    assert match_labels(["b"], outputs, ["a", "b"]).index == (1,)


def test_one_output_is_a_choice_between_two_and_not_among_three():
    assert match_labels(["a", "b", "c"], 1, None).index is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("names.txt", "tench\n gold fish \nshark\n\n", [("tench",), ("gold fish",), ("shark",)]),
        ("names.txt", "\ufefftench\r\nshark\r\n", [("tench",), ("shark",)]),
        ("names.json", '["tench", "shark"]', [("tench",), ("shark",)]),
        ("names", '{"1": "shark", "0": "tench"}', [("tench",), ("shark",)]),
        (
            "names",
            '{"0": ["n1", "tench"], "1": ["n2", "shark"]}',
            [("n1", "tench"), ("n2", "shark")],
        ),
        ("names.json", '{"shark": 1, "tench": 0}', [("tench",), ("shark",)]),
    ],
)
def test_names_are_read_in_each_form(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")

    assert class_names(tmp_path / name) == tuple(expected)
    assert class_names(str(tmp_path / name)) == tuple(expected)


def test_names_are_taken_from_memory_and_from_imagenet():
    assert class_names(["a", "b"]) == (("a",), ("b",))
    assert class_names({"0": "a", 1: "b"}) == (("a",), ("b",))
    assert class_names("imagenet", lambda: ["tench", "shark"]) == (("tench",), ("shark",))
    with pytest.raises(InputError, match="ImageNet are not available"):
        class_names("imagenet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "hold something else or an empty name"),
        ("a\n\nb\n", "an empty name"),
        ("[]", "hold none"),
        ("[1, 2]", "hold something else"),
        ('["a", ["b", 3]]', "hold something else"),
        ('{"0": "a", "2": "b"}', "'0' to '1' without a gap"),
        ('{"a": "x"}', "index to name"),
        ("[" * 100_000, "cannot be read"),
        ('["a"', "cannot be read"),
    ],
)
def test_files_without_names_are_refused(tmp_path, text, words):
    (tmp_path / "names.txt").write_text(text)

    with pytest.raises(InputError, match=words):
        class_names(tmp_path / "names.txt")


def test_files_that_are_missing_or_no_text_are_refused(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00\x01")

    with pytest.raises(MissingFileError, match=r"'.*gone.txt' does not exist"):
        class_names(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="cannot be read"):
        class_names(tmp_path / "names.txt")


def test_groups_become_labels_in_the_order_in_which_keras_counts_folders():
    labels = label_groups(["2", "10", None, "10"], 2, None)

    assert labels.values.tolist() == [1, 0, -1, 0]  # "10" sorts before "2"
    assert labels.names == ("10", "2")


def test_numbers_in_a_table_are_positions_unless_they_are_names():
    assert label_groups(["7", None, "3"], 10, None, numbers=True).values.tolist() == [7, -1, 3]
    assert label_groups(["1", "0"], 2, ["x", "y"], numbers=True).values.tolist() == [1, 0]
    assert label_groups(["1", "0"], 2, ["1", "0"], numbers=True).values.tolist() == [0, 1]
    with pytest.raises(InputError, match="from 0 to 4, or -1 for unknown; image 1 has 7"):
        label_groups(["2", "7"], 5, None, numbers=True)


@pytest.mark.parametrize(
    "y",
    [
        [1, 0, 2],
        np.array([1.0, 0.0, 2.0]),
        np.array([[1], [0], [2]], np.uint8),
        np.eye(3)[[1, 0, 2]],
        np.array([[0.1, 0.8, 0.1], [0.9, 0.1, 0], [0, 0, 1]]),
        np.array(["b", "a", "c"]),
        np.array([b"b", b"a", b"c"]),
        np.array(["b", "a", "c"], object),
    ],
)
def test_each_form_of_y_gives_positions(y):
    labels = label_values(y, 3, 3, ["a", "b", "c"])

    assert labels.values.tolist() == [1, 0, 2]
    assert labels.values.dtype == np.int64
    assert labels.names == ("a", "b", "c")


def test_numbers_are_translated_where_it_is_known_what_they_stand_for():
    labels = label_values([0, 1, -1], 3, 2, ["dog", "cat"], groups=["cat", "dog"])

    assert labels.values.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    "y", [np.zeros((3, 8, 8)), np.array([0.5, 1, 2]), np.zeros((3, 5)), np.zeros(3, complex)]
)
def test_what_is_no_class_leaves_the_images_unlabelled_with_a_reason(y):
    labels = label_values(y, 3, 3, None)

    assert labels.values is None
    assert labels.mismatch


@pytest.mark.parametrize(
    ("y", "outputs", "words"),
    [
        ([0, 1, 3], 3, "from 0 to 2, or -1 for unknown; image 2 has 3"),
        ([0, -2, 1], None, "from 0 upwards, or -1 for unknown; image 1 has -2"),
        ([0, 1, 2], 1, "from 0 to 1"),
        ([0, 1], 3, "one per image; got 2 for 3"),
        (5, 3, "one per image; got 1 for 3"),
    ],
)
def test_labels_that_cannot_be_are_refused(y, outputs, words):
    with pytest.raises(InputError, match=words):
        label_values(y, 3, outputs, None)


def test_the_index_of_imagenet_as_keras_writes_it_matches_both_of_its_names(tmp_path):
    index = {str(n): [f"n{n:08}", f"name_{n}"] for n in range(1000)}
    (tmp_path / "imagenet_class_index.json").write_text(json.dumps(index))

    names = class_names(tmp_path / "imagenet_class_index.json")

    assert match_labels(["n00000999", "Name 7"], 1000, names).index == (999, 7)
    assert match_labels(["n00000999"], 1000, names).names[999] == "name_999"


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("2", None, 2),
        ("bee", None, "bee"),
        ("name:2", None, "2"),
        ("index:2", None, 2),
        ("1", ("0", "1", "2"), 1),
        ("7", ("2", "7"), "7"),
        ("7", ("ant", "bee"), 7),
        ("name:7", ("name:7", "7"), "name:7"),
        ("index:x", ("ant", "bee"), "index:x"),
        ("9" * 5000, None, "9" * 5000),
    ],
)
def test_a_written_class_is_a_name_where_one_fits_and_else_an_index(text, names, found):
    own = names and tuple((name,) for name in names)
    assert written_class(text, own, "--class") == found


def test_digits_that_are_a_name_and_the_index_of_another_are_asked_about():
    with pytest.raises(InputError, match=r"--from-class 1 is the name of class 0 .* index:1"):
        written_class("1", (("1",), ("2",)), "--from-class")
