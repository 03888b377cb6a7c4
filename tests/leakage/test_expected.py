"""Patterns that are declared to belong to a class."""

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.leakage.copies import Copies, Interval
from layerscope.leakage.expected import expected, is_expected


def copies(box, mark) -> Copies:
    nothing, none = Interval(0.8, 0.7, 0.9), np.zeros(0, int)
    return Copies(
        0, nothing, nothing, 0.01, 1.0, 0.0, 0.6, (20, 80), box, True, none,
        np.zeros((0, 4), int), np.zeros(0), np.zeros(0, bool), mark, mark,
    )  # fmt: skip


MARK = np.random.default_rng(0).uniform(0, 1, (8, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("region", "hit"),
    [("0,0,0.5,0.5", True), ("0.5,0.5,1,1", False), ("0,0,0.1,1", False), ("0,0,1,1", True)],
)
def test_a_region_declares_what_lies_mostly_in_it(region, hit):
    assert is_expected(copies((4, 4, 10, 12), MARK), (32, 64), [expected(region)]) is hit


def test_a_picture_declares_what_looks_like_it(tmp_path):
    grey = (MARK.mean(-1) * 255).astype(np.uint8)
    Image.fromarray(grey.repeat(3, 0).repeat(3, 1)).save(tmp_path / "same.png")
    Image.fromarray(255 - grey).save(tmp_path / "other.png")
    found = copies((0, 0, 6, 8), MARK)
    assert is_expected(found, (32, 32), [expected(str(tmp_path / "same.png"))])
    assert not is_expected(found, (32, 32), [expected(str(tmp_path / "other.png"))])
    assert not is_expected(found, (32, 32), [])


def test_a_mark_is_known_in_a_larger_or_smaller_box_and_by_its_opaque_part(tmp_path):
    random = np.random.default_rng(1)
    grey = random.uniform(120, 255, (8, 8)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "mark.png")
    cut = np.where(np.hypot(*np.mgrid[-3.5:4, -3.5:4]) < 3.6, 255, 0).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3 + [cut], 2)).save(tmp_path / "round.png")
    wide = np.full((11, 12, 3), 60, np.float32)
    wide[2:10, 2:10] = grey[..., None]
    rounded = np.full((10, 10, 3), 60, np.float32)
    rounded[1:9, 1:9][cut > 0] = grey[cut > 0][:, None]
    for name, found in (("mark", wide), ("mark", wide[3:10, 2:9]), ("round", rounded)):
        declared = [expected(str(tmp_path / f"{name}.png"))]
        assert is_expected(copies((0, 0, 12, 11), found), (32, 32), declared), name
    noise = random.uniform(0, 255, (11, 12, 3)).astype(np.float32)
    assert not is_expected(copies((0, 0, 12, 11), noise), (32, 32), declared)


def test_a_property_of_whole_images_is_declared_by_its_name_and_declares_no_pattern():
    (declared,) = [expected("contrast")]
    assert declared.look == "contrast"
    assert not is_expected(copies((4, 4, 10, 12), MARK), (32, 64), [declared])


@pytest.mark.parametrize("words", ["0,0,2,1", "0.5,0,0.2,1", "a,b,c,d", "nan,0,1,1"])
def test_a_region_that_is_none_is_refused(words):
    with pytest.raises(InputError, match="A region is X0,Y0,X1,Y1"):
        expected(words)


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(InputError, match="is none of these"):
        expected(str(tmp_path / "x.png"))
    with pytest.raises(InputError, match="is none of these"):
        expected(str(tmp_path / "nowhere.png"))
