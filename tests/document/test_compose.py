from dataclasses import replace

import numpy as np
import pytest

from layerscope.audit.figures import listed
from layerscope.document.compose import (
    WHOLE_LAYER,
    beside,
    document,
    facts,
    grid,
    heading,
    legend,
    number,
    overlay,
    overview,
    percent,
    range_of,
    short_facts,
    short_legend,
    whole_layer,
)
from layerscope.document.expectations import EXPECTED, NOT_AS_EXPECTED
from layerscope.document.parts import layer_anchor, map_anchor
from layerscope.errors import InputError
from layerscope.selection import select
from layerscope.vocabulary import Layer

LAYER = Layer("block/conv", "conv", (16, 16, 24), 4, 27, 0.5, False, "block/relu")
PHOTO = np.full((20, 30, 3), 90, np.uint8)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def relu_maps(seed=0, images=1, channels=24):
    return np.maximum(noise(seed, images, 16, 16, channels), 0)


def test_a_grid_says_what_it_shows():
    maps = relu_maps()
    chosen = select(maps)
    part = grid([PHOTO], ["cat.png"], LAYER, maps, chosen)
    assert part.channels == chosen.channels
    assert np.array_equal(part.maps, maps[..., list(chosen.channels)])
    share, bound = round(100 * chosen.coverage), round(100 * chosen.pca_bound)
    assert part.legend == f"16 of 24 maps, carrying {share} % (PCA bound {bound} %)"
    assert part.facts.replace("\u00a0", " ") == (
        "conv · 16 × 16 × 24 · receptive field 27 px · stride 4"
    )
    assert part.alt == "16 of 24 feature maps of layer block/conv for cat.png"
    assert [picture.caption.split(" (")[0] for picture in part.whole[0]] == [
        "PCA to RGB",
        *(f"NMF factor {number}" for number in range(1, 5)),
    ]
    assert all(picture.alt for picture in part.whole[0])


def test_no_percentage_is_printed_with_too_few_pixels():
    part = grid([PHOTO], ["cat.png"], LAYER, relu_maps(channels=200)[:, :7, :7])
    assert part.legend == "16 of 200 maps (too few pixels to say how much they carry)"
    assert not any("%" in remark for remark in part.remarks)


def test_maps_that_are_out_of_order_are_named_badged_and_not_stretched():
    maps = relu_maps(images=2, channels=8)
    maps[..., 1] = 0
    maps[..., 2] = 0.5
    maps[1, 3, 3, 4] = np.nan
    part = grid([PHOTO] * 2, ["a", "b"], LAYER, maps, select(maps, None, None))
    assert part.badges == ("", "dead", "constant", "", "non-finite", "", "", "")
    assert part.remarks[:3] == (
        "1 map with NaN or infinity: 4.",
        "1 map dead on these 2 images (0 everywhere): 1.",
        "1 map constant on these 2 images: 2.",
    )
    assert all(part.scales[place].low == part.scales[place].high for place in (1, 2))
    assert part.scales[4].non_finite == 1


@pytest.mark.parametrize(
    ("fill", "badge", "words"),
    [
        (0, "dead", "all 40 maps are dead (16 are drawn)"),
        (0.5, "constant", "all 40 maps are constant (16 are drawn)"),
        (np.nan, "non-finite", "all 40 maps hold NaN or infinity (16 are drawn)"),
    ],
)
def test_a_layer_without_an_ordinary_map_still_shows_that(fill, badge, words):
    maps = np.full((1, 8, 8, 40), fill, np.float32)
    part = grid([PHOTO], ["cat.png"], LAYER, maps)
    assert part.legend == words
    assert part.badges == (badge,) * 16
    assert part.whole == ()
    assert "own scale" not in part.scale_note
    assert ("Crossed out" in part.scale_note) == (badge != "non-finite")


def test_maps_with_nan_among_cells_that_vary_are_not_said_to_be_flat():
    maps = relu_maps(channels=6)
    maps[0, 3, 3] = np.nan
    part = grid([PHOTO], ["cat.png"], LAYER, maps)
    assert part.legend == "all 6 maps hold NaN or infinity"
    wordings, important = beside(part, 0, 2)
    assert important
    assert wordings == (f"non-finite, {range_of(part.scales[2])}", "non-finite", "NaN")


def test_a_layer_without_an_ordinary_map_counts_each_kind():
    maps = np.zeros((1, 8, 8, 3), np.float32)
    maps[..., 1] = 2
    maps[..., 2] = np.inf
    part = grid([PHOTO], ["cat.png"], replace(LAYER, shape=(8, 8, 3)), maps)
    assert part.legend == ("no ordinary map among 3: 1 with NaN or infinity, 1 dead, 1 constant")
    assert beside(part, 0, 0)[0][0] == "non-finite"
    assert beside(part, 0, 1)[0][0] == "constant 2"
    assert beside(part, 0, 2) == (("dead",), True)


def test_a_map_that_is_still_on_one_image_is_told_from_one_that_is_dark():
    maps = relu_maps(images=2, channels=3)
    maps[1, :, :, 0] = 0
    part = grid([PHOTO] * 2, ["a", "b"], LAYER, maps, select(maps, None, None))
    assert part.badges == ("", "", "")
    assert beside(part, 0, 0) == ((range_of(part.scales[0]),), False)
    assert beside(part, 1, 0) == (("all 0 here", "all 0"), True)
    assert "Crossed out: one value everywhere on the image." in part.scale_note


def test_several_images_each_have_their_pictures_of_the_whole_layer_in_the_same_colours():
    maps = relu_maps(images=2)
    maps[1] = maps[0]
    part = grid([PHOTO] * 2, ["a", "b"], LAYER, maps)
    first, second = part.whole
    assert [it.caption for it in first] == [it.caption for it in second]
    assert len(first) == 5
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, second, strict=True))
    assert {it.scale for it in first} == {it.scale for it in second}


def test_a_single_map_is_itself_the_whole_layer():
    assert grid([PHOTO], ["a"], LAYER, relu_maps(channels=1)).whole == ()


def test_a_layer_of_few_directions_gets_no_empty_pictures():
    maps = noise(0, 1, 16, 16, 2) @ noise(1, 2, 12)
    part = grid([PHOTO], ["a"], replace(LAYER, pre_activation=True), maps)
    assert len(part.whole[0]) == 3
    assert all(it.scale.low < it.scale.high for it in part.whole[0][1:])


def test_a_number_beyond_the_rank_says_why_fewer_maps_are_shown():
    maps = noise(0, 1, 16, 16, 3) @ noise(1, 3, 24)
    part = grid([PHOTO], ["a"], LAYER, maps, select(maps, 10, None))
    assert part.legend == "3 of 24 maps, and no other adds anything"


def test_a_scale_per_map_fits_each_map_and_a_scale_per_layer_fits_all():
    maps = relu_maps(images=2)
    each = grid([PHOTO] * 2, ["a", "b"], LAYER, maps)
    for place, scale in enumerate(each.scales):
        assert scale.kind == "map"
        assert scale.high == pytest.approx(each.maps[..., place].max())
    one = grid([PHOTO] * 2, ["a", "b"], LAYER, maps, scale="layer")
    assert {(scale.kind, scale.high) for scale in one.scales} == {("layer", one.maps.max())}
    assert one.scale_note == f"One scale for all maps: 0 to {number(one.maps.max())}."


def test_only_signed_layers_diverge():
    maps = noise(0, 1, 16, 16, 24)
    signed = replace(LAYER, pre_activation=True)
    assert all(scale.diverging for scale in grid([PHOTO], ["a"], signed, maps).scales)
    assert not any(scale.diverging for scale in grid([PHOTO], ["a"], LAYER, maps).scales)
    assert "blue below 0" in grid([PHOTO], ["a"], signed, maps).scale_note


def test_clipped_cells_are_counted_in_the_note():
    maps = relu_maps()
    maps[0, 0, 0] = 100
    assert "are white" in grid([PHOTO], ["a"], LAYER, maps, robust=1).scale_note
    assert "outside" not in grid([PHOTO], ["a"], LAYER, maps).scale_note


def test_every_hidden_map_stands_behind_one_shown_map():
    maps = relu_maps()
    part = grid([PHOTO], ["a"], LAYER, maps)
    behind = [channel for members in part.stands_for for channel in members]
    assert sorted([*behind, *part.channels]) == list(range(24))


def test_photos_names_and_maps_must_match_in_number():
    with pytest.raises(InputError, match="one photo and one name per image"):
        grid([PHOTO], ["a", "b"], LAYER, relu_maps(images=2))


def test_factors_of_large_maps_are_averaged_as_numbers_not_as_colours():
    maps = np.zeros((1, 448, 448, 2), np.float32)
    maps[0, ::2, :, 0] = 1
    maps[0, :224, :, 1] = 0.5
    (pictures,) = whole_layer(maps, LAYER)
    assert all(max(picture.rgb.shape) <= 224 for picture in pictures[1:])
    stripes = [len(np.unique(picture.rgb.reshape(-1, 3), axis=0)) for picture in pictures[1:]]
    assert max(stripes) <= 3


def test_a_map_over_a_photo_colours_the_cells_it_covers():
    photo = np.full((10, 20, 3), 200, np.uint8)
    values = np.array([[0, 1]], np.float32)
    rgb = overlay(photo, values, alpha=1).rgb
    assert rgb.shape == photo.shape
    assert rgb[0, 0].tolist() == [0x44, 0x01, 0x54]
    assert rgb[9, 19].tolist() == [0xFD, 0xE7, 0x25]
    assert len(np.unique(rgb.reshape(-1, 3), axis=0)) == 2
    assert np.array_equal(overlay(photo, values, alpha=0).rgb, photo)


def test_cells_that_are_not_finite_stay_loud_over_a_photo():
    values = np.array([[0, np.nan], [1, 2]], np.float32)
    assert overlay(PHOTO, values, alpha=0).rgb[0, -1].tolist() == [255, 0, 255]


def test_alpha_outside_its_range_is_refused():
    with pytest.raises(InputError, match="alpha must lie between 0"):
        overlay(PHOTO, np.zeros((2, 2), np.float32), alpha=1.5)


def test_a_document_has_an_overview_and_a_section_per_layer_with_its_anchor():
    part = grid([PHOTO], ["a"], LAYER, relu_maps())
    made = document("Title", [overview(PHOTO, "a", [part])], [part])
    assert [section.anchor for section in made.sections] == [
        "overview",
        "layers",
        "layer/block/conv",
    ]
    assert [section.level for section in made.sections] == [2, 2, 3]


def texts(made, layer_path="block/conv"):
    section = next(it for it in made.sections if it.title == layer_path)
    return [part.text for part in section.parts if hasattr(part, "text")]


@pytest.mark.parametrize("fill", [0, 3, np.nan])
def test_what_is_expected_at_a_depth_is_not_said_of_maps_that_show_nothing(fill):
    maps = relu_maps()
    part = grid([PHOTO], ["a"], LAYER, maps)
    assert texts(document("t", [], [part])) == [EXPECTED["middle"]]
    maps[..., :13] = fill
    part = grid([PHOTO], ["a"], LAYER, maps)
    assert texts(document("t", [], [part])) == [NOT_AS_EXPECTED]


def test_how_to_read_overviews_is_said_once():
    part = grid([PHOTO], ["a"], LAYER, relu_maps())
    made = document("t", [overview(PHOTO, "a", [part]), overview(PHOTO, "b", [part])], [part])
    notes = [sheet.note for sheet in made.sections[0].parts]
    assert notes[0].startswith("Left: the whole layer")
    assert notes[1] == ""


def test_a_page_without_pictures_of_whole_layers_does_not_explain_them():
    part = grid([PHOTO], ["a"], LAYER, relu_maps(channels=1))
    made = document("t", [overview(PHOTO, "a", [part])], [part])
    assert WHOLE_LAYER not in [
        part.text for it in made.sections for part in it.parts if hasattr(part, "text")
    ]
    assert "whole layer" not in made.sections[0].parts[0].note


def test_a_title_names_few_images_and_counts_many():
    assert heading("net", ["a.png"]) == "net: a.png"
    assert heading("net", ["a.png", "b.png"]) == "net: a.png, b.png"
    assert heading("net", [f"{i}.png" for i in range(23)]) == "net: 23 images"
    assert heading("net", ["x" * 40, "y" * 40]) == "net: 2 images"


def test_an_overview_says_what_the_maps_it_draws_carry():
    maps = relu_maps()
    part = grid([PHOTO], ["a"], LAYER, maps)
    carried = percent(part.selection.curve[4])
    assert short_legend(part, 5) == f"5 of 24 maps, carrying {carried}"
    assert short_legend(part, 16) == f"16 of 24 maps, carrying {percent(part.selection.coverage)}"
    every = grid([PHOTO], ["a"], LAYER, maps, select(maps, None, None))
    assert short_legend(every, 5) == "5 of 24 maps"
    assert short_legend(every, 24) == "all 24 maps"


def test_an_overview_says_in_few_words_what_a_layer_is():
    assert short_facts(LAYER) == "conv 16×16×24 · field 27 px"
    unknown = replace(LAYER, shape=(None, None, 24), receptive_field=None)
    assert short_facts(unknown) == "conv ?×?×24 · field unknown"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.001, "< 1 %"), (0.834, "83 %"), (0.998, "> 99 %"), (1, "100 %")],
)
def test_shares_are_never_rounded_to_none_or_all(share, words):
    assert percent(share) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0123, "0.012"), (3.14159, "3.1"), (128.4, "128"), (1e6, "1e+06"), (-20, "-20")],
)
def test_numbers_are_short(value, words):
    assert number(value) == words


def test_long_lists_say_how_much_is_cut():
    assert listed(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert listed(range(20)).endswith("7 and 12 more")


def test_unknown_facts_are_said_to_be_unknown():
    unknown = replace(LAYER, shape=(None, None, 8), receptive_field=None, stride=None)
    words = facts(unknown).replace("\u00a0", " ")
    assert words == "conv · ? × ? × 8 · receptive field unknown or whole image"


def test_a_grid_knows_the_size_that_a_layer_leaves_open():
    part = grid([PHOTO], ["a"], replace(LAYER, shape=(None, None, 24)), relu_maps())
    assert "16\u00a0×\u00a016\u00a0×\u00a024" in part.facts


def test_legend_of_all_maps_and_of_a_single_one():
    assert legend(select(relu_maps(), None, None)) == "all 24 maps"
    assert legend(select(relu_maps(channels=1), None, None)) == "the only map"


def test_anchors_are_permanent_distinct_and_fit_for_a_link():
    assert layer_anchor("backbone/block1_conv@2") == "layer/backbone/block1_conv@2"
    assert map_anchor("a", 3) == "map/a/3"
    hostile = ['a"b', "a b", "a%20b", "<x>", "a\nb", "\udcff", "漢"]
    anchors = {layer_anchor(path) for path in hostile}
    assert len(anchors) == len(hostile)
    assert all(anchor.isascii() and anchor.isprintable() for anchor in anchors)
    assert not any(set(anchor) & set(" \"'<>") for anchor in anchors)
