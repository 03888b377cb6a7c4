"""Properties of whole images and files that give a class away."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from layerscope.audit.leak_findings import WORDS
from layerscope.errors import InputError
from layerscope.leakage.properties import (
    NAMES,
    _areas,
    file_properties,
    frame,
    image_properties,
    telling_properties,
)
from layerscope.testing.planted import digits
from layerscope.testing.planted.marks import marked_images


def judged(kind, opacity=1.0):
    drawn = digits(400)
    kept = drawn.labels < 4
    truth = marked_images(drawn.images[kept], drawn.labels[kept], kind, (2,), opacity=opacity)
    found = telling_properties(image_properties(truth.images), truth.labels)
    return {(one.name, one.label): one for one in found}


def telling(images, labels, name):
    return telling_properties({name: image_properties(images)[name]}, labels)


def at_the_edges(kind, name):
    drawn = digits(400)
    kept = drawn.labels < 4
    truth = marked_images(drawn.images[kept], drawn.labels[kept], kind, (2,))
    found = telling(frame(truth.images), truth.labels, name)
    return [one for one in found if one.label == 2]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("tint", {"colour", "contrast"}), ("blur", {"spectrum", "sharpness"}), ("border", {"ring-1"})],
)
def test_a_planted_change_is_told_by_its_property_for_its_class_alone(kind, names):
    found = judged(kind)
    for name in names:
        assert found[name, 2].tells
        assert found[name, 2].low <= found[name, 2].auc <= found[name, 2].high
        assert found[name, 0].auc < found[name, 2].auc


@pytest.mark.parametrize(("kind", "name"), [("tint", "contrast"), ("blur", "spectrum")])
def test_a_change_of_the_whole_image_tells_at_the_edges_as_well(kind, name):
    (found,) = at_the_edges(kind, name)
    assert found.auc >= 0.9


def test_what_lies_in_the_middle_does_not_tell_at_the_edges():
    random = np.random.default_rng(4)
    images = random.uniform(0, 60, (120, 32, 40, 3)).astype(np.float32)
    labels = np.arange(120) % 4
    images[labels == 2, 10:22, 12:26, 0] += 150
    assert {one.label for one in telling(images, labels, "contrast") if one.tells} == {2}
    assert all(one.auc < 0.8 for one in telling(frame(images), labels, "contrast"))
    assert frame(images).shape == (120, 16, 32, 3)


def test_every_property_has_its_name_and_its_words():
    made = {*image_properties(np.zeros((1, 8, 8, 3), np.float32)), *file_properties(["none.png"])}
    assert made == set(NAMES) == set(WORDS)


def test_colours_that_say_nothing_stay_near_chance_and_at_the_majority():
    found = judged("none")
    assert all(found["colour", label].auc < 0.75 for label in range(4))
    one = found["colour", 0]
    assert one.accuracy_low < one.majority + 0.1
    drawn = digits(400).labels
    assert one.majority == pytest.approx(np.bincount(drawn[drawn < 4]).max() / one.images)


def test_the_area_is_that_of_the_roc_curve_for_every_resample():
    random = np.random.default_rng(0)
    scores, own = random.integers(0, 6, 40).astype(float), random.random(40) < 0.3
    weights = random.multinomial(40, np.full(40, 1 / 40), size=5)
    value, drawn = _areas(scores, own, weights)
    assert value == pytest.approx(roc_auc_score(own, scores))
    for one, weight in zip(drawn, weights, strict=True):
        assert one == pytest.approx(roc_auc_score(own, scores, sample_weight=weight))


def test_crops_of_one_photo_do_not_tell_each_other():
    random = np.random.default_rng(1)
    photos = np.repeat(np.arange(16), 10)
    labels = photos % 2
    values = {"made-up": np.repeat(random.normal(size=(16, 4)), 10, 0).astype(np.float32)}
    alone = telling_properties(values, labels)[0]
    together = telling_properties(values, labels, photos)[0]
    assert alone.auc > together.auc + 0.1
    assert together.high - together.low > alone.high - alone.low


def test_pixels_have_the_properties_that_their_names_say():
    images = np.random.default_rng(2).uniform(size=(3, 12, 10, 3)).astype(np.float32)
    found = image_properties(images)
    np.testing.assert_allclose(found["colour"][1, 2], np.median(images[1, :, :, 2]))
    ring = np.concatenate([images[0, 0], images[0, -1], images[0, 1:-1, 0], images[0, 1:-1, -1]])
    expected = [*ring.mean(0), *ring.std(0)]
    np.testing.assert_allclose(found["ring-1"][0], expected, rtol=1e-5)
    assert found["spectrum"].shape == (3, 7)  # none of 12 x 10 frequencies is below 1/16
    assert np.isfinite(np.concatenate(list(image_properties(0 * images).values()), 1)).all()


def test_files_tell_by_quality_size_kind_and_camera(tmp_path):
    random = np.random.default_rng(3)
    paths = []
    for at in range(40):
        picture = Image.fromarray(random.integers(0, 255, (20, 24 + at % 3, 3), np.uint8))
        exif = Image.Exif()
        path = tmp_path / f"{at}.{'png' if at % 4 == 3 else 'jpg'}"
        if at % 4 == 1:
            exif[271] = "camera"
        if at % 4 == 3:
            picture.save(path)
        else:
            picture.save(path, quality=60 if at % 4 == 2 else 90, exif=exif)
        paths.append(path)
    found = file_properties(paths)
    told = {
        (one.name, one.label) for one in telling_properties(found, np.arange(40) % 4) if one.tells
    }
    assert ("jpeg", 2) in told
    assert ("exif", 1) in told
    assert ("file-type", 3) in told
    assert ("aspect", 0) not in told
    np.testing.assert_allclose(found["aspect"][:3, 0], [24 / 20, 25 / 20, 26 / 20])


def test_an_unreadable_file_has_no_properties(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    found = file_properties([tmp_path / "broken.jpg", tmp_path / "missing.png"])
    assert all(len(values) == 2 and not values.any() for values in found.values())


def test_one_class_cannot_be_told():
    with pytest.raises(InputError, match="at least two classes of 8 images"):
        telling_properties({"one": np.zeros((20, 1), np.float32)}, np.zeros(20))
