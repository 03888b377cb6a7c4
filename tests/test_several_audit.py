"""A whole audit of images that may have several labels each."""

import keras
import numpy as np
import pytest

from layerscope import Scope
from layerscope.audit.result import schema

L = keras.layers
NAMES = ("red", "green", "blue")
NO_LEAKS = "Leaks were not sought. Each image may have several labels"


def colours(activation="sigmoid") -> keras.Model:
    """Says of each of three colours whether an image is full of it."""
    image = keras.Input((12, 12, 3))
    x = L.Conv2D(3, 1, name="colours")(image)
    x = L.Dense(3, activation=activation, name="answer")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    model.get_layer("colours").set_weights([np.eye(3)[None, None], np.zeros(3)])
    model.get_layer("answer").set_weights([20 * np.eye(3), np.full(3, -10.0)])
    return model


def images(count=40, wrong=4, seed=0):
    random = np.random.default_rng(seed)
    truth = random.random((count, 3)) < 0.4
    truth[0] = (1, 1, 0)
    levels = truth.copy()
    levels[:wrong, 0] ^= True
    x = np.where(levels, 0.8, 0.2)[:, None, None] + 0.1 * random.normal(size=(count, 12, 12, 3))
    return x.astype(np.float32), truth.astype(np.int64)


@pytest.fixture(scope="module")
def scope():
    return Scope(colours(), classes=NAMES)


@pytest.mark.parametrize("panels", [None, ["performance", "leakage", "memorisation"]])
def test_an_audit_judges_each_decision_and_says_what_is_about_one_label_each(scope, panels):
    audit = scope.audit(images(), images(30, 0, 1), panels=panels)

    found = audit.result.performance
    assert found.several
    assert found.accuracy == pytest.approx(1 - 4 / 120)
    assert audit.result.train_performance.accuracy == 1
    assert {row.of.name for row in found.per_class} == set(NAMES)
    assert "what is commonest of each label" in audit.statement
    assert NO_LEAKS in audit.panels["leakage"].summary
    assert audit.panels["leakage"].verdict == "not-tested"
    assert audit.panels["memorisation"].verdict == "not-tested"
    assert "about one label per image" in audit.panels["memorisation"].summary
    assert not any(one.kind == "label-mismatch" for one in audit.findings)
    if panels is None:
        assert audit.panels["clarity"].summary
        assert (audit.profile.images["label"] == -1).all()
    page = audit._repr_html_()
    assert "Right decisions, one per image and label" in page
    assert "Of the images with a label, for how many it is said" in page
    assert audit.result.to_dict()["performance"]["test"]["several_labels"] is True
    assert "several_labels" in str(schema())


def test_a_stream_of_single_images_is_judged_alike(scope):
    x, y = images()
    pairs = ((x[at : at + 1], y[at : at + 1]) for at in range(len(x)))
    whole, stream = (
        scope.audit(given, panels=["performance"]).result.performance for given in ((x, y), pairs)
    )
    assert stream == whole


def test_a_stream_that_begins_with_one_label_each_is_judged_alike_beside_clarity(scope):
    x, y = images(200)
    order = np.argsort(y.sum(1) != 1, kind="stable")
    assert (y[order[:64]].sum(1) == 1).all()
    pairs = ((x[at : at + 1], y[at : at + 1]) for at in order)
    audit = scope.audit(pairs, panels=["performance", "clarity"])
    assert audit.result.performance.accuracy == pytest.approx(1 - 4 / 600)
    assert (audit.profile.images["label"] == -1).all()


def test_a_model_that_names_one_class_is_not_tested():
    audit = Scope(colours("softmax"), classes=NAMES).audit(images(), panels=["performance"])
    assert audit.panels["performance"].verdict == "not-tested"
    assert "the model names one class per image" in audit.panels["performance"].summary


def test_one_hot_rows_are_one_label_per_image():
    x, _ = images()
    audit = Scope(colours("softmax")).audit(
        (x, np.eye(3)[np.arange(40) % 3]), panels=["performance"]
    )
    assert not audit.result.performance.several
    assert audit.result.performance.chance == pytest.approx(1 / 3)
