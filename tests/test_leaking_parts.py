"""Parts of the search for leaks, each on something whose answer is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from layerscope.audit.leakage import ClassLeak, WholeLeak, class_verdict
from layerscope.errors import InputError
from layerscope.images import read
from layerscope.interventions.jpeg import QUALITIES, reencoded
from layerscope.interventions.transplant import Shift
from layerscope.leakage.properties import Property
from layerscope.leaking import regions, splits, whole
from layerscope.leaking.footprints import MOST, footprints
from layerscope.leaking.scene import Scene, drawn_recipients
from layerscope.leaking.scene import scene as scene_of
from layerscope.leaking.search import search
from layerscope.vocabulary import Class, Layer

SIDE = 64


def textures(count: int, seed: int = 0, side: int = SIDE):
    return np.random.default_rng(seed).uniform(50, 200, (count, side, side, 3)).astype(np.float32)


def seen_with(predict, images, labels, **more) -> Scene:
    names = tuple(f"{at}.png" for at in range(len(images)))
    return Scene(images, labels, predict(images), names, ("a", "b", "c"), predict, 0, **more)


def told(rows, label):
    """Probabilities: sure of each label, moved to class 0 as far as ``rows`` say."""
    found = np.full((len(rows), 3), 0.01, np.float32)
    found[np.arange(len(rows)), label] = 0.98
    found *= 1 - rows[:, None]
    found[:, 0] += rows
    return found


def nearest(some, images):
    """Which image each was made from."""
    flat, known = (x.reshape(len(x), -1) for x in (some, images))
    return ((known**2).sum(1) - 2 * flat @ known.T).argmin(1)


def layer(path: str, field: int = 9, side: int = 16) -> Layer:
    return Layer(path, "conv", (side, side, 2), 4.0, field, 0.2, False, path)


def profile_of(labels, **lists):
    exemplars = {
        path: {"top_image": images, "top_row": rows, "top_column": columns}
        for path, (images, rows, columns) in lists.items()
    }
    return SimpleNamespace(images=pd.DataFrame({"label": labels}), exemplars=exemplars)


def test_a_channel_that_one_class_excites_at_one_place_says_where():
    labels = np.repeat([0, 1, 2], 10)
    own, mixed = np.arange(10, 18), np.arange(0, 24, 3)
    images = np.column_stack([own, mixed])
    at = np.full((8, 2), 4)
    (area,) = footprints(profile_of(labels, conv=(images, at, at + 6)), [layer("conv")])[1]
    x0, y0, x1, y1 = area
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((10.5 / 16, 4.5 / 16))
    assert x1 - x0 == pytest.approx(9 / 64)


def test_channels_of_several_classes_places_or_large_fields_say_nothing():
    labels = np.repeat([0, 1], 10)
    mixed, own = np.arange(1, 17, 2)[:, None], np.arange(8)[:, None]
    still, moving = np.full((8, 1), 4), np.arange(0, 16, 2)[:, None]
    found = profile_of(
        labels, a=(mixed, still, still), b=(own, moving, still), c=(own, still, still)
    )
    assert footprints(found, [layer("a"), layer("b"), layer("c", field=40)]) == {}


def test_few_places_are_named_and_none_twice():
    labels = np.zeros(8, int)
    images = np.repeat(np.arange(8)[:, None], 6, 1)
    rows = np.repeat([[2, 2, 2, 8, 13, 13]], 8, 0)
    columns = np.repeat([[2, 3, 13, 8, 2, 13]], 8, 0)
    areas = footprints(profile_of(labels, conv=(images, rows, columns)), [layer("conv")])[0]
    assert len(areas) == MOST
    assert len({(round(8 * a[0]), round(8 * a[1])) for a in areas}) == MOST


def test_the_finest_window_that_holds_the_decisive_spot_is_found():
    """Class 0 has a white spot of 6 pixels; whoever gets it is called class 0."""
    images, labels = textures(90), np.arange(90) % 3
    images[labels == 0, 40:46, 8:14] = 255

    def predict(some):
        spots = (some[:, 40:46, 8:14].mean((1, 2, 3)) > 250).astype(np.float32)
        return told(0.7 * spots, nearest(some, images) % 3)

    seen = seen_with(predict, images, labels)
    others = np.flatnonzero(seen.right & (labels != 0))
    leak = regions.scanned(seen, ClassLeak(Class(0, "a"), 30, 30), others)
    x0, y0, x1, y1 = np.array(leak.region) * SIDE
    assert max(x0 - 8, 14 - x1, y0 - 40, 46 - y1) <= 0
    assert x1 - x0 < SIDE / 3 - 4
    assert leak.region_effect.value == pytest.approx(0.7 * 0.99, abs=0.02)


def test_saving_at_a_lower_quality_loses_more_and_grey_stays_grey():
    photo = textures(1)[0]
    losses = [np.abs(reencoded(photo, quality) - photo).mean() for quality in QUALITIES]
    assert losses == sorted(losses)
    assert reencoded(photo[..., :1], 75).shape == (SIDE, SIDE, 1)


def test_a_class_told_by_its_jpegs_is_tried_with_files_saved_again():
    """The model takes images without fine detail for class 0."""
    images, labels = textures(90), np.arange(90) % 3

    def roughness(some):
        return np.abs(np.diff(some, axis=1)).mean((1, 2, 3))

    def recode(places, quality):
        return np.stack([reencoded(images[at], quality) for at in places])

    line = np.mean([roughness(recode(np.arange(9), quality)) for quality in (40, 75)])

    def predict(some):
        smooth = (roughness(some) < line).astype(np.float32)
        return told(smooth, nearest(some, images) % 3)

    found = Property("jpeg", 0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3, 90)
    seen = seen_with(predict, images, labels, recode=recode)
    (leak,) = whole.tried(seen, [found], lambda _: True)
    assert leak.effect.value > 0.4
    (without,) = whole.tried(seen_with(predict, images, labels), [found], lambda _: True)
    assert without.effect is None


@pytest.mark.parametrize("side", [64, 63])
def test_saving_as_jpeg_is_announced_and_where_images_are_too_small_it_is_said(monkeypatch, side):
    images, labels = textures(90, side=side), np.arange(90) % 3
    passed = []

    def predict(some):
        passed.append(len(some))
        return told(np.zeros(len(some), np.float32), nearest(some, images) % 3)

    found = [
        Property(name, 0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3, 90)
        for name in ("jpeg", "sharpness", "spectrum", "size")
    ]
    seen = seen_with(predict, images, labels, recode=lambda places, quality: images[places])
    passed.clear()
    whole.tried(seen, found, lambda _: True)
    assert whole.needed(seen, found) == sum(passed)
    monkeypatch.setattr(whole, "telling", lambda *_: found)
    heard = []
    leaks = search(seen, tell=lambda p: heard.append(p.stage), trials=0)
    stage = next(one for one in heard if one.startswith("leaks in the answers"))
    assert leaks.passes <= int(stage.split("up to ")[1].split(" image")[0].replace(",", ""))
    small = "it needs images of 64 pixels and more, and the shorter side of these has 63"
    assert any(small in one for one in leaks.open_questions) == (side == 63)


def test_two_properties_of_one_change_are_tried_once_and_a_budget_is_kept():
    images, labels = textures(60), np.arange(60) % 3
    passes = []

    def predict(some):
        passes.append(len(some))
        return told(np.zeros(len(some), np.float32), np.arange(len(some)) % 3)

    seen = seen_with(predict, images, labels)
    both = [
        Property(name, 0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.3, 60)
        for name in ("spectrum", "sharpness")
    ]
    passes.clear()
    first, second = whole.tried(seen, both, lambda _: True)
    assert first.effect is second.effect
    assert sum(passes) == 2 * first.recipients
    assert all(one.effect is None for one in whole.tried(seen, both, lambda _: False))


@pytest.mark.parametrize("marked", [0, 1])
def test_between_two_classes_a_look_is_one_finding_of_the_class_that_has_it(marked):
    """The marked class is bright, and has a shape (its upper half) that says a little as well."""
    labels = np.arange(60) % 2
    images = textures(60) / 2
    images[labels == marked] += 90
    images[labels == marked, : SIDE // 2] += 20

    def predict(some):
        bright = some.mean((1, 2, 3)) > 110
        shaped = some[:, : SIDE // 2].mean((1, 2, 3)) > some.mean((1, 2, 3)) + 4
        likely = np.where(bright, 0.98, np.where(shaped, 0.7, 0.3)).astype(np.float32)
        return np.stack([likely, 1 - likely][:: 1 - 2 * marked], 1)

    seen = seen_with(predict, images, labels)
    given = [Property("contrast", at, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 60) for at in (1, 0)]
    (leak,) = whole.tried(seen, given, lambda _: True)
    assert leak.of.index == marked
    assert leak.effect.value == pytest.approx(0.68, abs=0.02)


def test_between_two_classes_the_lack_of_the_others_mark_is_no_look(monkeypatch):
    """A mark says class 0, and its absence, as an outer ring without it, class 1."""
    images, labels = textures(80), np.arange(80) % 2
    images[labels == 0, :10, :10] = np.random.default_rng(1).uniform(0, 255, (10, 10, 3))

    def predict(some):
        seen = np.abs(some[:, :10, :10] - images[0, :10, :10]).mean((1, 2, 3)) < 12
        likely = np.where(seen, 0.98, 0.02).astype(np.float32)
        return np.stack([likely, 1 - likely], 1)

    seen = seen_with(predict, images, labels)
    look = Property("ring-2", 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 80)
    used = Shift(0.6, 0.5, 0.7, 0.001)
    tried = [WholeLeak(Class(at, ""), replace(look, label=at), used, 0.001, 60) for at in (0, 1)]
    monkeypatch.setattr(whole, "tried", lambda *_: tried)
    leaks = search(seen, trials=0)
    assert class_verdict(leaks.classes[0]) == "confirmed-used"
    assert [one.of.index for one in leaks.whole] == [0]


def test_only_rightly_classified_images_of_classes_without_it_are_given_anything():
    images, labels = textures(60, side=16), np.arange(60) % 3
    answered = np.where(np.arange(60) < 30, labels, 0)  # in the second half all are called class 0
    seen = seen_with(lambda _: told(np.zeros(60, np.float32), answered), images, labels)
    found = drawn_recipients(seen, [0, 1], 8, np.random.default_rng(0))
    assert set(found) < set(range(2, 30, 3))
    assert (len(found), found.tolist()) == (8, sorted(found))
    assert len(drawn_recipients(seen, [0, 1], 50, np.random.default_rng(0))) == 10


def test_pictures_in_both_sets_are_named_with_their_set(tmp_path):
    images = textures(20, side=24)
    for part, rows in (("test", images[:12]), ("train", images[10:])):
        (tmp_path / part / "a").mkdir(parents=True)
        for at, pixels in enumerate(rows):
            saved = Image.fromarray(pixels.astype(np.uint8))
            saved.save(tmp_path / part / "a" / f"{at}.png")
    sources = [read(tmp_path / part, size=(24, 24)) for part in ("test", "train")]
    found, left = splits.repeated(*sources)
    assert found.across == "splits"
    assert found.groups == (
        ("test: a/10.png", "train: a/0.png"), ("test: a/11.png", "train: a/1.png"),
    )  # fmt: skip
    assert left == ""


def test_crops_of_one_photo_count_as_one_image():
    images, labels = textures(40, side=32), np.arange(40) % 2

    def predict(some):
        return told(np.zeros(len(some), np.float32), np.zeros(len(some), int))

    photos = np.arange(40) // 8 * 2 + labels
    with pytest.raises(InputError, match="at least two classes of 8 images"):
        search(seen_with(predict, images, labels, photos=photos), trials=0)
    photos = np.arange(40) // 4 * 2 + labels
    leaks = search(seen_with(predict, images, labels, photos=photos), trials=0)
    assert [one.images for one in leaks.classes] == [10, 10]
    assert leaks.open_questions == ("20 crops of photos that another image stands for.",)


def test_images_without_any_label_are_refused():
    images = textures(4, side=16)
    source = read(images, size=(16, 16), outputs=3)
    with pytest.raises(InputError, match="none of these has a label"):
        scene_of(source, lambda x: ({}, None), np.ones((4, 3)), np.full(4, -1), ("a",), 8, 0)


def test_what_it_will_take_is_said_beforehand():
    images, labels = textures(60, side=32), np.arange(60) % 2

    def predict(some):
        return told(np.zeros(len(some), np.float32), np.arange(len(some)) % 2)

    heard = []
    leaks = search(
        seen_with(predict, images, labels), tell=lambda p: heard.append(p.stage), trials=0
    )
    stage = next(one for one in heard if one.startswith("leaks in the answers"))
    said = int(stage.split("up to ")[1].split(" image")[0].replace(",", ""))
    assert leaks.passes <= said
    assert "about 1 s" in stage
