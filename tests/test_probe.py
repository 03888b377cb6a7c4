"""Marks and regions tried by hand on models whose answer is known."""

import keras
import numpy as np
import pytest
from keras import layers as L
from PIL import Image, ImageDraw, ImageFont
from scipy.special import expit

import layerscope as ls
from layerscope import zoo
from layerscope.errors import InputError
from layerscope.images.resize import resize
from layerscope.probing import _third
from layerscope.testing.planted.glyphs import pseudo_glyphs
from layerscope.testing.planted.stamps import _patterns, stamp_net, stamped


def stamp(which):
    """A stamp as a picture, at half its opacity."""
    grey = np.repeat(np.uint8(255) * _patterns()[which][..., None].astype(np.uint8), 3, 2)
    return np.dstack([grey, np.full(grey.shape[:2], 230, np.uint8)])


@pytest.fixture(scope="module")
def plain():
    """Textures without a stamp, 0 to 1, and labels."""
    found = stamped(60, 3)
    images = found.images.copy()
    images[...] = np.random.default_rng(0).normal(0.5, 0.05, images.shape)
    return np.clip(images, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def scope():
    return ls.Scope(stamp_net(), classes=["ant", "bee", "cow", "dog"])


def test_the_stamp_of_a_class_pushes_that_class_and_its_controls_do_not(scope, plain):
    found = scope.probe(plain, stamp(2), at=(0.1, 0.6))
    row = found.classes.iloc[0]
    assert (row["class"], row["name"], bool(row["pushed"])) == (2, "cow", True)
    assert found.classes["pushed"].sum() == 1
    assert row["moved"] > 0.9
    assert row["block_moved"] < 0.4
    assert row["rise_low"] > 2 > row["block_rise_high"]
    assert row["shuffled_rise_lead_low"] > 0
    share = 100 * row["moved"]
    words = f"The mark moves {share:.1f}".removesuffix(".0")
    assert found.statement.startswith(words)
    assert "of 60 images to cow; a block of equal mean moves" in found.statement
    assert "cheat" not in found.statement
    assert found.scale == "logit"
    assert found.told.where == "6 × 6 pixels, upper left corner at x 3, y 19"


def test_the_numbers_are_those_of_the_model_itself(scope, plain):
    found = scope.probe(plain, stamp(2), at=(0.1, 0.6)).classes.sort_values("class")
    changed, mark = plain.copy(), stamp(2)[..., :1] / 255
    under = changed[:, 19:25, 3:9]
    under += 230 / 255 * (mark - under)
    before, after = (scope.model.predict(x, verbose=0) for x in (plain, changed))
    np.testing.assert_allclose(found["probability"], (after - before).mean(0), atol=1e-5)
    logits = np.log(after) - np.log(before)
    logits -= logits.mean(1, keepdims=True)  # a softmax knows logits up to a constant
    rise = found["rise"].to_numpy()
    np.testing.assert_allclose(rise - rise.mean(), logits.mean(0), atol=1e-3)
    free = before.argmax(1) != 2
    assert found["moved"].to_numpy()[2] == (after.argmax(1)[free] == 2).mean()


def test_a_mark_that_pushes_nothing_says_up_to_what_limit(scope, plain):
    found = scope.probe(plain, stamp(7), roam=True)
    assert not found.classes["pushed"].any()
    assert found.statement.startswith("The mark pushes none of 4 classes beyond what its controls")
    assert "Upper 95\u00a0% limit: no class rises by more than +" in found.statement
    assert "at a random place of each image" in found.told.where


def test_random_places_follow_the_seed(plain):
    model = stamp_net()
    first, again, other = (
        ls.Scope(model, seed=seed).probe(plain[:10], stamp(2), roam=True).shown
        for seed in (0, 0, 1)
    )
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, other, strict=True))
    one, two = (
        np.flatnonzero((part.rgb[:, 232:456] != part.rgb[:, :224]).any((0, 2)))
        for part in first[:2]
    )
    assert one[0] != two[0]  # each image has a place of its own


def test_a_region_of_a_class_pushes_that_class(scope, plain):
    images = plain.copy()
    labels = np.arange(60) % 4
    images[labels == 1, 10:16, 20:26] = _patterns()[1][..., None]
    region = (19 / 32, 9 / 32, 27 / 32, 17 / 32)
    found = scope.probe((images, labels), region=region, from_class="bee")
    assert found.statement.startswith("The region of class bee moves ")
    assert "of 45 images of other classes to bee; the same region of a third class moves" in (
        found.statement
    )
    assert found.told.where == "x 19 to 27, y 9 to 17 of 32 × 32 pixels, from 15 images"
    assert len(found.ids) == 45
    row = found.classes.iloc[0]
    assert (row["name"], bool(row["pushed"]), row["third_moved"] < 0.2) == ("bee", True, True)
    empty = scope.probe((images, labels), region=(0, 0, 0.2, 0.2), from_class=1)
    assert empty.statement.startswith("The region of class bee does not push bee beyond")


def test_the_control_of_a_region_comes_from_a_third_class_and_another_image():
    labels = np.array([0, 0, 2, 2, 3] * 4)
    found, lonely = _third(labels, np.random.default_rng(0))
    assert not lonely
    assert (labels[found] != labels).all()
    found, lonely = _third(np.zeros(9, int), np.random.default_rng(0))
    assert lonely
    assert (found != np.arange(9)).all()
    assert _third(np.zeros(1, int), np.random.default_rng(0))[0].tolist() == [0]


def test_too_few_images_give_means_and_no_statement(scope, plain):
    found = scope.probe(plain[:7], stamp(2))
    assert "7 images: too few for a statement, which takes 8 photos" in found.statement
    assert np.isnan(found.classes["rise_low"]).all()
    assert np.isfinite(found.classes["rise"]).all()


def test_the_images_that_are_used_are_spread_and_said(scope, plain):
    found = scope.probe(plain, stamp(2), most=10)
    assert len(found.ids) == 10
    assert found.ids[-1] == "59"
    assert found.notes == (
        "10 of 60 such images were used, evenly spread.",
        "Values of 0 and 1 were taken for black and white.",
    )


@pytest.fixture(scope="module")
def pair():
    """Bright means the second class; the output is its probability."""
    image = keras.Input((8, 8, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(1, 1, name="grey")(image))
    model = keras.Model(image, L.Dense(1, "sigmoid", name="out")(x))
    model.get_layer("grey").set_weights([np.full((1, 1, 3, 1), 1 / 3), np.zeros(1)])
    model.get_layer("out").set_weights([np.full((1, 1), 20.0), np.array([-8.0])])
    return model


def test_one_sigmoid_output_is_two_classes(pair):
    random = np.random.default_rng(0)
    images = np.clip(random.normal(0.3, 0.05, (30, 8, 8, 3)), 0, 1).astype(np.float32)
    white = np.full((4, 8, 3), 255, np.uint8)
    found = ls.Scope(pair, classes=["dark", "bright"]).probe(images, white, at=(0, 0))
    table = found.classes.set_index("name")
    changed = images.copy()
    changed[:, :4] = 1
    rise = 20 * (changed.mean((1, 2, 3)) - images.mean((1, 2, 3)))
    assert table.loc["bright", "rise"] == pytest.approx(rise.mean(), rel=1e-4)
    assert table.loc["dark", "rise"] == pytest.approx(-rise.mean(), rel=1e-4)
    moved = expit(20 * changed.mean((1, 2, 3)) - 8) > 0.5
    assert table.loc["bright", "moved"] == moved.mean() == 1
    # A block of the mean colour of a white mark is that mark.
    assert table.loc["bright", "block_rise"] == table.loc["bright", "rise"]
    assert not table["pushed"].any()
    assert "pushes none of 2 classes" in found.statement


def test_a_region_with_two_classes_has_its_own_class_as_control(pair):
    random = np.random.default_rng(0)
    images = np.clip(random.normal(0.3, 0.05, (40, 8, 8, 3)), 0, 1).astype(np.float32)
    images[20:, :, :4] += 0.5
    labels = np.repeat([0, 1], 20)
    scope = ls.Scope(pair, classes=["dark", "bright"])
    found = scope.probe((images, labels), region=(0, 0, 0.5, 1), from_class="bright")
    assert found.told.controls == (("third", "the same region of the same class"),)
    assert found.statement.startswith("The region of class bright moves 100")


def test_a_mark_is_pasted_before_preprocessing(pair, tmp_path):
    random = np.random.default_rng(0)
    for at in range(9):
        Image.fromarray(random.integers(40, 90, (8, 8, 3), np.uint8)).save(tmp_path / f"{at}.png")
    rgba = np.full((2, 2, 4), 255, np.uint8)
    rgba[..., 3] = 51  # a fifth
    found = ls.Scope(pair, preprocess="0..1").probe(tmp_path, rgba, at=(1, 1))
    table = found.classes.set_index("class")
    pixels = np.stack([np.asarray(Image.open(tmp_path / f"{at}.png")) for at in range(9)]) / 255
    corner = pixels[:, -2:, -2:]
    rise = 20 * ((1 - corner) / 5).sum((1, 2, 3)) / pixels[0].size
    assert table.loc[1, "rise"] == pytest.approx(rise.mean(), rel=1e-4)


def test_names_of_classes_and_files_cannot_harm_the_page(plain, tmp_path):
    names = ["<script>alert(1)</script>", "a\nb", "{curly} %s", "\u202egod"]
    found = ls.Scope(stamp_net(), classes=names).probe(plain[:12], stamp(2))
    files = found.save(tmp_path / "out")
    assert sorted(p.name for p in files) == [
        "index.html",
        *[f"probe-{n:02}.png" for n in range(1, 7)],
    ]
    page = files[0].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{curly} %s" in page
    assert "\u202e" not in page
    assert found.statement.split(";")[0].split(" (")[0] in page.replace("&#39;", "'")
    assert "iframe" in found._repr_html_()
    assert "Probe of stamps: The mark" in repr(found)
    with pytest.raises(InputError, match=r"a folder or as one \.html"):
        found.save(tmp_path / "one.png")
    assert found.save(tmp_path / "page.html") == [tmp_path / "page.html"]


def test_what_cannot_be_tried_is_refused(scope, plain, pair):
    mark = stamp(2)
    with pytest.raises(InputError, match=r"either a mark .* or a region.*; got neither"):
        scope.probe(plain)
    with pytest.raises(InputError, match="got both"):
        scope.probe(plain, mark, region=(0, 0, 1, 1), from_class=0)
    with pytest.raises(InputError, match="got only --region"):
        scope.probe(plain, region=(0, 0, 1, 1))
    with pytest.raises(InputError, match="takes labelled images"):
        scope.probe(plain, region=(0, 0, 1, 1), from_class=0)
    with pytest.raises(InputError, match=r"called 'bea'\. Near: bee"):
        scope.probe((plain, np.arange(60) % 4), region=(0, 0, 1, 1), from_class="bea")
    with pytest.raises(InputError, match="there are 0 of that class and 60 of others"):
        scope.probe((plain, np.zeros(60, int)), region=(0, 0, 1, 1), from_class=1)
    with pytest.raises(InputError, match="33 x 2 pixels do not fit on 32 x 32"):
        scope.probe(plain, np.zeros((2, 33, 3), np.uint8))
    with pytest.raises(InputError, match="most is a number of images"):
        scope.probe(plain, mark, most=0)
    image = keras.Input((8, 8, 3))
    number = L.Dense(1)(L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(image)))
    regression = ls.Scope(keras.Model(image, number))
    with pytest.raises(InputError, match="which class is pushed"):
        regression.probe(np.zeros((9, 8, 8, 3), np.float32), np.zeros((2, 2, 3), np.uint8))


# The known shortcut of ImageNet


@pytest.fixture(scope="module")
def imagenet():
    """Thirty views of the ten photos: the middle, and two corners."""
    views = []
    for name in zoo.PHOTOS:
        photo = zoo.photo(name)
        side = min(photo.shape[:2]) * 3 // 4
        corners = (photo[:side, :side], photo[-side:, -side:])
        views += [resize(photo, (224, 224), "crop"), *[resize(c, (224, 224)) for c in corners]]
    model = zoo.efficientnet_lite0()
    return ls.Scope(model, zoo.PREPROCESSING, "imagenet"), np.stack(views)


def letters():
    """Latin letters of the height of the glyphs, as white and as wide."""
    from font_roboto import RobotoBold

    font = ImageFont.truetype(RobotoBold, 40)
    cover = Image.new("L", (216, 36))
    ImageDraw.Draw(cover).text((108, 18), "ABCABCABC", 255, font, "mm")
    return np.dstack([np.full((36, 216, 3), 255, np.uint8), np.asarray(cover) // 2])


def test_drawn_glyphs_raise_carton_more_than_any_class_and_letters_do_not(imagenet):
    scope, views = imagenet
    found = scope.probe(views, pseudo_glyphs(), at=(0.02, 0.42))
    row = found.classes.iloc[0]
    assert (len(found.ids), len(found.classes)) == (30, 1000)
    assert (row["class"], row["name"]) == (478, "carton")
    assert row["pushed"]
    assert row["rise"] > 1
    assert max(row["block_rise"], row["shuffled_rise"]) < row["rise"] / 2
    assert found.statement.startswith("The mark raises the logit of carton by +")
    latin = scope.probe(views, letters(), at=(0.02, 0.42)).classes
    assert latin.iloc[0]["class"] != 478
