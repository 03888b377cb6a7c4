"""What is said of leaks: verdicts, findings and the panel."""

from dataclasses import replace

import audit_cases
import numpy as np
import pytest

from layerscope.audit.leak_findings import leak_findings
from layerscope.audit.leakage import (
    ClassLeak,
    Leaks,
    Repeated,
    WholeLeak,
    class_verdict,
    leakage_panel,
    whole_verdict,
)
from layerscope.document.report import report
from layerscope.interventions.transplant import Shift, Transplanted
from layerscope.leakage.copies import Copies, Interval
from layerscope.leakage.power import Power
from layerscope.leakage.properties import Property
from layerscope.measures.significance import adjusted
from layerscope.render.html import html
from layerscope.vocabulary import Class

NUMBERS = np.arange(20)
BOX = (4, 2, 11, 9)


def copies(score: float = 0.8, **more) -> Copies:
    found = {
        "label": 3, "score": Interval(score, score - 0.05, score + 0.05),
        "lead": Interval(score, 0.1, 0.9), "p": 0.001, "inside": 0.93, "outside": 0.0,
        "cutoff": 0.6, "judged": (20, 100), "box": BOX, "fixed": True, "images": NUMBERS,
        "places": np.tile(BOX, (20, 1)), "similarity": np.ones(20), "carries": np.ones(20, bool),
        "mark": np.ones((7, 7, 3)), "template": np.ones((7, 7, 3)),
    }  # fmt: skip
    return Copies(**(found | more))


def effect(value: float, low: float, high: float) -> Transplanted:
    same = Shift(value, low, high, 0.001)
    boxes = np.tile(BOX, (20, 1))
    return Transplanted(
        3, same, Shift(0.1, 0, 0.2, 0.1), (0.61, 0.02), NUMBERS, NUMBERS, boxes, np.ones(20)
    )


def leak(found=None, what=None, right=30, p=0.001, covers=0.05, **more) -> ClassLeak:
    return ClassLeak(Class(3, "cat"), 40, right, found or copies(), covers, what, p, **more)


USED, UNUSED, OPEN = effect(0.5, 0.4, 0.6), effect(0.01, -0.02, 0.04), effect(0.2, 0.02, 0.4)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (leak(what=USED), "confirmed-used"),
        (leak(what=USED, p=0.2), "suspect"),
        (leak(what=USED, covers=0.5), "suspect"),
        (leak(what=OPEN), "suspect"),
        (leak(what=UNUSED), "present-unused"),
        (leak(), "suspect"),
        (leak(copies(0.1)), "not-found"),
        (leak(copies(0.1), right=15), "not-tested"),
        (leak(what=USED, right=15), "confirmed-used"),
        (leak(what=USED, right=7), "not-tested"),
    ],
)
def test_the_rule(case, verdict):
    assert class_verdict(case) == verdict


def test_copies_that_move_answers_are_confirmed_in_the_words_of_the_method():
    (found,) = leak_findings(Leaks((32, 32), (leak(what=USED, necessity=0.3),)))
    assert (found.kind, found.severity) == ("leak-confirmed", "fail")
    assert found.id == "leak-confirmed/cat/0"
    place = "at x 4, y 2 (pixels from the left and from the top)"
    assert f"The same 7 × 7 pattern {place}, in 93.0 % of class cat and 0.0 % of others" in (
        found.message
    )
    assert "moves 61.0 % (CI" in found.message
    assert "the same box from unrelated images 2.0 %" in found.message
    assert found.region == pytest.approx((4 / 32, 2 / 32, 11 / 32, 9 / 32))
    assert found.effect.ci95 == (0.4, 0.6)
    for word in ("cheat", "no leak"):
        assert word not in found.message


def test_a_place_and_a_size_go_from_the_left_and_from_the_top_as_the_options_do():
    case = leak(copies(box=(3, 10, 15, 15)), USED, montage=(np.zeros((5, 12, 3)),))
    leaks = Leaks((32, 48), (case,))
    (found,) = leak_findings(leaks)
    assert "The same 12 × 5 pattern at x 3, y 10 (pixels from the left" in found.message
    assert found.region == pytest.approx((3 / 48, 10 / 32, 15 / 48, 15 / 32))
    page = html(report(replace(audit_cases.ordinary(), findings=(found,)), leaks=leaks))
    assert "confirmed used, 12 × 5 pixels" in page
    moving = replace(case, copies=copies(box=(3, 10, 15, 15), fixed=False))
    assert (
        "12 × 5 pattern at changing places, in"
        in leak_findings(Leaks((32, 48), (moving,)))[0].message
    )


EDGE = (20, 0, 32, 9)


@pytest.mark.parametrize(
    ("pattern", "ring", "kinds"),
    [
        ({}, {}, ["leak-confirmed"]),
        ({"box": BOX}, {}, ["leak-present-unused", "leak-confirmed"]),
        ({"label": 4}, {}, ["leak-present-unused", "leak-confirmed"]),
        ({}, {"name": "colour"}, ["leak-present-unused", "leak-confirmed"]),
        ({}, {"frame": 0.2}, ["leak-present-unused", "leak-confirmed"]),
        ({"what": OPEN}, {}, ["leak-suspect", "leak-confirmed"]),
    ],
    ids=["one", "not at the edge", "other class", "no ring", "unused ring", "open pattern"],
)
def test_a_part_of_a_used_border_is_told_with_it_and_not_as_unused(pattern, ring, kinds):
    given = {"box": EDGE, "label": 3, "what": UNUSED} | pattern
    case = leak(copies(box=given["box"]), given["what"])
    case = replace(case, of=Class(given["label"], str(given["label"])))
    used = Shift(0.5, 0.4, 0.6, 0.001)
    looks = [replace(PROPERTY, name="colour"), replace(PROPERTY, **({"name": "ring-2"} | ring))]
    whole = [WholeLeak(Class(3, "3"), one, used, 0.001, 60) for one in looks]
    leaks = Leaks((32, 32), (case,), tuple(whole))
    found = leak_findings(leaks)
    assert [one.kind for one in found] == kinds
    page = html(report(replace(audit_cases.ordinary(), findings=found), leaks=leaks))
    told = "A 12 × 9 pattern at x 20, y 0 (pixels from the left and from the top), reaches the edge"
    one = len(kinds) == 1
    assert (
        f"{told} and repeats in 93.0 % of the class; alone it raises" in found[-1].message
    ) == one
    assert ("present unused" not in page) == (one or kinds[0] == "leak-suspect")
    assert leakage_panel(leaks).verdict == "confirmed-used"


def test_a_region_without_copies_is_information_and_no_leak():
    case = leak(copies(0.1), region=(0, 0, 0.3, 0.3), region_effect=Shift(0.5, 0.4, 0.6, 0.001))
    (found,) = leak_findings(Leaks((32, 32), (case,)))
    assert (found.kind, found.severity) == ("small-decisive-region", "info")
    assert leakage_panel(Leaks((32, 32), (case,))).verdict == "not-found"


def test_not_found_comes_with_the_power_of_the_search():
    power = Power(3, 0.15, 0.5, 1.0, 4, 5, 0.38, 0.96)
    panel = leakage_panel(Leaks((32, 32), (leak(copies(0.1)),), power=(power,)))
    assert panel.verdict == "not-found"
    assert "4 of 5 were found" in panel.summary
    assert "no leak" not in panel.summary.lower()


def test_the_gravest_class_decides_and_too_few_images_are_named():
    classes = (leak(copies(0.1)), leak(what=UNUSED), leak(what=USED, right=3))
    panel = leakage_panel(Leaks((32, 32), classes))
    assert panel.verdict == "present-unused"
    assert "cat" in panel.not_tested[0]
    assert leakage_panel(Leaks((0, 0), reason="There is one class.")).verdict == "not-tested"


PROPERTY = Property("colour", 3, 0.99, 0.97, 1.0, 0.4, 0.3, 0.5, 0.12, 300)


@pytest.mark.parametrize(
    ("shift", "verdict", "kind"),
    [
        (Shift(0.5, 0.4, 0.6, 0.001), "confirmed-used", "leak-confirmed"),
        (Shift(0.01, 0.0, 0.03, 0.4), "present-unused", "data-label-property"),
        (Shift(0.2, 0.0, 0.4, 0.01), "suspect", "leak-suspect"),
        (None, "not-tested", "data-label-property"),
    ],
)
def test_a_property_of_whole_images(shift, verdict, kind):
    case = WholeLeak(Class(3, "cat"), PROPERTY, shift, 0.001 if shift else float("nan"), 60)
    assert whole_verdict(case) == verdict
    (found,) = leak_findings(Leaks((32, 32), whole=(case,)))
    assert found.kind == kind
    assert "Class cat can be told from the others by the median colour alone" in found.message
    assert "12.0 %" in found.message
    # the p of an effect is no p of how well the look tells the class
    assert (found.p is None) == (kind == "data-label-property")


def test_the_looks_of_one_class_are_one_finding_of_the_one_that_is_used_most():
    looks = (("size", None), ("contrast", 0.3), ("colour", 0.5), ("ring-1", 0.0))
    cases = tuple(
        WholeLeak(
            Class(3, "cat"),
            replace(PROPERTY, name=name),
            None if rise is None else Shift(rise, rise - 0.1, rise + 0.1, 0.001),
            0.001,
            60,
        )
        for name, rise in looks
    )
    (found,) = leak_findings(Leaks((32, 32), whole=cases))
    assert (found.kind, found.effect.value) == ("leak-confirmed", 0.5)
    assert "by the median colour alone" in found.message
    assert "also be told by brightness and contrast (ROC area 0.99, rise 0.30)" in found.message
    other = replace(cases[0], of=Class(4, "dog"))
    assert len(leak_findings(Leaks((32, 32), whole=(*cases, other)))) == 2


def test_a_look_that_the_edges_of_the_images_do_not_have_may_be_the_object():
    used = Shift(0.5, 0.4, 0.6, 0.001)
    case = WholeLeak(Class(3, "cat"), replace(PROPERTY, frame=0.7), used, 0.001, 60)
    assert whole_verdict(case) == "suspect"
    leaks = Leaks((32, 32), (leak(copies(0.1)),), (case,))
    (found,) = leak_findings(leaks)
    assert (found.kind, found.severity) == ("data-label-property", "info")
    assert "edges of the images alone tell the class less (ROC area 0.70)" in found.message
    panel = leakage_panel(leaks)
    assert panel.verdict == "not-found"
    assert "look whether it is the object" in panel.summary
    assert whole_verdict(replace(case, found=PROPERTY)) == "confirmed-used"


def test_a_declared_look_is_a_note_and_leaves_the_panel_alone():
    used = Shift(0.5, 0.4, 0.6, 0.001)
    case = WholeLeak(Class(3, "cat"), PROPERTY, used, 0.001, 60, expected=True)
    leaks = Leaks((32, 32), (leak(copies(0.1)),), (case,))
    (found,) = leak_findings(leaks)
    assert (found.kind, found.severity) == ("data-label-property", "info")
    assert "declared" in found.message
    assert leakage_panel(leaks).verdict == "not-found"


def test_a_pattern_as_large_as_an_object_is_a_note_and_leaves_the_panel_alone():
    leaks = Leaks((32, 32), (leak(what=USED, covers=0.4), leak(copies(0.1))))
    (found,) = leak_findings(leaks)
    assert (found.kind, found.severity) == ("leak-suspect", "info")
    assert "covers 40.0 % of the image, as an object does" in found.message
    panel = leakage_panel(leaks)
    assert panel.verdict == "not-found"
    assert "look whether it is the object" in panel.summary


def test_a_pattern_at_changing_places_in_few_images_is_a_suspect_as_parts_of_objects_are():
    few = {"fixed": False, "inside": 0.3}
    case = leak(copies(**few), USED)
    assert class_verdict(case) == "suspect"
    (found,) = leak_findings(Leaks((32, 32), (case,)))
    assert "fewer than half of the images, as parts of objects do" in found.message
    assert class_verdict(leak(copies(fixed=True, inside=0.3), USED)) == "confirmed-used"
    assert class_verdict(leak(copies(fixed=False, inside=0.6), USED)) == "confirmed-used"


def test_a_look_that_the_model_does_not_use_is_no_leak():
    unused = WholeLeak(Class(3, "cat"), PROPERTY, Shift(0.01, 0.0, 0.03, 0.4), 0.4, 60)
    panel = leakage_panel(Leaks((32, 32), (leak(copies(0.1)),), (unused,)))
    assert panel.verdict == "not-found"
    used = replace(unused, effect=Shift(0.5, 0.4, 0.6, 0.001), p=0.001)
    assert leakage_panel(Leaks((32, 32), (leak(copies(0.1)),), (used,))).verdict == "confirmed-used"


def test_repeated_pictures_are_named():
    groups = (("cat/a.png", "dog/b.png"),)
    (found,) = leak_findings(Leaks((32, 32), repeated=(Repeated("classes", groups),)))
    assert found.kind == "near-duplicates-across-classes"
    assert "cat/a.png and dog/b.png" in found.message


def test_p_is_adjusted_over_what_was_tried():
    assert adjusted([0.01, float("nan"), 0.04])[0] == pytest.approx(0.02)
    assert np.isnan(adjusted([0.01, float("nan")])[1])
    assert adjusted([]).tolist() == []


def test_a_declared_pattern_is_a_note_and_leaves_the_panel_alone():
    leaks = Leaks((32, 32), (leak(what=USED, expected=True), leak(copies(0.1))))
    (found,) = leak_findings(leaks)
    assert (found.kind, found.severity) == ("leak-confirmed", "info")
    assert "declared" in found.message
    panel = leakage_panel(leaks)
    assert panel.verdict == "not-found"
    assert "Left out as declared: what was found in cat." in panel.summary


def test_findings_lead_to_the_pictures_that_they_rest_on():
    shown = ((np.zeros((8, 8, 3)), np.ones((8, 8, 3))),)
    look = WholeLeak(
        Class(4, "dog"), replace(PROPERTY, label=4), Shift(0.5, 0.4, 0.6, 0.001), 0.001, 60, "",
        shown,
    )  # fmt: skip
    twice = (Repeated("classes", (("a.png", "b.png"),)),)
    leaks = Leaks((32, 32), (leak(what=USED, shown=shown),), (look,), twice)
    made = replace(audit_cases.ordinary(), findings=leak_findings(leaks))
    page = html(report(made, leaks=leaks))
    for anchor in ("leakage/patterns", "leakage/looks"):
        assert page.count(f'href="#{anchor}"') == page.count(f'id="{anchor}"') == 1
    assert "#leakage/" not in html(report(made))
