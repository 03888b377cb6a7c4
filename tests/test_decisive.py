"""The maps that decide, on nets where they are known."""

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image

from layerscope.decisive import OF_EACH_LAYER
from layerscope.errors import InputError
from layerscope.model.kinship import kinship
from layerscope.scope import Scope

SIDE, DECIDES = 16, 2


def planted() -> Scope:
    """Map 2 of ``late``, made of map 1 of ``early``, is all that speaks for class 1."""
    keras.utils.set_random_seed(5)
    i = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(4, 3, activation="relu", padding="same", name="early")(i)
    x = L.Conv2D(5, 3, activation="relu", padding="same", name="late")(x)
    x = L.Dense(3, activation="softmax", name="head")(L.GlobalAveragePooling2D()(x))
    model = keras.Model(i, x, name="planted")
    kernel, bias = model.get_layer("early").get_weights()
    kernel[..., 1] = 0
    kernel[1, 1, 0, 1] = 3
    model.get_layer("early").set_weights([kernel, bias])
    kernel, bias = model.get_layer("late").get_weights()
    kernel[..., DECIDES] = 0
    kernel[1, 1, 1, DECIDES], bias[DECIDES] = 3, -3
    model.get_layer("late").set_weights([kernel, bias])
    kernel, bias = model.get_layer("head").get_weights()
    kernel *= 0.01
    kernel[DECIDES] = 0, 6, 0
    model.get_layer("head").set_weights([kernel, bias])
    return Scope(model)


@pytest.fixture(scope="module")
def scope():
    return planted()


def photos(count=1, seed=0):
    x = np.random.default_rng(seed).uniform(0, 0.2, (count, SIDE, SIDE, 3)).astype(np.float32)
    x[:, 4:8, 4:8, 0] = 0.9  # the rest is too dark to pass the threshold of the map that decides
    return x


def slowly(scope, x, layer, channel, level, index):
    """The definition: the model in two halves, in Keras."""
    model = scope.model
    maps = np.array(keras.Model(model.input, model.get_layer(layer).output)(x))
    logits = []
    for held in (False, True):
        changed = maps.copy()
        if held:
            changed[..., channel] = level
        late = changed if layer == "late" else np.asarray(model.get_layer("late")(changed))
        kernel, bias = model.get_layer("head").get_weights()
        logits.append(late.mean((1, 2)) @ kernel + bias)
    return float((logits[1] - logits[0])[0, index])


def test_the_map_that_decides_stands_first_and_what_makes_it_second(scope):
    (sheet,) = scope.decisive(photos(), 1).sheets
    first, second = sheet.deciders[:2]
    assert (first.layer.path, first.channel) in {("late", DECIDES), ("early", 1)}
    assert (second.layer.path, second.channel) in {("late", DECIDES), ("early", 1)}
    assert first.change < 0
    assert (sheet.index, sheet.target) == (1, "class 1")
    np.testing.assert_array_equal(first.values.shape, (SIDE, SIDE))


def test_each_change_is_that_of_the_definition_and_the_largest_come_first(scope):
    x = photos()
    (sheet,) = scope.decisive(x, 1).sheets
    for one in sheet.deciders:
        expected = slowly(scope, x, one.layer.path, one.channel, one.level, 1)
        np.testing.assert_allclose(one.change, expected, atol=1e-5)
    sizes = [abs(one.change) for one in sheet.deciders]
    assert sizes == sorted(sizes, reverse=True)
    assert sheet.measured == sheet.total == 9


def test_the_level_is_that_of_an_image_of_one_colour_or_of_reference_images(scope):
    x, others = photos(), photos(9, seed=7) * np.float32(0.6)
    late = keras.Model(scope.model.input, scope.model.get_layer("late").output)
    grey = np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    alone = {(d.layer.path, d.channel): d for d in scope.decisive(x, 1).sheets[0].deciders}
    expected = np.asarray(late(grey))[..., DECIDES].mean()
    np.testing.assert_allclose(alone["late", DECIDES].level, expected, atol=1e-6)
    found = scope.decisive(x, 1, reference=others)
    told = {(d.layer.path, d.channel): d for d in found.sheets[0].deciders}
    expected = np.asarray(late(others))[..., DECIDES].mean()
    np.testing.assert_allclose(told["late", DECIDES].level, expected, rtol=1e-5)
    assert found.level == "its mean over 9 images"
    assert scope.decisive(others, 1, measured=1).level == "its mean over 9 images"
    assert "one colour" in scope.decisive(x, 1).level


def test_only_the_most_promising_are_measured_and_some_of_every_layer(scope):
    (sheet,) = scope.decisive(photos(), 1, measured=5).sheets
    assert (sheet.measured, sheet.total) == (5, 9)
    assert sheet.deciders[0].channel in (1, DECIDES)
    layers = [one.layer.path for one in sheet.deciders]
    assert min(layers.count("early"), layers.count("late")) >= OF_EACH_LAYER
    said = scope.decisive(photos(), 1, measured=5).drawn[0].said
    assert any("5 of 9 maps were held" in text for text in said)
    (whole,) = scope.decisive(photos(), 1, 2).sheets
    assert len(whole.deciders) == 2
    assert scope.decisive(photos(), 1, layers="late").sheets[0].total == 5


def test_a_map_that_saturates_on_the_photo_is_found():
    """Its gradient is 0 there, and yet nothing counts as much."""
    keras.utils.set_random_seed(1)
    i = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(8, 1, activation="relu", name="maps")(i)
    y = L.ReLU(max_value=1.0)(L.Conv2D(8, 1, name="next", use_bias=False)(x))
    model = keras.Model(i, L.Dense(2, name="head")(L.GlobalAveragePooling2D()(y)))
    kernel, _ = model.get_layer("maps").get_weights()
    model.get_layer("maps").set_weights([np.abs(kernel) * 0.01, np.full(8, 0.01, np.float32)])
    kernel = np.eye(8, dtype=np.float32)[None, None]
    kernel[0, 0, 3, 3] = 200
    model.get_layer("next").set_weights([kernel])
    kernel, bias = model.get_layer("maps").get_weights()
    kernel[..., 3], bias[3] = 1, -1.5
    model.get_layer("maps").set_weights([kernel, bias])
    x = np.full((1, SIDE, SIDE, 3), 0.1, np.float32)
    x[:, ::2] = 0.8
    (sheet,) = Scope(model).decisive(x, 0, 1, measured=4).sheets
    assert sheet.deciders[0].channel == 3


def test_maps_that_are_passed_on_are_of_one_family():
    i = keras.Input((SIDE, SIDE, 3))
    a = L.Conv2D(4, 1, name="a")(i)
    b = L.DepthwiseConv2D(3, padding="same", name="b")(a)
    c = L.Conv2D(4, 1, name="c")(b)
    d = L.Add(name="d")([a, c])
    e = L.Conv2D(4, 1, activation="relu", name="e")(d)
    scope = Scope(keras.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(e))))
    taps = scope.traced.taps
    family = dict(zip([tap.path for tap in taps], kinship(scope.traced, taps), strict=True))
    assert len({family[name] for name in "abcd"}) == 1
    assert family["e"] != family["a"]
    (sheet,) = scope.decisive(photos(), 0, k=40).sheets
    kept = [(family[one.layer.path], one.channel) for one in sheet.deciders]
    assert len(kept) == len(set(kept)) <= 8
    assert any(one.also for one in sheet.deciders)


def test_sheets_are_saved_as_a_picture_or_a_page(scope, tmp_path):
    one = scope.decisive(photos(), 1)
    one.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.size[0] > 1000
    several = scope.decisive(photos(10), 1)
    assert len(several.sheets) == 8
    assert several.notes == ("8 of 10 photos have a sheet, evenly spread.",)
    several.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "8 of 10 photos" in page
    assert page.count("<figure") == 8
    assert several._repr_html_().startswith("<iframe")
    with pytest.raises(InputError, match=r"saved as \.png, those of several as one \.html"):
        several.save(tmp_path / "sheet.png")
    with pytest.raises(InputError, match=r"got 'sheet\.gif' for 1 photo"):
        one.save(tmp_path / "sheet.gif")


def test_a_net_that_ignores_the_photo_has_an_empty_sheet(tmp_path):
    scope = planted()
    head = scope.model.get_layer("head")
    head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    found = scope.decisive(photos(), 1)
    assert found.sheets[0].deciders == ()
    assert found.sheets[0].measured == 0
    found.save(tmp_path / "empty.png")
    assert "No map that was held changes" in found.drawn[0].said[0]


def test_numbers_and_layers_that_do_not_fit_are_refused(scope):
    with pytest.raises(InputError, match="k is a number of maps from 1; got 0"):
        scope.decisive(photos(), k=0)
    with pytest.raises(InputError, match="measured is a number of maps from 1"):
        scope.decisive(photos(), measured=True)
    with pytest.raises(InputError, match="class index counts from 0 to 2"):
        scope.decisive(photos(), 7)


def test_names_of_files_and_classes_are_only_names(tmp_path):
    hostile = "<b>x</b>"
    scope = planted()
    named = Scope(scope.model, "none", [hostile, "<script>", "c"])
    pixels = (photos()[0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "<i>.png")
    found = named.decisive(str(tmp_path / "<i>.png"), "<script>")
    found.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<i>.png" not in page
