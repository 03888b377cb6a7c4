"""Marks: what is read, what is pasted, and the controls."""

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.interventions.marks import (
    Mark,
    block,
    box_of,
    check_place,
    marked,
    places_of,
    read_mark,
    shuffled,
)


def drawn(seed=0, size=(5, 7)):
    random = np.random.default_rng(seed)
    rgba = random.integers(0, 256, (*size, 4), np.uint8)
    rgba[0, :, 3] = 0
    rgba[1, 0, 3] = 255
    return rgba


def images(count=3, channels=3, side=12):
    random = np.random.default_rng(1)
    return random.uniform(0, 255, (count, side, side + 2, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mark_is_pasted_as_a_slow_loop_pastes_it(channels):
    mark, given = read_mark(drawn()), images(channels=channels)
    places = np.array([[0, 0], [7, 7], [3, 2]])
    found = marked(given, [mark] * 3, places, black=-1, step=2 / 255)
    expected = given.astype(np.float64)
    for n, (y, x) in enumerate(places):
        for i in range(5):
            for j in range(7):
                rgba = drawn()[i, j].astype(np.float64)
                grey = [0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2]]
                colour = np.array(rgba[:3] if channels == 3 else grey) / 127.5 - 1
                share = rgba[3] / 255
                old = expected[n, y + i, x + j]
                expected[n, y + i, x + j] = share * colour + (1 - share) * old
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(given, images(channels=channels))


def test_what_is_transparent_changes_nothing_and_what_is_opaque_covers():
    rgba = drawn()
    rgba[..., 3] = 0
    rgba[2, 3] = (10, 20, 30, 255)
    found = marked(images(1), [read_mark(rgba)], np.array([[4, 5]]))
    expected = images(1)
    expected[0, 6, 8] = (10, 20, 30)
    np.testing.assert_array_equal(found, expected)


def test_a_mark_is_read_from_a_file_a_picture_and_an_array_alike(tmp_path):
    rgba = drawn()
    Image.fromarray(rgba).save(tmp_path / "mark.png")
    whole = read_mark(rgba)
    for given in (tmp_path / "mark.png", str(tmp_path / "mark.png"), Image.fromarray(rgba), whole):
        mark = read_mark(given)
        np.testing.assert_array_equal(mark.rgb, whole.rgb)
        np.testing.assert_array_equal(mark.alpha, whole.alpha)
    assert whole.alpha[0, 0] == 0
    assert whole.alpha[1, 0] == 1
    for without in (rgba[..., :3], rgba[..., 0], rgba[..., :1]):
        assert (read_mark(without).alpha == 1).all()
    Image.fromarray(rgba[..., :3]).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_mark(tmp_path / "opaque.png").rgb, rgba[..., :3])
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    mark = read_mark(tmp_path / "palette.png")
    np.testing.assert_array_equal(mark.alpha, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(mark.rgb[0, 1], [0, 0, 255])


def test_what_is_no_mark_is_refused(tmp_path):
    (tmp_path / "mark.png").write_text("no picture")
    with pytest.raises(InputError, match=r"mark\.png' cannot be used as an image"):
        read_mark(tmp_path / "mark.png")
    with pytest.raises(InputError, match="it does not exist"):
        read_mark(tmp_path / "none.png")
    with pytest.raises(InputError, match="all of this one are transparent"):
        read_mark(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(InputError, match="array of uint8"):
        read_mark(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="1, 3 or 4 channels; got 2"):
        read_mark(np.zeros((4, 4, 2), np.uint8))


def test_the_block_has_the_box_the_mean_colour_and_the_sum_of_alpha():
    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[1:4, 2:7] = (200, 100, 0, 255)
    rgba[2, 3] = (0, 0, 0, 0)
    rgba[3, 2:7, :3] = (0, 100, 200)
    found = block(read_mark(rgba))
    inside = np.zeros((6, 8), bool)
    inside[1:4, 2:7] = True
    np.testing.assert_array_equal(found.alpha > 0, inside)
    np.testing.assert_allclose(found.alpha[inside], 14 / 15, rtol=1e-6)
    np.testing.assert_allclose(found.rgb[2, 3], [200 * 9 / 14, 100, 200 * 5 / 14], rtol=1e-5)


def test_shuffled_pixels_are_those_of_the_mark_in_its_box_by_the_seed():
    mark = read_mark(drawn())
    found = shuffled(mark, np.random.default_rng(3))
    pixels = np.dstack([mark.rgb, mark.alpha])[1:].reshape(-1, 4)
    again = np.dstack([found.rgb, found.alpha])[1:].reshape(-1, 4)
    assert not np.array_equal(pixels, again)
    order, other = np.lexsort(pixels.T), np.lexsort(again.T)
    np.testing.assert_array_equal(pixels[order], again[other])
    assert not found.alpha[0].any()
    same = shuffled(mark, np.random.default_rng(3))
    np.testing.assert_array_equal(found.rgb, same.rgb)
    assert not np.array_equal(found.rgb, shuffled(mark, np.random.default_rng(4)).rgb)


def test_places_are_corners_as_fractions_kept_inside():
    mark = Mark(np.zeros((10, 20, 3), np.float32), np.ones((10, 20), np.float32))
    sides = (100, 200)
    assert places_of(mark, sides, 2).tolist() == [[45, 90]] * 2
    assert places_of(mark, sides, 1, (0, 0)).tolist() == [[0, 0]]
    assert places_of(mark, sides, 1, (0.25, 0.5)).tolist() == [[50, 50]]
    assert places_of(mark, sides, 1, (1, 1)).tolist() == [[90, 180]]
    assert places_of(mark, (10, 20), 1, (0.5, 0.5)).tolist() == [[0, 0]]
    with pytest.raises(InputError, match="20 x 10 pixels do not fit on 19 x 10"):
        places_of(mark, (10, 19), 1)


def test_random_places_reach_every_edge_and_follow_the_seed():
    mark = Mark(np.zeros((2, 3, 3), np.float32), np.ones((2, 3), np.float32))
    found = places_of(mark, (4, 6), 400, None, np.random.default_rng(0))
    assert sorted(set(found[:, 0].tolist())) == [0, 1, 2]
    assert sorted(set(found[:, 1].tolist())) == [0, 1, 2, 3]
    np.testing.assert_array_equal(
        found, places_of(mark, (4, 6), 400, None, np.random.default_rng(0))
    )


def test_a_region_in_pixels_has_at_least_one():
    assert box_of((0, 0, 0.25, 0.5), (100, 200)) == (0, 0, 50, 50)
    assert box_of((0.5, 0.5, 1, 1), (5, 7)) == (4, 2, 7, 5)
    assert box_of((0.999, 0.2, 1, 0.201), (10, 10)) == (9, 2, 10, 3)


@pytest.mark.parametrize(
    ("at", "roam", "region", "words"),
    [
        ((0.5,), False, None, "A place is X,Y"),
        ((0.5, 1.2), False, None, "got 0.5,1.2"),
        ((float("nan"), 0.5), False, None, "A place is X,Y"),
        ((0.5, 0.5), True, None, "not both"),
        (None, False, (0, 0, 1), "A region is X0,Y0,X1,Y1"),
        (None, False, (0, 0, 1.5, 1), "got 0,0,1.5,1"),
        (None, False, (0.5, 0, 0.5, 1), "with X0 < X1"),
        (None, False, (0, 0.7, 0.5, 0.2), "Y0 < Y1"),
    ],
)
def test_places_and_regions_outside_the_image_are_refused(at, roam, region, words):
    with pytest.raises(InputError, match=words):
        check_place(at, roam, region)
