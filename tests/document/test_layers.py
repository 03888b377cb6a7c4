"""The layer by layer part of a report, from planted maps."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from layerscope.audit.clarity import CHANNEL_VERDICTS, counts
from layerscope.audit.result import LayerResult
from layerscope.document.colour import STEPS, codes, colourise
from layerscope.document.expectations import EXPECTED, NOT_AS_EXPECTED
from layerscope.document.layers import FRAME, MOST_OPEN, WORDS, reading, sections
from layerscope.document.parts import (
    ChannelSheet,
    Document,
    Strips,
    Table,
    Text,
    layer_anchor,
    map_anchor,
)
from layerscope.render.html import COARSER, html
from layerscope.render.terminal import show
from layerscope.run.crops import WHOLE, Exemplar
from layerscope.run.evidence import Chosen, Evidence, Gallery, Sight
from layerscope.vocabulary import Layer

HOSTILE = '"><script>alert(1)</script>\u202e'
LIMIT = 10_000_000


def picture(seed=0, side=32):
    """As rich in detail as a photo of that size."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1)
    return (coarse * 0.8 + random.integers(0, 50, coarse.shape)).astype(np.uint8)


def evidence(chosen, side=14, noisy=True):
    """Maps of the chosen channels; dead ones are 0 but in the twin."""
    random = np.random.default_rng(0)
    alive = np.array([one.verdict != "dead" for one in chosen])

    def maps(low, high):
        return (random.uniform(low, high, (side, side, len(chosen))) * alive).astype(np.float32)

    twin = random.uniform(0, 9, (side, side, len(chosen))).astype(np.float32)
    return Evidence(tuple(chosen), maps(0, 1), maps(0, 3), twin, (maps(0, 5), maps(0, 2)))


def gallery(layers, kind="cat", name="cat/1.jpg"):
    others = tuple(Sight(f"cat/{i}.jpg", picture(i)) for i in (2, 3))
    return Gallery(Sight(name, picture()), Sight("noise", picture(9)), others, kind, layers)


def result(path="conv", verdicts=("clear",) * 9, side=14, signed=False, **more):
    row = Layer(path, "conv", (side, side, len(verdicts)), 4, 11, 0.2, signed, path)
    return LayerResult(row, counts(verdicts), **{"regime": "early", **more})


def parts_of(found, chosen, kind):
    shown = gallery({found.layer.path: evidence(chosen, found.layer.shape[0])})
    (section,) = sections([found], shown)
    return [part for part in section.parts if isinstance(part, kind)]


def sheet_of(found, chosen):
    (sheet,) = parts_of(found, chosen, ChannelSheet)
    return sheet


def rows_of(sheet):
    return [row for _, rows in sheet.rows for row in rows]


MIXED = ("clear",) * 5 + ("noisy",) * 3 + ("dead",) * 2 + ("unsure",) * 4
SHOWN = (
    Chosen(0, "clear", "order 0.60 above noise input, noise 0.05"),
    Chosen(1, "clear"),
    Chosen(8, "dead"),
    Chosen(5, "noisy", "noise 0.71 (0.66 to 0.75)"),
    Chosen(10, "unsure"),
)


def test_the_shown_and_the_hidden_channels_add_up_to_all():
    said = [part.text for part in parts_of(result(verdicts=MIXED), SHOWN, Text)]
    (counted,) = (text for text in said if "shown" in text)
    assert counted.startswith("5 of 14 channels shown: 2 clear, 1 unsure, 1 noisy, 1 dead.")
    assert "Not shown: 3 clear, 3 unsure, 2 noisy, 1 dead;" in counted
    everything = parts_of(result(verdicts=("clear", "clear")), SHOWN[:2], Text)
    assert everything[-1].text == "2 of 2 channels shown: 2 clear."


def test_rows_stand_in_groups_with_their_verdict_and_the_number_that_decided():
    sheet = sheet_of(result(verdicts=MIXED), SHOWN)
    assert [heading.split()[0] for heading, _ in sheet.rows] == ["Clear:", "Flagged"]
    assert [[row.channel for row in rows] for _, rows in sheet.rows] == [[0, 1], [8, 5, 10]]
    said = [(row.verdict, row.tone, row.reason) for row in rows_of(sheet)]
    assert said[1:4] == [
        ("clear", "good", ""),
        ("dead", "bad", ""),
        ("noisy", "bad", "noise 0.71 (0.66 to 0.75)"),
    ]
    assert said[4][1] == "open"


def test_channels_that_were_not_judged_are_not_called_clear():
    ((heading, _),) = sheet_of(result(verdicts=("not_judged",) * 3), [Chosen(2, "not_judged")]).rows
    assert heading.startswith("Not judged")


def test_the_photos_share_a_scale_and_noise_and_twin_have_their_own():
    sheet = sheet_of(result(verdicts=MIXED), SHOWN[:1])
    (row,) = rows_of(sheet)
    photo, one, other, noise, twin = (tile.scale for tile in row.tiles)
    assert photo == one == other
    assert photo.high == pytest.approx(5, abs=0.2)
    assert noise.high == pytest.approx(3, abs=0.1)
    assert twin.high == pytest.approx(9, abs=0.2)
    assert [column.title for column in sheet.columns] == [
        *("This photo", "2.jpg", "3.jpg", "Noise input", "Untrained twin")
    ]
    assert sheet.headings == (("This photo and 2 more of class cat", 3), ("For comparison", 2))
    assert [tile.words.split()[-1] for tile in row.tiles] == ["1", "5", "2", "3", "9"]


def test_signed_layers_diverge_around_0_and_say_so():
    sheet = sheet_of(result(signed=True), [Chosen(0, "clear")])
    assert all(tile.scale.diverging for tile in rows_of(sheet)[0].tiles)
    assert "Blue is below 0" in sheet.note
    assert "Blue" not in sheet_of(result(), [Chosen(0, "clear")]).note


def test_dead_channels_are_crossed_out_and_not_stretched():
    sheet = sheet_of(result(verdicts=MIXED), [Chosen(8, "dead")])
    *seen, twin = rows_of(sheet)[0].tiles
    assert [tile.words for tile in seen] == ["all 0"] * 4
    assert all(tile.odd and tile.scale.low == tile.scale.high for tile in seen)
    assert not twin.odd
    assert "Crossed out" in sheet.note


def test_values_that_are_not_finite_are_named():
    shown = evidence([Chosen(0, "non_finite")])
    shown.photo[0, 0, 0] = np.nan
    shown.noise[:] = np.inf
    (section,) = sections([result()], gallery({"conv": shown}))
    (sheet,) = (part for part in section.parts if isinstance(part, ChannelSheet))
    tiles = rows_of(sheet)[0].tiles
    assert tiles[0].words.startswith("NaN, else 0")
    assert tiles[3].words == "NaN"
    assert tiles[0].odd
    assert "NaN or infinite" in html(Document("x", (section,)))


@pytest.mark.parametrize("depth", EXPECTED)
def test_what_to_expect_is_said_for_the_depth(depth):
    said = [part.text for part in parts_of(result(regime=depth), SHOWN[:1], Text)]
    assert EXPECTED[depth] in said


def test_a_layer_that_is_mostly_dead_is_not_said_to_be_as_expected():
    said = [
        part.text for part in parts_of(result(verdicts=["dead"] * 5 + ["clear"] * 4), SHOWN, Text)
    ]
    assert NOT_AS_EXPECTED in said
    assert EXPECTED["early"] not in said


def test_whether_a_layer_was_learned_is_said_where_it_was_tested():
    for answer, words in (("no", "is like an untrained one"), ("not-tested", "")):
        said = [part.text for part in parts_of(result(learned=answer), SHOWN[:1], Text)]
        assert any("untrained" in text for text in said) is bool(words)
        assert words in " ".join(said)


def test_a_layer_without_pictures_says_why():
    found = result()
    found = replace(found, layer=replace(found.layer, not_shown="its maps have one pixel"))
    (section,) = sections([found], gallery({}))
    assert section.parts[-1] == Text("Not drawn: its maps have one pixel.")


def crop(seen, side=24):
    return Exemplar(np.full((side, side, 3), 80, np.uint8), seen, "cat/7.jpg", 3.25)


def test_a_frame_surrounds_what_a_pixel_sees_without_hiding_it():
    seen = (10 / 24, 6 / 24, 13 / 24, 9 / 24)
    one = Chosen(3, "noisy", exemplars=(crop(seen), crop(WHOLE, 40)))
    (strips,) = parts_of(result(), [one], Strips)
    ((heading, verdict, (framed, whole)),) = strips.rows
    assert (heading, verdict, framed.caption) == ("Channel 3", "noisy", "3.2")
    assert "cat/7.jpg" in framed.alt
    marked = (framed.rgb == FRAME).all(-1)
    assert not marked[18:27, 30:39].any()
    assert marked[17:28, [29, 39]].all()
    assert marked[[17, 27], 29:40].all()
    assert marked.sum() == 2 * (11 + 9)
    assert not (whole.rgb == FRAME).all(-1).any()
    assert "frame" in strips.note
    assert (
        "frame" not in parts_of(result(), [replace(one, exemplars=(crop(WHOLE),))], Strips)[0].note
    )


def page(results, shown):
    made = (
        *reading(results, shown),
        *(part for section in sections(results, shown) for part in section.parts),
    )
    assert made
    return html(Document("A page", sections(results, shown)))


def many(count, side=14, chosen=SHOWN):
    found = [result(f"block/conv{i}", MIXED, side) for i in range(count)]
    return found, gallery({one.layer.path: evidence(chosen, side) for one in found})


@pytest.mark.parametrize("count", [MOST_OPEN, MOST_OPEN + 1])
def test_many_layers_are_folded_and_keep_their_links(count):
    found, shown = many(count)
    text = page(found, shown)
    assert text.count("<details") == (count if count > MOST_OPEN else 0)
    for one in found:
        assert text.count(f'id="{layer_anchor(one.layer.path)}"') == 1
        for channel in SHOWN:
            assert text.count(f'id="{map_anchor(one.layer.path, channel.channel)}"') == 1
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    # a link opens what it leads into, but not what it is the summary of
    assert not re.search(r'<summary>(?:(?!</summary>).)*id="layer/block/conv0"', text, re.S)


def test_a_folded_layer_tells_how_many_channels_are_of_which_kind():
    found, shown = many(MOST_OPEN + 1)
    said = sections(found, shown)[0].folded
    assert said == "early · 14 channels: 5 clear, 4 unsure, 3 noisy, 2 dead"


def test_every_picture_has_words_and_nothing_runs():
    text = page(*many(2, chosen=(*SHOWN, Chosen(9, "dead", exemplars=(crop(WHOLE),)))))
    images = re.findall(r"<img [^>]*>", text)
    assert len(images) > 50
    assert all(re.search(r'alt="[^"]+"', image) for image in images)
    assert "<script" not in text
    assert " style=" not in text


def test_hostile_names_are_shown_as_text():
    found = result(HOSTILE, MIXED)
    one = replace(crop(WHOLE), image=HOSTILE)
    chosen = [Chosen(0, "clear", HOSTILE, (one,))]
    text = page([found], gallery({HOSTILE: evidence(chosen)}, HOSTILE, HOSTILE))
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


def test_verdicts_and_numbers_that_occur_are_explained():
    shown = gallery({"conv": evidence(SHOWN)})
    _, columns, verdicts, numbers = reading([result(verdicts=MIXED)], shown)
    assert [row[0] for row in verdicts.rows] == ["dead", "noisy", "unsure", "clear"]
    assert [row[0] for row in numbers.rows] == ["noise", "order"]
    assert [row[0] for row in columns.rows][-2:] == ["Noise input", "Untrained twin"]
    plain = gallery({"conv": evidence([Chosen(0, "clear")])})
    assert sum(isinstance(part, Table) for part in reading([result()], plain)) == 2


def test_every_verdict_has_words():
    assert set(WORDS) == set(CHANNEL_VERDICTS)


def test_tiles_of_the_page_have_the_colours_of_the_scale():
    found, shown = many(1)
    (sheet,) = parts_of(found[0], SHOWN, ChannelSheet)
    tile = rows_of(sheet)[0].tiles[0]
    sources = re.findall(r'base64,([^"]*)" alt="Channel 0 of', page(found, shown))
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(sources[0]))).convert("RGB"))
    assert seen.shape == (14, 14, 3)
    exact = colourise(tile.values, tile.scale).astype(int)
    assert np.abs(seen - exact).max() <= 255 * 2 * COARSER / STEPS
    assert len(np.unique(codes(tile.values, tile.scale))) > STEPS / COARSER
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) <= STEPS / COARSER


def test_fifty_layers_of_an_ordinary_network_stay_under_ten_megabytes():
    """As EfficientNet-Lite0, with twelve channels everywhere, and noise for maps: the worst."""
    exemplars = tuple(Exemplar(picture(i, 72), WHOLE, "cat/7.jpg", 1.0) for i in range(4))
    chosen = [Chosen(i, "clear", "noise 0.71 (0.66 to 0.75)") for i in range(12)]
    chosen[:4] = [replace(one, exemplars=exemplars) for one in chosen[:4]]
    third = Sight("cat/4.jpg", picture(4, 64))
    size = 0
    for side, layers in ((112, 4), (56, 7), (28, 6), (14, 18), (7, 15)):
        found, shown = many(1, side, chosen)
        layers_shown = {
            path: replace(own, similar=(*own.similar, own.similar[0][::-1]))
            for path, own in shown.layers.items()
        }
        shown = replace(shown, similar=(*shown.similar, third), layers=layers_shown)
        size += layers * len(page(found, shown))
    assert size < LIMIT


def test_a_terminal_lists_the_channels_with_their_verdicts():
    found, shown = many(1, chosen=(replace(SHOWN[3], exemplars=(crop(WHOLE),)),))
    out = io.StringIO()
    show(Document("A page", sections(found, shown)), Console(file=out, width=200))
    assert re.search(r"5 +noisy +noise 0.71 \(0.66 to 0.75\)", out.getvalue())
    assert "Channel 5: noisy" in out.getvalue()
