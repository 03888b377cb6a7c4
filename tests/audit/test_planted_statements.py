"""What the statement says of real nets with a known fault, or none: each combination once."""

import numpy as np
import pytest
import statement_nets as nets

from layerscope import Scope
from layerscope.audit.statement import LEAK

pytestmark = pytest.mark.xdist_group("planted nets")

FEATURES = "useful features, not a good model yet"
UNEXPLAINED = "the accuracy stands, and these pictures do not explain it"
RANDOM = "most layers are not distinguishable from random initialisation"
HEART = "does not carry over"
VOUCHES = "neither vouches for the other"
UNSEARCHED = "whether a leak carries it was not tested"
EVERY = {FEATURES, UNEXPLAINED, RANDOM, HEART, VOUCHES, UNSEARCHED, LEAK}

CHEAP = ("clarity", "performance")


@pytest.fixture
def say(tmp_path):
    """Audit a model on labelled images; its verdicts, and which of all combinations are said."""

    def audited(model, images, labels, panels=CHEAP, train=None, layers=None):
        np.savez(tmp_path / "test", x=images, y=labels)
        if train is not None:
            np.savez(tmp_path / "train", x=train.images, y=train.labels)
        found = Scope(model, "none").audit(
            tmp_path / "test.npz", train and tmp_path / "train.npz", panels=panels, layers=layers
        )
        assert "score" not in found.statement
        said = {words for words in EVERY if words in found.statement}
        return {name: found.panels[name].verdict for name in panels}, said, found

    return audited


def test_clear_maps_and_a_low_accuracy_are_useful_features_and_something_to_try(say):
    net = nets.trained()
    model = nets.without_answers(net.model)
    verdicts, said, found = say(model, net.test.images[:150], net.test.labels[:150])
    assert verdicts == {"clarity": "clear", "performance": "low"}
    assert said == {FEATURES}
    assert "Training longer, more data or another architecture" in found.statement


def test_a_net_as_it_was_drawn_has_no_useful_features_however_clear_its_maps(say):
    test = nets.trained().test
    verdicts, said, found = say(nets.untrained(), test.images[:150], test.labels[:150])
    assert verdicts["performance"] == "low"
    assert said == {RANDOM}
    assert "not distinguishable from guessing" in found.statement


def test_noisy_maps_and_a_high_accuracy_leave_the_accuracy_and_explain_nothing(say):
    net = nets.trained()
    model = nets.noisy(net.model, net.train)
    verdicts, said, _ = say(model, net.test.images, net.test.labels, layers=["conv1"])
    assert verdicts == {"clarity": "unclear", "performance": "high"}
    assert said == {UNEXPLAINED, UNSEARCHED}


def test_a_net_that_knows_its_images_by_heart_is_said_to(say, memorising):
    net = memorising(300, 0.4)
    verdicts, said, found = say(
        net.model, net.test.images[:300], net.test.labels[:300],
        ("memorisation", "performance"), net.train,
    )  # fmt: skip
    assert verdicts["memorisation"] == "signs"
    assert HEART in said
    assert "Signs that training images were memorised" in found.statement


def test_clear_maps_and_a_high_accuracy_do_not_say_what_carries_it(say):
    net = nets.trained()
    verdicts, said, _ = say(net.model, net.test.images, net.test.labels)
    assert verdicts == {"clarity": "clear", "performance": "high"}
    assert said == {UNSEARCHED}


@pytest.mark.slow
def test_a_confirmed_leak_spoils_a_high_accuracy_however_clear_the_maps(say):
    net = nets.trained("logo")
    panels = ("clarity", "leakage", "performance")
    verdicts, said, found = say(net.model, net.test.images[:200], net.test.labels[:200], panels)
    assert verdicts == {"clarity": "clear", "leakage": "confirmed-used", "performance": "high"}
    assert said == {LEAK}
    (leak,) = [one for one in found.findings if one.kind == "leak-confirmed"]
    assert [one.index for one in leak.classes] == [nets.MARKED]


@pytest.mark.slow
def test_a_healthy_net_gets_no_bad_word_and_no_promise(say):
    net = nets.trained()
    panels = ("clarity", "focus", "leakage", "memorisation", "performance")
    test = net.test.images, net.test.labels
    verdicts, said, found = say(net.model, *test, panels, net.train)
    del verdicts["focus"]
    assert verdicts == {
        "clarity": "clear",
        "leakage": "not-found",
        "memorisation": "no-signs",
        "performance": "high",
    }
    assert said == {VOUCHES}
    assert not [one for one in found.findings if one.severity == "fail"]
