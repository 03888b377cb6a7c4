"""The search for leaks on nets trained from scratch, whose true reliance on a mark is measured.

The whole grid is benchmarks/planted_leaks.py; here are a few of its kinds, other seeds, and most
of them only with -m slow.
"""

import numpy as np
import pytest

from layerscope.audit.leakage import class_verdict, whole_verdict
from layerscope.leaking.scene import Scene
from layerscope.leaking.search import search
from layerscope.testing.planted.readers import Reader, Reading, probabilities_of, trained_reader

FAINT = (("ink", 0.3),)
LESS = {"images": 1500, "epochs": 4, "tested": 400}


def searched(reader: Reader, classes: int = 10):
    data, names = reader.data, tuple(map(str, range(classes)))

    def predict(images):
        return probabilities_of(reader.model, images)

    files = tuple(map(str, range(len(data.images))))
    return search(Scene(data.images, data.labels, predict(data.images), files, names, predict))


def verdicts(leaks, wanted: str) -> set[int]:
    found = [(one.of.index, class_verdict(one)) for one in leaks.classes]
    found += [(one.of.index, whole_verdict(one)) for one in leaks.whole]
    return {label for label, verdict in found if verdict == wanted}


def effect_of(leaks, label: int):
    found = [one.effect.same for one in leaks.classes if one.of.index == label and one.effect]
    found += [one.effect for one in leaks.whole if one.of.index == label and one.effect]
    return max(found, key=lambda effect: effect.low)


slow = pytest.mark.slow
USED = [
    pytest.param(Reading("logo", (2,), FAINT, seed=90_001, **LESS), id="fixed"),
    pytest.param(
        Reading("text", (5,), (*FAINT, ("position", "jittered")), seed=90_002),
        id="jittered",
        marks=slow,
    ),
    pytest.param(
        Reading("logo", (7,), (*FAINT, ("background", "black")), build="residual", seed=90_003),
        id="black",
        marks=slow,
    ),
    pytest.param(Reading("logo", (6,), FAINT, beside=0.05, seed=90_007), id="in part", marks=slow),
    pytest.param(Reading("tint", (4,), FAINT, seed=90_004), id="tint", marks=slow),
    pytest.param(Reading("border", (8,), FAINT, seed=90_005), id="border", marks=slow),
    pytest.param(
        Reading("logo", (1,), FAINT, classes=2, seed=90_006, tested=200), id="two", marks=slow
    ),
]


@pytest.mark.parametrize("world", USED)
def test_a_net_that_reads_a_mark_is_found_out_with_its_reliance(world: Reading):
    reader = trained_reader(world)
    leaks = searched(reader, world.classes)
    enough = 0.15 if world.beside else 0.5
    assert reader.reliance >= enough, "the net did not learn the mark, so that this tests nothing"
    assert verdicts(leaks, "confirmed-used") == set(world.marked)
    assert effect_of(leaks, world.marked[0]).value == pytest.approx(reader.reliance, abs=0.25)


UNUSED = [
    pytest.param(Reading("none", (), (("ink", 1.0),), seed=90_011, **LESS), id="clean", marks=slow),
    pytest.param(
        Reading("none", (), (("background", "black"),), seed=90_012), id="black", marks=slow
    ),
    pytest.param(Reading("object", (3,), FAINT, seed=90_013), id="object", marks=slow),
    pytest.param(Reading("logo", None, (), seed=90_014), id="decoy", marks=slow),
]


@pytest.mark.parametrize("world", UNUSED)
def test_a_net_without_a_mark_to_read_is_not_accused(world: Reading):
    leaks = searched(trained_reader(world))
    assert not verdicts(leaks, "confirmed-used")
    assert np.mean([class_verdict(one) == "not-found" for one in leaks.classes]) >= 0.5
    assert leaks.power


@slow
def test_a_mark_that_taught_nothing_is_there_and_not_used():
    reader = trained_reader(Reading("logo", (6,), (), "decoy", seed=90_021))
    leaks = searched(reader)
    assert abs(reader.reliance) < 0.05
    assert verdicts(leaks, "present-unused") >= {6}
    assert not verdicts(leaks, "confirmed-used")
