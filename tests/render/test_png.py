import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from golden_cases import layer, parts, photo, waves
from PIL import Image

from layerscope.document.colour import FLAT_RGB, NON_FINITE_RGB, colourise
from layerscope.document.compose import grid, overview
from layerscope.errors import EnvironmentFailure
from layerscope.render.labels import plain, shorten
from layerscope.render.png import draw, encode, png, write_png
from layerscope.render.sheet import (
    Sheet,
    breadth,
    enlargement,
    fitted,
    printable,
    size_of,
    sized,
    tile,
    wrap,
)
from layerscope.selection import select


def small_grid(side=8, channels=5, **options):
    maps = np.maximum(waves(side, channels), 0)
    return grid(
        [photo(0)], ["cat.png"], layer("conv", side, channels), maps, select(maps, None, None)
    )


def shows(picture, pattern):
    """Whether a pattern of pixels occurs in a picture."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, pattern.shape)
    rows = np.all(windows[:, :, 0, 0, 0] == pattern[0, 0], axis=-1)
    return any(np.array_equal(windows[y, x, 0], pattern) for y, x in np.argwhere(rows))


def test_each_map_stands_in_the_picture_cell_by_cell_and_enlarged_without_smoothing():
    part = small_grid()
    picture = draw(part)
    for place in range(5):
        cells = colourise(part.maps[0, :, :, place], part.scales[place])
        assert shows(picture, cells.repeat(14, 0).repeat(14, 1))


def test_native_size_has_one_pixel_per_cell():
    part = small_grid()
    picture = draw(part, native=True)
    for place in range(5):
        assert shows(picture, colourise(part.maps[0, :, :, place], part.scales[place]))


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (7, (16, 1)),
        (14, (8, 1)),
        (28, (4, 1)),
        (56, (2, 1)),
        (75, (2, 1)),
        (112, (1, 1)),
        (149, (1, 1)),
        (224, (1, 2)),
        (1000, (1, 9)),
        (1, (112, 1)),
    ],
)
def test_maps_of_all_sizes_are_drawn_about_equally_large(side, expected):
    assert enlargement((side, side), 112) == expected
    height, width = size_of((side, side), 112)
    assert 80 <= height - 2 == width - 2 <= 158


def test_tiles_have_the_size_they_announce():
    scale = small_grid().scales[0]
    for shape in [(5, 9), (300, 120), (113, 2), (1, 400)]:
        for values in (np.resize(np.float32([0, 1]), shape), np.zeros(shape, np.float32)):
            assert tile(values, scale, 112).shape[:2] == size_of(shape, 112)


def test_one_cell_that_is_not_finite_stays_seen_when_a_map_is_shrunk():
    values = np.zeros((500, 500), np.float32)
    values[0, 0] = 1
    values[333, 77] = np.nan
    part = small_grid()
    shrunk = tile(values, replace(part.scales[0], low=0, high=1), 112)
    assert np.count_nonzero((shrunk == NON_FINITE_RGB).all(-1)) == 1


@pytest.mark.parametrize(("low", "colour"), [(0, FLAT_RGB), (-1, (0x44, 0x01, 0x54))])
def test_a_map_with_one_value_is_crossed_out_in_the_colour_of_the_value(low, colour):
    values = np.full((9, 9), low, np.float32)
    scale = replace(small_grid().scales[0], low=low, high=0)
    picture = tile(values, scale, 112)
    colours, counts = np.unique(picture[1:-1, 1:-1].reshape(-1, 3), axis=0, return_counts=True)
    assert len(colours) == 2
    assert tuple(colours[counts.argmax()].tolist()) == colour
    assert np.abs(colours[0].astype(int) - colours[1]).max() > 80


def test_pictures_of_whole_layers_keep_every_pixel_when_enlarged():
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert np.array_equal(sized(rgb, 112)[1:-1, 1:-1][::12, ::12], rgb)


def test_photos_keep_their_shape_and_fit():
    assert fitted(np.zeros((100, 300, 3), np.uint8), 60, 60).shape == (20, 60, 3)
    assert fitted(np.zeros((8, 8, 3), np.uint8), 60, 60).shape == (56, 56, 3)
    assert fitted(np.zeros((1, 900, 3), np.uint8), 60, 60).shape == (1, 60, 3)


def test_many_maps_use_small_tiles_in_more_columns():
    assert draw(small_grid(7, 200)).shape[1] < 1200
    assert draw(small_grid(7, 200)).shape[0] < 1500


def test_the_overview_of_fifty_eight_layers_fits_on_a_screen():
    rows = [small_grid(side, 16) for side in (112, 56, 28, 14, 7) for _ in range(12)][:58]
    picture = draw(overview(photo(0), "cat.png", rows, [("cat", 0.9)]))
    assert picture.shape[1] == 1920
    assert picture.shape[0] <= 1200
    assert len(encode(picture)) < 4_000_000


def placed(part, **options):
    """All words of a picture with their places."""
    sheets = []

    class Spy(Sheet):
        def draw(self, height):
            sheets.append(self)
            return super().draw(height)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layerscope.render.png.Sheet", Spy)
        picture = draw(part, **options)
    return sheets[0], picture


@pytest.mark.parametrize("count", [1, 2, 10, 11, 26, 27, 50, 120])
def test_every_layer_stands_in_the_overview_once_and_no_two_rows_meet(count):
    rows = [
        replace(it, layer=replace(it.layer, path=f"layer_{number}"))
        for number in range(count)
        for it in [small_grid((7, 14, 56)[number % 3], 16)]
    ]
    sheet, picture = placed(overview(photo(0), "cat", rows))
    names = [(left, top) for left, top, text, *_ in sheet.words if text.startswith("layer_")]
    assert len(set(names)) == len(names) == count
    for left in {left for left, _ in names}:
        tops = sorted(top for at, top in names if at == left)
        assert all(after - before >= 50 for before, after in pairwise(tops))
        assert tops[-1] + 45 < picture.shape[0]


def test_an_overview_says_how_many_maps_it_draws_and_what_these_carry():
    part = grid([photo(0)], ["cat"], layer("conv", 28, 40), np.maximum(waves(28, 40), 0))
    sheet, _ = placed(overview(photo(0), "cat", [part] * 30))
    said = {text for _, _, text, *_ in sheet.words if " of 40 maps" in text}
    assert len(said) == 1
    drawn = int(said.pop().split()[0])
    numbers = [text for _, _, text, *_ in sheet.words if text.isdigit()]
    assert len(numbers) == 30 * drawn


def test_several_images_show_their_layer_as_a_whole():
    maps = np.maximum(waves(14, 24, images=2), 0)
    part = grid([photo(0)] * 2, ["a", "b"], layer("conv", 14, 24), maps)
    sheet, picture = placed(part)
    captions = [text for _, _, text, *_ in sheet.words if text.startswith(("PCA", "NMF"))]
    assert len(captions) == 2 * len(part.whole[0]) > 2
    for row in part.whole:
        assert shows(picture, row[0].rgb.repeat(7, 0).repeat(7, 1))


def test_a_map_that_is_still_on_one_image_says_so():
    maps = np.maximum(waves(14, 3, images=2), 0)
    maps[1, :, :, 0] = 0
    part = grid([photo(0)] * 2, ["a", "b"], layer("conv", 14, 3), maps, select(maps, None, None))
    words = [text for _, _, text, *_ in placed(part)[0].words]
    assert words.count("all 0 here") == 1


@pytest.mark.parametrize(
    "name",
    ["", " ", "\x1b[31mred\x07", "a\nb", "\u202egnp.exe", "x" * 5000, "漢字", "\udcff", "<b>%s{}"],
)
def test_hostile_names_are_drawn_and_stay_inside_the_picture(name):
    part = small_grid()
    named = replace(part, names=(name,), layer=replace(part.layer, path=name), legend=name)
    assert draw(named).shape[1] == draw(part).shape[1]
    assert draw(overview(photo(0), name, [named], [(name, 0.5)])).shape[1] == 1440


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (3, 40), (250, 37)])
def test_maps_that_are_not_square_are_drawn(shape):
    maps = np.resize(np.arange(997, dtype=np.float32), (1, *shape, 4))
    part = grid([photo(0)], ["a"], layer("conv", 1, 4), maps)
    assert draw(part).shape[0] > 200


def test_text_on_a_sheet_leaves_ink_and_no_text_leaves_none():
    for text, ink in (("layer", True), ("", False)):
        sheet = Sheet(100)
        sheet.say(5, 5, text, 90)
        assert (sheet.draw(30) < 200).any() == ink


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Übung größer é", "Übung größer é"),
        ("U\u0308bung", "Übung"),
        ("Ελλάδα Москва", "Ελλάδα Москва"),
        ("112 × 112 – 3\u00a0px …", "112 × 112 – 3 px …"),
        ("猫😺", "??"),
        ("①ｘ", "1x"),
        ("a\x07\udcff", "a??"),
    ],
)
def test_letters_of_european_scripts_are_drawn_and_others_are_no_boxes(text, seen):
    assert printable(text) == seen


def test_every_character_that_is_said_to_be_printable_has_its_own_shape():
    drawn = {}
    for character in "äöüßéèçñøåłőşžАБЖαβγ×…?":
        sheet = Sheet(40)
        sheet.say(5, 5, character, 30)
        drawn[sheet.draw(30).tobytes()] = character
    assert "".join(drawn.values()) == "äöüßéèçñøåłőşžАБЖαβγ×…?"


def test_plain_text_cannot_steer_a_terminal_or_turn_the_writing():
    assert plain("a\x1b[2J\u202eb\nc\u00a0d") == "a?[2J?b c\u00a0d"
    assert plain("漢字 ä…") == "漢字 ä…"


def test_long_names_lose_their_middle():
    assert shorten("abcdefghij", lambda text: len(text) <= 5) == "ab…ij"
    assert shorten("abcde", lambda text: len(text) <= 5) == "abcde"
    assert shorten("abcdefghij", lambda text: False) == "…"


def test_wrapped_lines_fit_and_lose_nothing():
    text = "one two three four five six seven eight nine ten"
    lines = wrap(text, 90, "small")
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert all(breadth(line, "small") <= 90 for line in lines)


def test_encoded_pixels_come_back_unchanged():
    rgb = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode(rgb))) as image:
        assert np.array_equal(np.asarray(image), rgb)


def test_encoded_positions_come_back_as_the_colours_of_the_palette():
    positions = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode(positions, palette))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), palette[positions])


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path):
    write_png(small_grid(), tmp_path / "new" / "grid.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]
    with Image.open(tmp_path / "new" / "grid.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(png(small_grid())))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "grid.png"
    target.write_bytes(b"old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(EnvironmentFailure, match=r"could not be written to .*grid\.png: full"):
            write_png(small_grid(), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_an_unwritable_place_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="could not be written to"):
        write_png(small_grid(), tmp_path / "file" / "grid.png")


def test_every_golden_part_can_be_drawn_at_native_size():
    for part in parts().values():
        assert draw(part, native=True).dtype == np.uint8
