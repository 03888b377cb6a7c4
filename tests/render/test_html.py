import base64
import io
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from golden_cases import FOLDER, page, parts
from PIL import Image

from layerscope.document.colour import colourise
from layerscope.document.compose import document, grid, overview
from layerscope.document.parts import Document, Links, Note, Section, Table, Text
from layerscope.render.html import html, write_html
from layerscope.selection import select

HOSTILE = '"><script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>\u202e'
NO_CONTENT = {"img", "meta", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """All tags with their attributes, and the headings with their text; strict about nesting."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in NO_CONTENT:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


ALL_OF_24 = select(parts()["grid"].maps.repeat(2, -1), None, None)


def hostile_page():
    part = parts()["grid"]
    named = replace(
        part,
        names=(HOSTILE,),
        layer=replace(part.layer, path=HOSTILE),
        facts=HOSTILE,
        legend=HOSTILE,
        remarks=(HOSTILE,),
        alt=HOSTILE,
    )
    sheet = overview(part.photos[0], HOSTILE, [named], [(HOSTILE, 0.5)])
    made = document(HOSTILE, [sheet], [named], [Note(HOSTILE, "fail")])
    rest = (
        Text(HOSTILE),
        Table((HOSTILE,), ((HOSTILE,),), HOSTILE),
        Links(((HOSTILE, "overview"),)),
        replace(parts()["overlay"], alt=HOSTILE, caption=HOSTILE),
    )
    return Document(HOSTILE, (*made.sections, Section(HOSTILE, "rest", 2, rest)))


def page_of_several_images():
    return document("t", [], [parts()["images"]])


def decoded(image):
    content = base64.b64decode(image["src"].split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("made", [page, hostile_page])
def test_nothing_can_be_fetched_or_run(made):
    text = html(made())
    read = Page(text)
    assert not {"script", "iframe", "object", "link", "form", "base"} & {
        tag for tag, _ in read.tags
    }
    for _, attributes in read.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    policies = [it["content"] for it in read.all("meta") if "http-equiv" in it]
    assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "url(" not in text


def test_names_are_shown_as_text():
    shown = "".join(Page(html(hostile_page())).text)
    assert shown.count(HOSTILE.replace("\u202e", "?")) >= 12
    assert "\u202e" not in html(hostile_page())


@pytest.mark.parametrize("made", [page, hostile_page])
def test_every_picture_has_words_and_a_size(made):
    images = Page(html(made())).all("img")
    assert len(images) > 20
    for image in images:
        assert image["alt"].strip()
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0


@pytest.mark.parametrize("made", [page, hostile_page])
def test_headings_are_in_order(made):
    levels = [int(tag[1]) for tag, _ in Page(html(made())).tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("made", [page, hostile_page, page_of_several_images])
def test_anchors_are_unique_and_every_link_leads_somewhere(made):
    read = Page(html(made()))
    ids = Counter(attributes["id"] for _, attributes in read.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    assert {link["href"][1:] for link in read.all("a")} <= set(ids)


def test_every_layer_and_every_shown_map_has_its_permanent_anchor():
    part = parts()["grid"]
    ids = {attributes.get("id") for _, attributes in Page(html(page())).tags}
    assert "layer/stem/conv" in ids
    assert {f"map/stem/conv/{channel}" for channel in part.channels} <= ids


def test_maps_are_stored_cell_by_cell():
    part = parts()["every"]
    images = Page(html(document("t", [], [part]))).all("img")
    tiles = [it for it in images if it["alt"].startswith("Map ")]
    assert len(tiles) == len(part.channels)
    for place in (0, 8):
        expected = colourise(part.maps[0, :, :, place], part.scales[place])
        assert np.array_equal(decoded(tiles[place]), expected)
        assert tiles[place]["class"] == "cells"


def test_dead_maps_are_struck_out_and_said_to_be_dead():
    images = Page(html(document("t", [], [parts()["every"]]))).all("img")
    dead = next(it for it in images if it["alt"].startswith("Map 3 "))
    assert dead["alt"].endswith("dead")
    assert len(np.unique(decoded(dead).reshape(-1, 3), axis=0)) == 2


def words_of(made):
    return " ".join("".join(Page(html(made)).text).split())


def test_what_is_not_finite_has_a_swatch_and_keeps_its_range():
    text = words_of(document("t", [], [parts()["every"]]))
    assert "NaN or infinite" in text
    assert "8 non-finite, 0 to 1" in text
    assert "5 constant 0.25" in text
    assert "NaN or infinite" not in words_of(document("t", [], [parts()["grid"]]))


def test_odd_maps_are_labelled_in_the_overview():
    part = parts()["every"]
    few = replace(part, channels=part.channels[3:9], maps=part.maps[..., 3:9])
    few = replace(few, scales=part.scales[3:9], badges=part.badges[3:9])
    sheet = overview(part.photos[0], "red.png", [few])
    captions = words_of(document("t", [sheet], []))
    assert "3 dead" in captions
    assert "5 const" in captions
    assert "8 NaN" in captions


@pytest.mark.parametrize(("layers", "tiles"), [(3, 14), (11, 7)])
def test_an_overview_of_many_layers_has_columns_and_counts_the_maps_it_draws(layers, tiles):
    part = parts()["grid"]
    every = grid(part.photos, part.names, part.layer, part.maps.repeat(2, -1), ALL_OF_24)
    text = html(document("t", [overview(part.photos[0], "red.png", [every] * layers)], []))
    assert ('class="network wide"' in text) == (layers > 10)
    assert text.count(f"{tiles} of 24 maps") == layers
    assert text.count('alt="Map ') == layers * tiles


def test_how_to_read_the_overviews_is_said_once():
    sheet = parts()["overview"]
    made = document("t", [sheet, replace(sheet, name="other.png")], [])
    assert words_of(made).count("the one that carries most first") == 1
    assert words_of(made).count("below 0") == 1


def test_several_images_show_their_layer_as_a_whole():
    part = parts()["images"]
    images = Page(html(page_of_several_images())).all("img")
    composites = [it for it in images if "three strongest directions" in it["alt"]]
    assert len(composites) == 3
    for image, pictures in zip(composites, part.whole, strict=True):
        assert np.array_equal(decoded(image), pictures[0].rgb)


def test_several_images_are_rows_with_one_anchor_per_map():
    part = parts()["images"]
    read = Page(html(page_of_several_images()))
    tiles = [it for it in read.all("img") if it["alt"].startswith("Map ")]
    assert len(tiles) == 3 * len(part.channels)


def test_maps_drawn_smaller_say_so():
    large = replace(parts()["every"], maps=np.zeros((1, 300, 300, 10), np.float32))
    text = html(document("t", [], [large]))
    assert "each cell is the mean of 3 × 3" in text
    assert "the mean of" not in html(document("t", [], [parts()["every"]]))


def contrast(first, second):
    """Contrast of two colours as WCAG 2 defines it, 1 to 21."""
    lights = []
    for colour in (first, second):
        parts = np.frombuffer(bytes.fromhex(colour.lstrip("#")), np.uint8) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("theme", [0, 1])
def test_words_stand_out_from_the_paper_in_both_themes(theme):
    style = re.search(r"<style>(.*?)</style>", html(page()), re.S)[1]
    colours = dict(re.findall(r"--(\w+): (#\w{6})", re.findall(r":root \{(.*?)\}", style)[theme]))
    for words in ("ink", "grey", "link", "warn", "fail"):
        for paper in ("paper", "soft"):
            assert contrast(colours[words], colours[paper]) >= 4.5


def test_a_page_is_written_as_utf8(tmp_path):
    write_html(page(), tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == html(page())


@pytest.mark.parametrize(("theme", "paper"), [([], 0xFF), (["--force-dark-mode"], 0x16)])
def test_a_browser_shows_the_page_with_its_style_and_its_maps(tmp_path, browse, theme, paper):
    write_html(document("t", [], [parts()["grid"]]), tmp_path / "index.html")
    looks = ["--hide-scrollbars", "--window-size=1200,1200", *theme]
    browse(tmp_path / "index.html", *looks, f"--screenshot={tmp_path / 'page.png'}")
    with Image.open(tmp_path / "page.png") as image:
        seen = np.asarray(image.convert("RGB"))
    assert seen[5, 5, 0] == paper
    ends = ((253, 231, 37), (68, 1, 84))
    yellow, purple = (np.abs(seen - np.array(rgb)).max(-1) < 4 for rgb in ends)
    assert yellow.sum() > 1000
    assert purple.sum() > 1000


def test_the_golden_page_is_kept_without_pixels():
    assert "base64,..." in (FOLDER / "page.html").read_text(encoding="utf-8")
