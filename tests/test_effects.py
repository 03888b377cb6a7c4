"""What channels do to the answer, on nets where that is known."""

import keras
import numpy as np
import pytest
from keras import layers as L

from layerscope.effects import unused_late
from layerscope.errors import InputError, UnknownLayerError
from layerscope.scope import Scope

BRIGHT, DECIDES, EQUAL, DARK = 2, 3, 4, 5
IMAGES, SIDE = 12, 12


def planted() -> Scope:
    """Channel 3 alone makes class 1; 2 is bright and nothing reads it; 4 holds one value."""
    keras.utils.set_random_seed(3)
    i = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(6, 3, activation="relu", padding="same", name="maps")(i)
    y = L.Conv2D(6, 3, padding="same", name="next")(x)
    y = L.ReLU()(L.Add(name="sum")([x, y]))
    y = L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D()(y))
    model = keras.Model(i, y, name="planted")
    kernel, bias = model.get_layer("maps").get_weights()
    kernel[..., BRIGHT], bias[:2] = np.abs(kernel[..., BRIGHT]), 0.5
    kernel[..., DECIDES] = 0
    kernel[1, 1, 0, DECIDES] = 5
    kernel[..., EQUAL], bias[EQUAL] = 0, 0.5
    kernel[..., DARK], bias[DARK] = 0, -1
    model.get_layer("maps").set_weights([kernel, bias])
    kernel, bias = model.get_layer("next").get_weights()
    kernel *= 0.05
    kernel[:, :, BRIGHT], bias[BRIGHT] = 0, 9
    model.get_layer("next").set_weights([kernel, bias])
    kernel, bias = model.get_layer("head").get_weights()
    kernel *= 0.02
    kernel[BRIGHT], kernel[DECIDES] = 0, (0, 8, 0)
    model.get_layer("head").set_weights([kernel, bias])
    return Scope(model)


@pytest.fixture(scope="module")
def scope():
    return planted()


def images(count=IMAGES, seed=0):
    random = np.random.default_rng(seed)
    strength = np.linspace(0.05, 1, count)[:, None, None, None]
    return (random.uniform(0, 1, (count, SIDE, SIDE, 3)) * strength).astype(np.float32)


@pytest.fixture(scope="module")
def found(scope):
    return scope.effects((images(), np.ones(IMAGES, int)), "maps")


def slowly(scope, x, channel, classes):
    """The definition: one image at a time through two halves of the network in Keras."""
    model = scope.model
    first = keras.Model(model.input, model.get_layer("maps").output)
    maps = np.asarray(first(x), np.float64)
    level = maps[..., channel].mean()
    kernel, bias = (np.float64(w) for w in model.get_layer("head").get_weights())
    changes = []
    for one, picked in zip(maps.astype(np.float32), classes, strict=True):
        logits = []
        for held in (False, True):
            changed = one[None].copy()
            if held:
                changed[..., channel] = level
            later = np.maximum(changed + np.asarray(model.get_layer("next")(changed)), 0)
            logits.append(later.astype(np.float64).mean((1, 2)) @ kernel + bias)
        changes.append((logits[1] - logits[0])[0, picked])
    return np.array(changes)


@pytest.mark.parametrize("channel", range(6))
def test_each_change_is_that_of_the_definition(scope, found, channel):
    expected = slowly(scope, images(), channel, found.classes)
    np.testing.assert_allclose(found.changes[:, channel], expected, atol=2e-5)
    np.testing.assert_allclose(found.channels["change"][channel], expected.mean(), atol=2e-5)


def test_a_bright_channel_that_nothing_reads_has_no_effect_and_is_unused(found):
    rows = found.channels
    assert rows["activation"][BRIGHT] > rows["activation"].median()
    assert (found.changes[:, BRIGHT] == 0).all()
    assert list(rows["channel"][rows["unused"]]) == [BRIGHT]
    assert rows["lead_high"][BRIGHT] < 0


def test_the_last_layers_are_searched_quickly_with_the_same_result(scope, found):
    table = unused_late(scope._intake, [images()], None)
    assert list(table["layer"].unique()) == ["next", "maps"]
    late = table[table["layer"] == "maps"].reset_index(drop=True)
    for name in ("channel", "dead", "unused", "images"):
        np.testing.assert_array_equal(late[name], found.channels[name])
    assert unused_late(scope._intake, [images(7)], None).empty


def test_an_audit_says_which_late_channels_are_unused(scope, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    audited = scope.audit((images(), np.arange(IMAGES) % 3), panels=["focus"])
    said = [one for one in audited.findings if one.kind == "unused-channels"]
    assert [(one.layer, one.channels) for one in said] == [("next", (BRIGHT,)), ("maps", (BRIGHT,))]
    assert {one.panel for one in said} == {"focus"}
    assert "Unused channels: sought in next and maps alone." in audited.panels["focus"].not_tested


def test_a_channel_of_one_value_is_dead_and_not_unused(found):
    rows = found.channels
    assert list(rows["channel"][rows["dead"]]) == [EQUAL, DARK]
    assert not rows["unused"][[EQUAL, DARK]].any()
    assert (rows["size"][[EQUAL, DARK]] == 0).all()


def test_the_channel_that_decides_ranks_first_and_beats_random_ones(found):
    rows = found.channels
    assert rows["size"].idxmax() == DECIDES
    assert rows["lead_low"][DECIDES] > 0
    assert rows["percentile"][DECIDES] == 1
    assert rows["change_low"][DECIDES] < rows["change"][DECIDES] < rows["change_high"][DECIDES]


def test_accuracy_is_held_against_labels_and_the_class_that_suffers_is_named(scope, found):
    assert found.accuracy_of == "labels"
    before = np.asarray(scope.model(images())).argmax(1)
    assert found.accuracy == (before == 1).mean()
    lost = scope.effects((images(), before), "maps").channels
    kept = scope.effects(images(), "maps")
    assert kept.accuracy_of == "predictions"
    assert kept.accuracy == 1
    np.testing.assert_array_equal(kept.channels["accuracy_change"], lost["accuracy_change"])
    some = found.per_class.query("channel == @DECIDES")
    assert list(some["class"]) == [1]
    assert list(some["images"]) == [IMAGES]


def test_without_the_deciding_channel_the_class_it_makes_is_lost():
    scope = planted()
    kernel, bias = scope.model.get_layer("head").get_weights()
    x = images()
    logits = np.asarray(keras.Model(scope.model.input, scope.model.get_layer("maps").output)(x))[
        ..., DECIDES
    ].mean((1, 2))
    bias[:] = 0, -8 * np.median(logits), -20
    scope.model.get_layer("head").set_weights([kernel, bias])
    before = np.asarray(scope.model(x)).argmax(1)
    assert set(before) == {0, 1}
    row = scope.effects((x, before), "maps").channels.iloc[DECIDES]
    assert row["accuracy_change"] < -0.3
    assert row["worst_class"] in (0, 1)
    assert row["worst_class_change"] == -1


def test_the_class_stays_the_same_while_a_channel_is_held(scope, found):
    explicit = scope.effects(images(), "maps", list(map(int, found.classes)))
    np.testing.assert_array_equal(found.changes, explicit.changes)
    other = scope.effects(images(), "maps", 0)
    assert set(other.classes) == {0}
    assert np.abs(other.changes[:, DECIDES]).max() < np.abs(found.changes[:, DECIDES]).max()


@pytest.mark.parametrize("size", [1, 5, 40])
def test_the_batch_size_changes_rounding_at_most(scope, found, size):
    again = scope.effects((images(), np.ones(IMAGES, int)), "maps", batch_size=size)
    np.testing.assert_allclose(again.changes, found.changes, atol=1e-5)
    np.testing.assert_array_equal(again.channels["unused"], found.channels["unused"])


def test_few_channels_are_compared_with_random_others(scope, found):
    few = scope.effects(images(), "maps", channels=[DECIDES, BRIGHT])
    assert list(few.channels["channel"]) == [BRIGHT, DECIDES]
    assert few.compared == 5
    np.testing.assert_allclose(few.channels["change"][1], found.channels["change"][DECIDES])
    assert list(few.channels["unused"]) == [True, False]
    assert few.channels["lead"][1] > 0


def test_images_that_are_all_alike_make_no_channel_unused(scope):
    """Behind a mean over all places a channel held at its own mean changes nothing."""
    same = np.repeat(images(1, seed=5) + 0.5, 9, 0)
    rows = scope.effects(same, "sum").channels
    held = np.setdiff1d(np.arange(6), [BRIGHT])
    assert (rows["size"][held] < 1e-4).all()
    assert not rows["unused"][held].any()


def test_images_are_capped_and_spread(scope):
    some = scope.effects(images(30), "maps", most=4)
    assert some.ids == ("0", "10", "19", "29")
    assert some.given == 30
    assert np.isnan(some.channels["change_low"]).all()
    assert "4 images (of 30, evenly spread)" in repr(some)


def test_images_by_effect_stand_beside_those_by_activation(found):
    some = found.instances(DECIDES, 3)
    falls = [one.change for one in some.by_effect]
    assert falls == sorted(falls)
    assert falls[0] == found.changes[:, DECIDES].min() < 0
    values = [one.exemplar.score for one in some.by_activation]
    assert values == sorted(values, reverse=True)
    assert values[0] == found.maxima[:, DECIDES].max()
    best = int(found.maxima[:, DECIDES].argmax())
    row, column = found.places[best, DECIDES]
    assert images()[best, row, column, 0] == images()[best, :, :, 0].max()
    assert found.instances(BRIGHT).by_effect == ()
    assert len(found.instances(BRIGHT).by_activation) == 4


def test_the_page_names_the_strongest_channel_first(found, tmp_path):
    found.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (listed, strips) = found.document.sections[0].parts[-2:]
    assert listed.rows[0][0] == str(DECIDES)
    assert {row[-1] for row in listed.rows} == {"", "unused", "dead"}
    assert strips.rows[0][0] == f"Channel {DECIDES}"
    assert "most active" in page
    assert found._repr_html_().startswith("<iframe")


def test_what_cannot_be_asked_is_refused_in_words(scope, found):
    x = images()
    with pytest.raises(UnknownLayerError, match="map"):
        scope.effects(x, "mops")
    with pytest.raises(InputError, match="0 to 5, the channels of this layer"):
        scope.effects(x, "maps", channels=[6])
    with pytest.raises(InputError, match="0 to 5, the channels of this layer"):
        scope.effects(x, "maps", channels=[])
    with pytest.raises(InputError, match="One layer is needed"):
        scope.effects(x, "conv")
    with pytest.raises(InputError, match="number of images from 1"):
        scope.effects(x, "maps", most=0)
    with pytest.raises(InputError, match="one per image"):
        scope.effects(x, "maps", [0, 1])
    with pytest.raises(InputError, match="A channel that was measured"):
        found.instances(6)
    with pytest.raises(InputError, match="depend"):
        two_ways().effects(x, "aside", output="answer")


def two_ways() -> Scope:
    i = keras.Input((SIDE, SIDE, 3))
    aside = L.Conv2D(2, 3, name="aside")(i)
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3, name="way")(i))
    return Scope(keras.Model(i, {"answer": L.Dense(2)(x), "mask": aside}))
