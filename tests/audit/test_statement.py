from dataclasses import replace

import audit_cases
import pytest
from audit_cases import table

from layerscope.audit.findings import PANELS, VERDICTS, Finding, Panel
from layerscope.audit.inputs import label_mismatch, preprocessing_suspect
from layerscope.audit.statement import LEAK, sentences
from layerscope.audit.vitality import vitality_findings, vitality_verdicts

FORBIDDEN = ("cheat", "score", "sees a", "interpretable", "untrained", "no leak", "good feature")


def said(findings=(), **panels):
    made = {name: Panel(verdict, f"About {name}.") for name, verdict in panels.items()}
    return " ".join(sentences(made, findings))


TOGETHER = [
    ({"clarity": "clear", "performance": "low"}, "useful features, not a good model yet"),
    ({"clarity": "unclear", "performance": "high"}, "these pictures do not explain it"),
    ({"performance": "high"}, "whether a leak carries it was not tested"),
    ({"performance": "high", "leakage": "suspect"}, "beside a suspected leak"),
    ({"leakage": "confirmed-used"}, "not to be trusted"),
    (
        {"clarity": "clear", "performance": "high", "leakage": "not-found"},
        "neither vouches for the other",
    ),
    ({"memorisation": "signs"}, "does not carry over"),
]


@pytest.mark.parametrize(("panels", "words"), TOGETHER)
def test_what_follows_from_panels_together_is_said_and_only_then(panels, words):
    assert words in said(**panels)
    for panel in panels:
        others = {name: verdict for name, verdict in panels.items() if name != panel}
        assert words not in said(**others)
    for other, _ in TOGETHER:
        if other.items() != panels.items() and not panels.items() <= other.items():
            assert words not in said(**other)


def test_a_confirmed_leak_leaves_no_good_word_for_the_accuracy():
    text = said(clarity="unclear", performance="high", leakage="confirmed-used")
    assert LEAK in text
    assert "stands" not in text


def test_a_confirmed_leak_silences_the_accuracy_and_nothing_else():
    text = said(clarity="clear", performance="low", leakage="confirmed-used", memorisation="signs")
    assert LEAK in text
    assert "does not carry over" in text
    assert "useful features" not in text


def test_longer_training_is_no_advice_where_training_images_are_known_by_heart():
    low = {"clarity": "clear", "performance": "low"}
    assert "Training longer, more data" in said(**low)
    assert "training longer is not" in said(**low, memorisation="signs")
    assert "Training longer" not in said(**low, memorisation="signs")


@pytest.mark.parametrize("clear", ["clear", "mixed"])
def test_features_that_an_architecture_has_by_itself_are_not_called_useful(clear):
    twins = [Finding("like-untrained-twin", "Seen.", "Try.", layer=path) for path in ("a", "b")]
    text = said(twins, clarity=clear, performance="low")
    assert "not distinguishable from random initialisation" in text
    assert "useful features" not in text
    few = [replace(one, minor=True) for one in twins]
    assert "random initialisation" not in said(few, clarity=clear, performance="low")


def test_moderate_and_mixed_verdicts_are_not_joined_into_anything():
    assert said(clarity="mixed", performance="moderate", leakage="not-found") == (
        "About performance. About leakage. About clarity. Not tested: focus and memorisation."
    )


def test_what_was_not_tested_is_named_and_nothing_else():
    assert said().startswith("Not tested: clarity, focus, leakage, memorisation and performance.")
    full = {name: VERDICTS[name][0] for name in PANELS}
    assert "Not tested" not in said(**full)


def test_what_makes_all_else_doubtful_comes_first():
    rows = table("conv", finite=(0, 0))
    broken = vitality_findings(rows.assign(verdict=vitality_verdicts(rows)))
    doubts = (preprocessing_suspect("Why."), label_mismatch("Why."))
    made = sentences({"clarity": Panel("clear", "About clarity.")}, (*doubts, *broken))
    assert made[0].startswith("A layer gives values that are not finite (conv)")
    assert made[1].startswith("The preprocessing is suspect")
    assert made[2].startswith("The labels of the test images do not fit")
    assert made[3] == "About clarity."


@pytest.mark.parametrize("case", ["ordinary", "broken", "untested"])
def test_words_that_promise_too_much_are_not_used(case):
    made = getattr(audit_cases, case)()
    findings = [text for found in made.findings for text in (found.message, found.advice)]
    text = " ".join([made.statement, *findings]).lower()
    assert not [word for word in FORBIDDEN if word in text]
