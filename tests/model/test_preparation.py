"""Which preprocessing image files get, who chose it and what is said about it."""

from contextlib import suppress

import keras
import numpy as np
import pytest
from nets import SIDE, L, crops, net, settled
from PIL import Image

import layerscope
from layerscope.document.parts import Note
from layerscope.errors import InputError
from layerscope.images.preprocess import CANDIDATES, preprocessing
from layerscope.interfaces.cli import app
from layerscope.model.traced import TracedModel


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Trained with 0..1, as far as its BatchNorm layers tell."""
    keras.utils.set_random_seed(5)
    built = net()
    settled(built, preprocessing("0..1"), crops(200, 0))
    return built


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 photos in 4 classes, which come one after the other as files do."""
    root = tmp_path_factory.mktemp("photos")
    for i, pixels in enumerate(crops(24, 1)):
        (root / f"class{i % 4}").mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"class{i % 4}" / f"{i}.png")
    return root


def test_the_batchnorm_statistics_decide_for_files_and_not_for_arrays(model, folder):
    scope = layerscope.Scope(model)
    prepared = scope.preparation(folder)
    assert (prepared.steps.name, prepared.chosen_by) == ("0..1", "fingerprint")
    assert "from 24 images" in str(prepared)
    assert prepared.alternatives[0].name == "0..1"
    assert len(prepared.alternatives) == len(CANDIDATES)
    found = scope.maps(folder).predictions
    named = layerscope.Scope(model, "0..1").maps(folder).predictions
    np.testing.assert_array_equal(found, named)
    raw = crops(8, 1)
    np.testing.assert_allclose(
        scope.maps(raw).predictions, model.predict(raw, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_what_was_found_serves_later_single_photos(model, folder):
    scope = layerscope.Scope(model)
    photo = next(folder.rglob("*.png"))
    with pytest.raises(InputError, match=r"at least 8 images, and 1 were given.*--preprocess"):
        scope.maps(photo)
    scope.preparation(folder)
    assert scope.maps(photo).ids == (photo.name,)


def test_a_model_that_scales_its_images_itself_is_asked_first(folder):
    image = keras.Input((SIDE, SIDE, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(L.Rescaling(1 / 255, name="scale")(image)))
    prepared = layerscope.Scope(keras.Model(image, x)).preparation(folder)
    assert (prepared.steps.name, prepared.chosen_by) == ("none", "model")
    assert "'scale'" in prepared.evidence


def test_labels_decide_where_no_batchnorm_does(folder):
    class Threshold(keras.layers.Layer):
        """Class 1 for images brighter on average than a figure that only fits 0..1."""

        def call(self, x):
            bright = keras.ops.mean(x, axis=(1, 2, 3), keepdims=True)[:, 0, 0] - 0.25
            return keras.ops.concatenate([-bright, bright], -1)

    image = keras.Input((8, 8, 3))
    model = keras.Model(
        image, Threshold()(L.DepthwiseConv2D(1, depthwise_initializer="ones")(image))
    )
    random = np.random.default_rng(0)
    labels = np.arange(64) % 2
    pixels = (random.uniform(0, 60, (64, 8, 8, 3)) + labels[:, None, None, None] * 65) // 1
    np.savez(folder.parent / "set.npz", x=pixels.astype(np.uint8), y=labels)
    prepared = layerscope.Scope(model).preparation(folder.parent / "set.npz")
    assert (prepared.steps.name, prepared.chosen_by) == ("0..1", "accuracy")
    accuracies = {a.name: a.accuracy for a in prepared.alternatives}
    assert accuracies["0..1"] == 1
    assert accuracies["none"] == 0.5
    assert all(a.divergence is None for a in prepared.alternatives)


def test_without_evidence_the_reason_and_the_choices_are_named(folder):
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image)))
    with pytest.raises(InputError, match=r"no BatchNorm layer.*right.*--preprocess.*none, 0\.\.1"):
        layerscope.Scope(model).maps(folder)


def test_an_explicit_choice_against_the_statistics_is_suspect(model, folder):
    doubted = layerscope.Scope(model, "torch").preparation(folder)
    assert (doubted.steps.name, doubted.chosen_by) == ("torch", "user")
    assert "asked to run with preprocessing torch" in doubted.suspect
    assert "speak for 0..1" in doubted.suspect
    assert not layerscope.Scope(model, "0..1").preparation(folder).suspect
    assert not layerscope.Scope(model, "mean=0,std=255").preparation(folder).suspect


@pytest.mark.parametrize("count", [2, 24])
def test_values_scaled_before_a_model_that_scales_them_itself_are_suspect(folder, count):
    image = keras.Input((SIDE, SIDE, 3))
    x = L.Conv2D(4, 3)(L.Rescaling(1 / 255, name="scale")(image))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    scope, raw = layerscope.Scope(model), crops(count, 1)
    doubted = scope.preparation(raw / 255).suspect
    assert "brings values from 0 to 255 to its own scale, at 'scale'" in doubted
    assert "lie between 0" in doubted
    dark = (raw > 128).astype(np.uint8)
    assert not any(scope.preparation(given).suspect for given in (raw, dark))
    assert "at 'scale'" in layerscope.Scope(model, "0..1").preparation(folder).suspect
    plain = keras.Model(image, L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image)))
    assert not layerscope.Scope(plain).preparation(raw / 255).suspect


def test_statistics_that_fit_values_scaled_twice_clear_them_of_doubt():
    keras.utils.set_random_seed(5)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization(momentum=0)(L.Conv2D(16, 3)(L.Rescaling(1 / 255)(image)))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    settled(model, preprocessing("0..1"), crops(200, 0))
    assert not layerscope.Scope(model).preparation(crops(24, 1) / 255).suspect


def test_few_images_cast_no_doubt_on_an_explicit_choice(model, folder):
    prepared = layerscope.Scope(model, "torch").preparation(sorted(folder.rglob("*.png"))[:7])
    assert not prepared.suspect
    assert not prepared.alternatives


def test_pictures_say_how_the_images_were_prepared(model, folder):
    files = sorted(folder.rglob("*.png"))[::2]
    with pytest.warns(UserWarning, match=r"speak for 0\.\.1"):
        shown = layerscope.Scope(model, "torch").show(files, layers="conv")
    assert "speak for 0..1" in shown.prepared.suspect
    notes = [p for s in shown.document.sections for p in s.parts if isinstance(p, Note)]
    assert [note.severity for note in notes[:2]] == ["warn", "info"]
    assert "speak for 0..1" in notes[0].text
    assert notes[1].text.startswith("Preprocessing torch.")


def test_the_command_line_says_what_it_found_out(model, folder, tmp_path, capsys):
    model.save(tmp_path / "m.keras")
    files = map(str, sorted(folder.rglob("*.png"))[::2])
    with pytest.raises(SystemExit) as done:
        app(["show", str(tmp_path / "m.keras"), *files, "-o", str(tmp_path / "out")])
    assert done.value.code == 0
    told = capsys.readouterr().err
    assert "layerscope: Preprocessing 0..1. 0..1 gives the mean and variance that" in told
    assert "next is" in told


def test_a_model_for_any_size_is_asked_with_images_of_one_size(folder, tmp_path):
    image = keras.Input((None, None, 3))
    x = L.BatchNormalization(momentum=0)(L.Conv2D(16, 3)(image))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    settled_model = settled(model, preprocessing("0..1"), crops(200, 0))
    assert isinstance(settled_model, TracedModel)
    for i, pixels in enumerate(crops(16, 1)):
        shape = (SIDE + i, SIDE)
        Image.fromarray(pixels.astype(np.uint8)).resize(shape).save(tmp_path / f"{i}.png")
    assert layerscope.Scope(model).preparation(tmp_path).steps.name == "0..1"


def test_what_is_beyond_doubt_is_said_even_where_the_right_one_cannot_be_told(folder):
    keras.utils.set_random_seed(6)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization(momentum=0.99)(L.Conv2D(16, 3)(image))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    for _ in range(20):  # far from settled
        model(preprocessing("0..1").apply(crops(200, 0)), training=True)
    with pytest.raises(InputError, match="cannot be found out"):
        layerscope.Scope(model).maps(sorted(folder.rglob("*.png"))[::2])
    doubted = layerscope.Scope(model, "none").preparation(folder)
    assert "is nothing like what that layer stored in training" in doubted.suspect


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_the_right_choice_is_not_doubted_however_little_was_trained(folder, steps):
    keras.utils.set_random_seed(6)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization(momentum=0.99)(L.Conv2D(16, 3)(image))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    for _ in range(steps):
        model(crops(200, 0), training=True)
    assert not layerscope.Scope(model, "none").preparation(folder).suspect


@pytest.mark.parametrize("steps", [30, 100, 200])
@pytest.mark.parametrize("right", ["0..1", "-1..1", "torch"])
def test_young_statistics_do_not_speak_for_a_wrong_preprocessing(folder, right, steps):
    keras.utils.set_random_seed(6)
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization(momentum=0.99)(L.Conv2D(16, 3)(image))
    model = keras.Model(image, L.GlobalAveragePooling2D()(x))
    ready = preprocessing(right).apply(crops(200, 0))
    for _ in range(steps):
        model(ready, training=True)
    assert not layerscope.Scope(model, right).preparation(folder).suspect
    with suppress(InputError):  # no answer is as good as the right one
        assert layerscope.Scope(model).preparation(folder).steps.name == right
