import io
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import audit_cases
import numpy as np
import pytest
from audit_cases import HOSTILE, audit, guesses, judged, layer, table
from rich.console import Console

from layerscope.audit.findings import Effect
from layerscope.audit.performance import performance
from layerscope.document.parts import Table, layer_anchor
from layerscope.document.report import MOST_CARDS, MOST_ROWS, report
from layerscope.render.html import html
from layerscope.render.terminal import show

CASES = ("ordinary", "broken", "hostile", "untested")
NO_CONTENT = {"img", "meta", "br"}


class Page(HTMLParser):
    """Tags, ids and visible text; strict about nesting."""

    def __init__(self, made):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.source = html(report(made))
        self.feed(self.source)
        assert self.open == []
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in NO_CONTENT:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(params=CASES)
def made(request):
    return getattr(audit_cases, request.param)()


def test_every_finding_and_every_layer_has_its_permanent_link(made):
    ids = set(Page(made).ids)
    for found in made.to_dict()["findings"]:
        assert found["link"].removeprefix("report.html#") in ids
    for result in made.layers:
        assert layer_anchor(result.layer.path) in ids


def test_ids_are_unique_links_lead_somewhere_and_headings_are_in_order(made):
    page = Page(made)
    assert set(Counter(page.ids).values()) == {1}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert {link[1:] for link in links} <= set(page.ids)
    referred = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert referred <= set(page.ids)
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_needs_nothing_and_runs_nothing(made):
    page = Page(made)
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") or name == "style" for name in attributes)


def test_hostile_names_are_shown_as_text():
    page = Page(audit_cases.hostile())
    shown = HOSTILE.replace("\u202e", "?").replace("\udcff", "?").replace("\x00", "?")
    assert page.words.count(shown) >= 6
    page.source.encode("utf-8")


def test_the_report_says_what_the_audit_says_in_the_order_of_its_weight():
    made = audit_cases.broken()
    page = Page(made)
    for sentence in made.sentences:
        assert sentence in page.words
    for found in made.findings:
        assert found.message in page.words
        assert found.advice in page.words
    anchors = [section.anchor for section in report(made).sections]
    assert anchors[:5] == ["statement", "panels", "findings", "findings/fail", "findings/warn"]
    assert anchors[5:] == [
        *("performance", "layers", "data", "preprocessing", "not-tested", "provenance")
    ]


def test_an_audit_that_was_cut_short_says_so():
    assert "it is not complete" in Page(audit_cases.broken()).words
    assert "it is not complete" not in Page(audit_cases.ordinary()).words


def test_what_was_not_tested_is_listed_with_its_reason():
    words = Page(audit_cases.untested()).words
    assert "performance The images carry no labels." in words
    assert "leakage This panel was not run." in words
    assert "No findings." in words


def test_an_assumed_order_of_the_classes_is_said_with_the_data():
    made = audit_cases.ordinary()
    assert "assumption" not in Page(made).words
    assumed = replace(made, test=replace(made.test, order_assumed=True))
    said = "taken for the outputs of the model in this order, which is an assumption: cat, dog, hen"
    assert said in Page(assumed).words


def tables(made, section):
    parts = next(one.parts for one in report(made).sections if one.anchor == section)
    return [part for part in parts if isinstance(part, Table)]


def test_numbers_of_the_performance_are_those_of_the_audit():
    numbers, per_class, confused = tables(audit_cases.ordinary(), "performance")
    assert ("Accuracy (95 % Wilson interval)", "76.2 % (95 % CI 73.2 to 79.1)") in numbers.rows
    assert ("cat", "200", "76.5 %", "70.2 to 81.8") in per_class.rows
    assert ("hen", "fox", "48", "24.0 %") in confused.rows


def test_the_worst_class_comes_first():
    labels = np.arange(60) % 3
    answers = np.where((labels == 1) & (np.arange(60) < 30), 0, labels)
    found = performance(np.eye(3)[answers], labels, ["good", "bad", "fine"])
    per_class = tables(replace(audit_cases.ordinary(), performance=found), "performance")[1]
    assert [row[0] for row in per_class.rows] == ["bad", "good", "fine"]


def test_layers_list_their_channels_by_verdict():
    (found,) = tables(audit_cases.ordinary(), "layers")
    row = dict(zip(found.columns, found.rows[1], strict=True))
    assert (row["Layer"], row["Channels"], row["Dead"], row["Not judged"]) == (
        "block1/expand",
        "48",
        "11",
        "37",
    )
    assert row["Constant"] == ""


def test_files_that_were_skipped_are_listed_and_long_lists_are_cut_and_say_so():
    (found,) = tables(audit_cases.broken(), "data")
    assert found.rows[0] == ("cat/000.jpg", "the file is empty")
    assert len(found.rows) == MOST_ROWS
    assert f"{MOST_ROWS} of 50 shown" in found.caption


def test_the_evidence_for_the_preprocessing_stands_beside_the_choice():
    (found,) = tables(audit_cases.ordinary(), "preprocessing")
    assert found.rows == (("-1..1", "0.02", "", "chosen"), ("0..1", "0.66", "25.0 %", ""))


def test_many_findings_of_one_kind_become_rows_that_keep_their_links():
    paths = [f"conv{n}" for n in range(MOST_CARDS + 3)]
    channels = judged(*(table(path, 4, finite=(0, 0)) for path in paths))
    made = audit(performance(*guesses(40, 0)), channels, [layer(path, 4) for path in paths])
    page = Page(made)
    assert sum(tag == "article" for tag, _ in page.tags) == MOST_CARDS
    assert {f"non-finite/{path}" for path in paths} <= set(page.ids)
    assert sum("gave NaN" in text for text in page.text) == len(paths)


def test_a_number_of_things_is_no_share():
    kind = "near-duplicates-across-splits"
    channels = judged(table("conv", 4, finite=(0, 0)))
    made = audit(performance(*guesses(40, 0)), channels, [layer("conv", 4)])
    one = replace(made.findings[0], kind=kind, effect=Effect("groups", 1600.0, unit="count"))
    shown = html(report(replace(made, findings=(one,))))
    assert "1,600" in shown
    assert "160000" not in shown


@pytest.mark.parametrize(
    ("unit", "words"),
    [("points", "23.4 points (95 % CI -0.5 to 40.0)"), ("number", "0.23 (95 % CI -0.01 to 0.40)")],
)
def test_what_is_no_share_is_not_shown_as_per_cent(unit, words):
    made = audit_cases.ordinary()
    effect = Effect("rise of the probability", 0.234, (-0.005, 0.4), unit)
    found = replace(made.findings[0], effect=effect, minor=False)
    shown = Page(replace(made, findings=(found,))).words
    assert words in shown
    assert "23.4 %" not in shown


def test_training_images_are_reported_beside_test_images():
    seen = performance(*guesses(99, 1))
    made = replace(
        audit_cases.ordinary(), train=audit_cases.DataSet(100, ("a", "b")), train_performance=seen
    )
    words = Page(made).words
    assert "Training images: 100 in 2 classes." in words
    assert "99.0 % (95 % CI 94.6 to 99.8)" in words


def test_a_thousand_classes_make_no_endless_table():
    labels = np.arange(3000) % 1000
    found = performance(np.eye(1000, dtype=np.float32)[labels], labels)
    made = replace(audit_cases.ordinary(), performance=found)
    assert len(tables(made, "performance")[1].rows) == MOST_ROWS
    assert len(made.to_dict()["performance"]["test"]["per_class"]) == 1000


def test_the_report_can_be_read_in_a_terminal(made):
    out = io.StringIO()
    show(report(made), Console(file=out, width=10_000))
    text = out.getvalue()
    for found in made.findings:
        assert found.message.split(" channels of ")[0].split(HOSTILE)[0] in text
    assert "\x00" not in text
    assert "clarity" in text


def test_provenance_is_told_in_words_and_not_as_python_values():
    given = {
        "nulls": ["noise", "twin"],
        "layers": [],
        "preprocessing": "",
        "seed": 0,
        "versions": {"tensorflow": "2.20.0", "numpy": "2.1.0"},
        "sampled_images": None,
        "note": None,
    }
    made = replace(audit_cases.ordinary(), provenance=given)
    (table,) = report(made).sections[-1].parts
    assert table.rows[3:] == (
        ("nulls", "noise, twin"),
        ("layers", "none"),
        ("preprocessing", "none"),
        ("seed", "0"),
        ("versions", "tensorflow 2.20.0, numpy 2.1.0"),
        ("sampled images", "all"),
        ("note", "none"),
    )
