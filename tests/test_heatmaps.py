"""Heatmaps as pictures: what a page says of them, which are drawn, and where they go."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerscope.document.heat import BESIDE, EMPTY, heatmap
from layerscope.document.parts import Heatmap, Note, Table, Verdicts
from layerscope.errors import InputError
from layerscope.focus.gate import Gain, Gate
from layerscope.focus.heat import Controls
from layerscope.focus.methods import METHODS
from layerscope.focus.names import NAMES, OF_LAYER
from layerscope.heatmaps import MOST_DRAWN, Heatmaps, drawn
from layerscope.measures.specificity import LUMINANCE
from layerscope.render.html import html

GAINS = tuple(Gain(over, 0.3, 0.2, 0.4) for over in ("random", "sobel", "centre"))
BELIEVED = Gate("believable", "", GAINS, 32, dict.fromkeys(BESIDE, 0.25))
HOSTILE = '<img src=x onerror="alert(1)">\u202e.png'


def heat(count=1, gate=BELIEVED, **changes):
    """Heatmaps without a model: 4 x 4 over images of 16 x 16."""
    random = np.random.default_rng(0)
    raw = random.uniform(0, 1, (count, 4, 4)).astype(np.float32)
    edges = random.uniform(0, 1, (count, 16, 16)).astype(np.float32)
    made = Heatmaps(
        raw=raw,
        size=(16, 16),
        ids=tuple(f"{at:03}.png" for at in range(count)),
        method="grad-cam",
        output="0",
        scale="logit",
        classes=np.full(count, 2),
        names=("cow",) * count,
        score=np.full(count, 1.5, np.float32),
        empty=np.zeros(count, bool),
        layer="last",
        resampler="bilinear, half-pixel centres",
        parameters={"relu": True},
        model="net",
        pixels=tuple(random.integers(0, 256, (count, 16, 16, 3), np.uint8)),
        controls=gate and Controls(gate, raw[:, ::-1], np.full(count, 0.5), edges),
    )
    return replace(made, **changes)


def part(made, signed=False, **options):
    return heatmap(made, 0, signed, **options)


def fact(found, name):
    return dict(found.facts)[name]


def first(document, kind):
    return next(p for s in document.sections for p in s.parts if isinstance(p, kind))


def test_every_method_has_its_words_and_those_with_a_layer_are_told_apart():
    assert set(NAMES) == set(METHODS)
    assert set(OF_LAYER) == {name for name, method in METHODS.items() if "layer" in method.needs}


def test_one_empty_heatmap_is_empty_and_two_are():
    for empty, words in ((1, "1 of 3 heatmaps is empty."), (2, "2 of 3 heatmaps are empty.")):
        made = heat(3, empty=np.arange(3) < empty)
        assert Note(words) in first_notes(made.document)


def first_notes(document):
    return [part for part in document.sections[0].parts if isinstance(part, Note)]


def test_a_function_that_is_explained_is_named():
    nobody = {"classes": np.array([-1]), "names": ("",), "function": "margin"}
    assert part(heat(**nobody)).explained == "Explained: margin (a function of the logits), 1.5"
    unnamed = part(heat(**nobody | {"function": "a function"}, scale="probability"))
    assert unnamed.explained == "Explained: a function of the probabilities, 1.5"


def test_the_legend_says_what_is_explained_and_how():
    found = part(heat(), source="Selvaraju et al. 2017")
    assert found.explained == "Explained: cow (class 2), logit 1.5"
    assert fact(found, "Method").startswith("grad-cam (Selvaraju et al. 2017): ")
    assert fact(found, "Looks at") == "layer last, 4 × 4"
    assert fact(found, "Over the photo") == (
        "40 % heatmap, enlarged (bilinear, half-pixel centres), photo in grey"
    )
    assert "the twin and the edges have scales of their own" in fact(found, "Colours")
    assert found.found[0] == "Heatmap itself, 4 × 4"
    assert [title for title, _ in found.controls] == [
        "The same on an untrained twin",
        "Edges of the image",
    ]


def test_the_image_itself_the_seed_and_the_gap_are_said_where_there_are_such():
    found = part(heat(layer="", resampler="", seed=7, gap=np.array([0.034]), reduction="sum"))
    assert fact(found, "Looks at") == "the image itself, 4 × 4"
    assert fact(found, "Settings") == "relu True, reduction sum, seed 7"
    assert "misses 3 %" in fact(found, "Gap")
    assert fact(found, "Over the photo") == "40 % heatmap, photo in grey"


def test_a_class_without_a_name_and_an_output_without_a_class_are_called_what_they_are():
    assert part(heat(names=("",))).explained == "Explained: class 2, logit 1.5"
    bare = heat(classes=np.array([-1]), names=("",), scale="output")
    assert part(bare).explained == "Explained: output 1.5"


def test_colours_of_a_signed_heatmap_diverge_around_zero_and_others_start_there():
    made = heat()
    tile = part(replace(made, raw=made.raw + 1)).found[1]
    assert (tile.scale.low, tile.scale.diverging) == (0, False)
    signed = part(replace(made, raw=made.raw - 0.5), signed=True)
    assert signed.found[1].scale.diverging
    assert signed.laid.scale == signed.found[1].scale
    assert fact(signed, "Colours").startswith("red speaks for the answer, blue against it")


def test_an_empty_heatmap_is_shown_as_empty_and_not_stretched():
    made = heat()
    found = part(replace(made, raw=made.raw * 0, empty=np.array([True])))
    assert found.remarks == (EMPTY,)
    assert (found.found[1].words, found.found[1].odd) == ("empty", True)
    grey = (found.photo @ np.array(LUMINANCE)).round()
    assert (found.laid.rgb == grey[..., None]).all()  # the photo, and nothing over it
    assert ">empty</span>" in html(drawn([made, replace(made, raw=made.raw * 0)]).document)


def test_without_a_twin_the_reason_stands_there_and_an_empty_twin_is_called_so():
    made = heat()
    none = replace(made.controls, no_twin="It has no weights.", twin=made.controls.twin * 0)
    found = part(replace(made, controls=none))
    assert [title for title, _ in found.controls] == ["Edges of the image"]
    assert found.remarks == ("There is no untrained twin: It has no weights.",)
    still = replace(made.controls, twin=made.controls.twin * 0)
    assert part(replace(made, controls=still)).remarks == (
        "The heatmap of the untrained twin is empty.",
    )


def test_the_gate_is_told_in_words():
    verdict = part(heat()).verdict
    assert (verdict.name, verdict.verdict, verdict.tone) == (
        "Heatmaps of grad-cam at last",
        "believable",
        "good",
    )
    assert "On 32 images" in verdict.summary
    assert "gain over edges 0.30, 95\u00a0% interval 0.20 to 0.40" in verdict.summary
    lost = replace(
        BELIEVED, verdict="unreliable", gains=(*GAINS[:1], Gain("sobel", 0.02, -0.06, 0.09))
    )
    verdict = part(heat(gate=lost)).verdict
    assert (verdict.verdict, verdict.tone) == ("unreliable", "bad")
    assert verdict.summary.startswith(
        "On 32 images, asked about the model's own answers, these heatmaps did not tell the "
        "decision apart better than the edges of the image: gain over edges 0.02, 95\u00a0% "
        "interval -0.06 to 0.09."
    )
    few = Gate("not-tested", "it takes 8 images or more, and there are 1", images=1)
    verdict = part(heat(gate=few)).verdict
    assert (verdict.verdict, verdict.tone) == ("not tested", "open")
    assert verdict.summary == "It takes 8 images or more, and there are 1."


def test_a_limit_just_above_zero_is_not_printed_as_zero():
    near = replace(BELIEVED, gains=(Gain("sobel", 0.1, 0.0024, 0.2),))
    assert "interval 0.002 to 0.20" in part(heat(gate=near)).verdict.summary


def test_numbers_that_decide_nothing_stand_beside_with_meaning_and_chance_level():
    table = first(heat().document, Table)
    assert "decide nothing" in table.caption
    assert table.rows[0][:3] == ("Mosaic focus", "0.25", "0.50")
    assert len(table.rows) == len(BESIDE)
    fewer = replace(BELIEVED, beside={"twin": 0.1})
    assert len(first(heat(gate=fewer).document, Table).rows) == 1


def test_without_controls_nothing_is_tested_and_it_is_said():
    made = heat(gate=None)
    found = part(made)
    assert found.controls == ()
    assert first(made.document, Verdicts).items[0].verdict == "not tested"
    assert "no controls were asked for" in found.verdict.summary.lower()
    assert "Controls" not in html(made.document)


def test_of_many_images_sixteen_are_drawn_evenly_and_it_is_said():
    made = heat(100)
    found = [p for s in made.document.sections for p in s.parts if isinstance(p, Heatmap)]
    places = [int(p.name[:3]) for p in found]
    assert len(places) == MOST_DRAWN
    assert places[0] == 0
    assert places[-1] >= 95
    assert max(np.diff(places)) - min(np.diff(places)) <= 4
    note = first(made.document, Note)
    assert note.text == "16 of 100 images have a picture, evenly spread over the set."
    assert made.document.title == "net: 100 images"


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33, 65])
def test_batches_are_drawn_like_the_whole(count):
    made = heat(count)
    whole = drawn([made])
    parts = drawn(made[at : at + 7] for at in range(0, count, 7))
    assert [p.name for p in parts.parts] == [p.name for p in whole.parts]
    assert (len(parts.parts), parts.total) == (min(count, MOST_DRAWN), count)
    assert (parts.parts[0].name, whole.left_out == "") == ("000.png", count <= MOST_DRAWN)


def test_of_a_long_stream_few_are_ever_drawn_and_held(monkeypatch):
    made = []

    def one(heat, at, *_):
        made.append(at)
        return part(heat)

    monkeypatch.setattr("layerscope.heatmaps.heatmap", one)
    found = drawn(heat() for _ in range(500))
    assert (len(found.parts), found.total) == (MOST_DRAWN, 500)
    assert len(made) <= 6 * MOST_DRAWN


def test_what_is_drawn_keeps_nothing_of_the_batch_alive():
    made = heat(3)
    found = drawn([made]).parts[0]
    for array in (found.found[1].values, found.photo, *[t.values for _, t in found.controls]):
        for whole in (made.raw, made.controls.twin, made.controls.edges, *made.pixels):
            assert not np.shares_memory(array, whole)


def test_a_folder_gets_a_page_and_a_picture_per_image(tmp_path):
    files = heat(2).save(tmp_path / "out")
    assert [file.name for file in files] == [
        "index.html",
        "heatmap-01-000.png",
        "heatmap-02-001.png",
    ]
    assert heat().save(tmp_path / "out")[1].name == "heatmap.png"  # the two others are gone
    assert len(list((tmp_path / "out").iterdir())) == 2
    with Image.open(tmp_path / "out" / "heatmap.png") as picture:
        assert picture.width > 1000


def test_one_picture_is_for_one_image_and_a_page_for_any_number(tmp_path):
    assert heat().save(tmp_path / "one.png") == [tmp_path / "one.png"]
    assert heat(3).save(tmp_path / "page.html") == [tmp_path / "page.html"]
    with pytest.raises(InputError, match="holds the picture of one image"):
        heat(2).save(tmp_path / "two.png")
    with pytest.raises(InputError, match="alpha must lie between 0"):
        heat().save(tmp_path / "a", alpha=2)
    assert not (tmp_path / "two.png").exists()


def test_a_stream_that_is_too_long_for_one_picture_stops_early(tmp_path):
    read = []

    def batches():
        for at in range(5):
            read.append(at)
            yield heat()

    with pytest.raises(InputError, match="there are more"):
        drawn(batches(), most_images=1)
    assert read == [0, 1]
    with pytest.raises(InputError, match="none could be read"):
        drawn([])


def test_the_page_of_another_command_is_not_overwritten(tmp_path):
    (tmp_path / "index.html").write_text("<!-- written by layerscope show: index.html -->\n")
    with pytest.raises(InputError, match="was not written by layerscope focus"):
        heat().save(tmp_path)


def test_hostile_names_stay_text(tmp_path):
    made = heat(2, ids=(HOSTILE, "/home/me/secret/b.png"), names=("<b>cow</b>",) * 2, model=HOSTILE)
    page = html(made.document)
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "&lt;b&gt;cow&lt;/b&gt; (class 2)" in page
    assert "secret" not in page
    assert all(".." not in file.name for file in made.save(tmp_path / "out"))


def test_a_notebook_shows_the_page_and_the_words_stay_short():
    made = heat(2)
    assert made._repr_html_().startswith("<iframe sandbox srcdoc=")
    assert len(repr(made)) < 200
    assert isinstance(made[0], Heatmaps)
    assert Path(made[1].ids[0]).stem == "001"
