"""The focus panel: what follows from the gate, and which images are shown."""

import keras
import numpy as np
import pytest

from layerscope.audit.focus import Looked, cases, focus_panel, unreliable_heatmap
from layerscope.document.report import report
from layerscope.focus.gate import Gain, Gate
from layerscope.render.html import html
from layerscope.scope import Scope
from layerscope.testing import planted


def looked(verdict="believable", edges=(0.3, 0.2, 0.4), **more) -> Looked:
    gains = (
        Gain("random", 0.5, 0.4, 0.6),
        Gain("sobel", *edges),
        Gain("centre", 0.4, 0.3, 0.5),
    )
    return Looked(Gate(verdict, "", gains, 32), "grad-cam", "last", **more)


def test_a_method_that_beats_all_is_believable_and_no_finding():
    panel = focus_panel(looked())
    assert panel.verdict == "believable"
    assert "grad-cam at last" in panel.summary
    assert "32 images" in panel.summary
    assert unreliable_heatmap(looked()) == []


def test_one_that_does_not_beat_edges_is_a_finding_with_its_interval():
    bad = looked("unreliable", (0.02, -0.1, 0.1))
    panel, (found,) = focus_panel(bad), unreliable_heatmap(bad)
    assert panel.verdict == "unreliable"
    assert "the edges of the image" in panel.summary
    assert "a spot" not in panel.summary
    assert (found.id, found.severity, found.panel) == ("unreliable-heatmap/last", "warn", "focus")
    assert found.effect.value == 0.02
    assert found.effect.ci95 == (-0.1, 0.1)
    assert found.images == 32
    assert "0.02 (95 % CI -0.10 to 0.10)" in found.message


def test_few_images_are_not_tested_with_the_reason():
    few = Looked(Gate("not-tested", "it takes 8 different images"), "grad-cam", "last")
    panel = focus_panel(few)
    assert panel.verdict == "not-tested"
    assert "it takes 8 different images" in panel.not_tested[0]
    assert unreliable_heatmap(few) == []
    assert focus_panel(None, "no map.").not_tested == ("No heatmap was made: no map.",)
    assert unreliable_heatmap(None) == []


def test_other_methods_and_a_missing_twin_are_named_as_not_tested():
    panel = focus_panel(looked(no_twin="it computes the same"))
    assert "only grad-cam was tested" in panel.not_tested[0]
    assert "it computes the same" in panel.not_tested[1]


LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1, -1])
ANSWERS = np.array([0, 0, 0, 1, 1, 0, 0, 0, 1])


def test_hits_and_misses_of_each_class_are_shown_the_worst_class_first():
    assert cases(ANSWERS, LABELS, np.ones(9, bool), 16) == [3, 4, 5, 6, 0, 1]
    assert cases(ANSWERS, LABELS, np.ones(9, bool), 3) == [3, 4, 5]


def test_an_image_that_was_not_read_is_not_shown():
    read = np.ones(9, bool)
    read[[3, 5]] = False
    assert cases(ANSWERS, LABELS, read, 16) == [4, 6, 7, 0, 1]


@pytest.mark.parametrize("most", [1, 4, 20])
def test_without_labels_an_even_spread_is_shown(most):
    read = np.arange(10) != 2
    found = cases(np.zeros(10, int), np.full(10, -1), read, most)
    assert len(found) == min(most, 9)
    assert found[0] == 0
    assert 2 not in found
    assert len(set(found)) == len(found)


def test_the_report_shows_right_and_wrong_answers_with_their_controls(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    data = planted.stamped(24, 5)
    wrong = data.labels.copy()
    wrong[:3] = (wrong[:3] + 1) % 4
    np.savez(tmp_path / "x.npz", x=data.images, y=wrong)
    found = Scope(planted.stamp_net(), "none").audit(tmp_path / "x.npz", panels=["focus"])
    assert found.panels["focus"].verdict in ("believable", "unreliable")
    assert len(found.looks.heat) == len(found.looks.labels) <= 16
    page = html(report(found.result, looks=found.looks))
    assert page.count("answered wrong") == 3
    assert page.count("answered right") == len(found.looks.labels) - 3
    assert "The same on an untrained twin" in page
    assert "A narrow focus alone is no evidence of overfitting" in page


def test_a_model_without_maps_has_no_heatmaps_and_says_why(tmp_path):
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(image))
    np.savez(tmp_path / "x.npz", x=np.ones((9, 4, 4, 1)), y=np.arange(9) % 2)
    scope = Scope(keras.Model(image, flat), "none")
    found = scope.audit(tmp_path / "x.npz", panels=["focus", "performance"])
    assert found.panels["focus"].verdict == "not-tested"
    assert "has none" in found.panels["focus"].summary
    assert found.looks.heat is None
    assert "No heatmap was made" in html(report(found.result, looks=found.looks))
