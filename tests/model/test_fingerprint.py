"""The preprocessing read from BatchNorm statistics, from labels, or from the model itself."""

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import SIDE, L, crops, net, settled
from PIL import Image

from layerscope import zoo
from layerscope.errors import InputError
from layerscope.images.preprocess import CANDIDATES, preprocessing
from layerscope.model.contradiction import contradicts
from layerscope.model.fingerprint import Fingerprint, by_accuracy, fingerprint
from layerscope.model.preprocessing import own_preprocessing
from layerscope.model.traced import TracedModel


@cache
def planted(name: str) -> TracedModel:
    keras.utils.set_random_seed(5)
    return settled(net(), preprocessing(name), crops(200, 0))


NAMES = [candidate.name for candidate in CANDIDATES]
EQUALS = ("-1..1", "mean=127,std=128")


@pytest.mark.parametrize("count", [8, 64])
@pytest.mark.parametrize("name", NAMES)
def test_the_planted_preprocessing_is_found(name: str, count: int):
    found = fingerprint(planted(name), crops(count, 1))
    assert found.chosen == ("-1..1" if name in EQUALS else name), found.reason
    assert found.runner_up not in (None, name, *(EQUALS if name in EQUALS else ()))
    assert found.images == count
    assert f"from {count} images" in found.reason


def test_a_trained_net_shows_its_preprocessing():
    keras.utils.set_random_seed(1)
    model, images = net(), crops(200, 0)
    for layer in model.layers:
        layer.momentum = 0.8
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(preprocessing("torch").apply(images), np.arange(200) % 4, epochs=3, verbose=0)
    assert fingerprint(TracedModel(model), crops(32, 1)).chosen == "torch"


def test_efficientnet_lite0_shows_its_preprocessing():
    photos = [zoo.photo(name) for name in zoo.PHOTOS]
    sides = [min(p.shape[:2]) for p in photos]
    squares = [
        tf.image.resize(p[:side, -side:], (224, 224)) for p, side in zip(photos, sides, strict=True)
    ]
    found = fingerprint(TracedModel(zoo.efficientnet_lite0()), np.array(squares, np.float32))
    assert found.chosen == "-1..1"
    assert zoo.PREPROCESSING in found.groups[0]
    assert found.divergences["-1..1"][0] < 0.1 < 0.4 < found.divergences[found.runner_up][0]


def test_the_divergence_is_that_of_gaussians():
    traced, images = planted("0..1"), crops(20, 3)
    first = traced.model.layers[1]
    after = np.asarray(first(preprocessing("torch").apply(images)), np.float64)
    m, v = after.mean((0, 1, 2)), after.var((0, 1, 2))
    norm = traced.model.layers[2]
    M, V = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
    oracle = np.median(0.5 * (np.log(V / v) + (v + (m - M) ** 2) / V - 1))
    found = fingerprint(traced, images)
    assert found.divergences["torch"][0] == pytest.approx(oracle, rel=1e-4)
    assert found.layers[0] == norm.name
    assert len(found.divergences["torch"]) == len(found.layers) == 2


def test_candidates_that_come_to_the_same_count_as_one():
    found = fingerprint(planted("torch"), crops(16, 1))
    assert EQUALS in found.groups
    assert sum(len(group) for group in found.groups) == len(NAMES)


def test_more_images_than_are_needed_are_not_used():
    assert fingerprint(planted("0..1"), crops(70, 1)).images == 64


class Own(keras.Model):
    """A subclassed net without a name for its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = L.Conv2D(12, 3)
        self.norm = L.BatchNormalization(momentum=0)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mean of each channel."""
        return tf.reduce_mean(tf.nn.relu(self.norm(self.convolution(x), training=training)), (1, 2))


def own() -> keras.Model:
    model = Own()
    model(np.zeros((1, SIDE, SIDE, 3), np.float32))
    return model


def nested() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 3))
    return keras.Model(image, L.Flatten()(net()(image)))


def frozen() -> keras.Model:
    model = net()
    model.trainable = False
    for layer in model.layers[1:3]:
        layer.trainable = True  # else training would not set its statistics
    return model


KINDS: dict[str, Callable[[], keras.Model]] = {
    "nested": nested,
    "subclassed": own,
    "batchnorm on the image": lambda: net(first=L.BatchNormalization(momentum=0)),
    "partly frozen": frozen,
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", ["none", "torch"])
def test_batchnorm_is_found_wherever_it_is(kind: str, name: str):
    keras.utils.set_random_seed(2)
    traced = settled(KINDS[kind](), preprocessing(name), crops(200, 0))
    traced.model.trainable = False
    found = fingerprint(traced, crops(32, 1))
    assert found.chosen == name, found.reason


def test_a_one_channel_model_is_asked_with_what_fits_it():
    keras.utils.set_random_seed(2)
    grey = [crops(n, s).mean(-1, keepdims=True) for n, s in ((200, 0), (16, 1))]
    found = fingerprint(settled(net(1), preprocessing("0..1"), grey[0]), grey[1])
    assert found.chosen == "0..1"
    assert set(found.divergences) == {"none", "0..1", *EQUALS}


def test_a_channel_that_was_constant_in_training_says_nothing():
    model = net()
    kernel, bias = model.layers[1].get_weights()
    kernel[..., :12] = 0
    model.layers[1].set_weights([kernel, bias])
    found = fingerprint(settled(model, preprocessing("0..1"), crops(200, 0)), crops(32, 1))
    assert found.chosen == "0..1", found.reason


# No answer


def refused(traced: TracedModel, images: np.ndarray) -> str:
    found = fingerprint(traced, images)
    assert found.chosen is None
    return found.reason


def test_no_answer_without_batchnorm():
    image = keras.Input((SIDE, SIDE, 3))
    traced = TracedModel(keras.Model(image, L.Conv2D(4, 3)(image)))
    assert "no BatchNorm" in refused(traced, crops(8, 1))


def test_no_answer_from_statistics_that_were_never_trained():
    assert "were trained" in refused(TracedModel(net()), crops(8, 1))


def test_no_answer_from_few_images():
    assert "at least 8 images, and 7" in refused(planted("0..1"), crops(7, 1))


def test_no_answer_from_images_of_another_kind():
    noise = np.random.default_rng(0).uniform(0, 255, (16, SIDE, SIDE, 3)).astype(np.float32)
    assert "No candidate gives" in refused(planted("-1..1"), noise)


def test_no_answer_from_statistics_that_had_not_settled():
    keras.utils.set_random_seed(5)
    model = net()
    for layer in model.layers:
        layer.momentum = 0.8
    traced = settled(model, preprocessing("-1..1"), crops(200, 0))
    assert "had not settled" in refused(traced, crops(64, 1))


@pytest.mark.parametrize("figures", ["mean=127.5,std=255", "std=40", "mean=33,std=78"])
def test_no_answer_for_a_preprocessing_that_is_no_candidate(figures: str):
    assert "No candidate gives" in refused(planted(figures), crops(32, 1))


@pytest.mark.parametrize("name", ["0..1", "caffe"])
def test_no_answer_for_another_order_of_colours(name: str):
    keras.utils.set_random_seed(5)
    traced = settled(net(), preprocessing(name), crops(200, 0)[..., ::-1])
    refused(traced, crops(64, 1))


def test_no_answer_for_the_figures_of_caffe_in_another_order():
    traced = planted("mean=123.68/116.779/103.939")
    assert "reversed order" in refused(traced, crops(16, 1))


def test_no_answer_where_only_an_odd_contrast_would_decide():
    torch = preprocessing("torch")
    dull = preprocessing("-1..1").apply(crops(32, 1)) * torch.std + torch.mean
    assert "contrast of the images is unusual" in refused(planted("-1..1"), dull.astype(np.float32))


def test_no_answer_where_the_first_batchnorm_sees_no_scale():
    keras.utils.set_random_seed(5)
    model = net(first=L.LayerNormalization(axis=(1, 2), epsilon=1e-12))
    traced = settled(model, preprocessing("0..1"), crops(200, 0))
    assert "too close" in refused(traced, crops(64, 1))


def test_no_answer_where_all_candidates_come_to_the_same():
    candidates = [preprocessing(name) for name in EQUALS]
    found = fingerprint(planted("-1..1"), crops(32, 1), candidates)
    assert found.chosen is None
    assert "nothing to compare" in found.reason


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match="must have shape"):
        fingerprint(planted("0..1"), np.zeros((8, 16, 16, 3), np.float32))


# What a report says


def test_a_choice_against_the_fingerprint_is_told_with_the_evidence():
    found = fingerprint(planted("-1..1"), crops(16, 1))
    text = contradicts(found, "torch")
    assert "preprocessing torch" in text
    assert "-1..1 (the same as mean=127,std=128)" in text
    assert f"{found.divergences['torch'][0]:.2g}" in text


@pytest.mark.parametrize("name", [*EQUALS, "keras:Xception", "mean=128,std=127"])
def test_a_choice_that_comes_to_the_same_is_not_contradicted(name: str):
    assert contradicts(fingerprint(planted("-1..1"), crops(16, 1)), name) == ""


def test_no_answer_contradicts_nothing():
    assert contradicts(Fingerprint(None, None, "unknown"), "torch") == ""


def test_a_report_has_a_row_per_candidate_the_best_first():
    found = fingerprint(planted("-1..1"), crops(16, 1))
    rows = found.rows()
    assert [row["verdict"] for row in rows] == ["chosen", "same as chosen", "", "", "", ""]
    assert rows[0] == {
        "rank": 1,
        "name": "-1..1",
        "verdict": "chosen",
        **dict(zip(found.layers, found.divergences["-1..1"], strict=True)),
    }


# Labels


def brightness_model(outputs: int = 2) -> TracedModel:
    """Class 1 if the mean of the input is above .5, as after 0..1; without BatchNorm."""
    image = keras.Input((SIDE, SIDE, 3))
    x = L.GlobalAveragePooling2D()(image)
    head = L.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax")
    model = keras.Model(image, head(x))
    kernel = np.zeros((3, outputs), np.float32)
    kernel[:, -1] = 10
    head.set_weights([kernel, np.array([0] * (outputs - 1) + [-15], np.float32)])
    return TracedModel(model)


def bright_and_dark(count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 2
    images = np.random.default_rng(0).uniform(30, 90, (count, SIDE, SIDE, 3))
    return (images + 130 * labels[:, None, None, None]).astype(np.float32), labels


@pytest.mark.parametrize("outputs", [1, 2])
def test_labels_decide_where_one_candidate_is_clearly_better(outputs: int):
    images, labels = bright_and_dark(64)
    names = ["none", "0..1", "-1..1"]
    found = by_accuracy(
        brightness_model(outputs), images, labels, [preprocessing(n) for n in names]
    )
    assert found.chosen == "0..1", found.reason
    assert found.correct["0..1"] == found.images == 64
    assert found.correct["none"] == 32


def test_labels_give_no_answer_where_two_candidates_are_equally_right():
    images, labels = bright_and_dark(64)
    candidates = [preprocessing("0..1"), preprocessing("std=250,mean=10")]
    found = by_accuracy(brightness_model(), images, labels, candidates)
    assert found.chosen is None
    assert "no clear difference" in found.reason


def test_labels_give_no_answer_where_nothing_beats_the_majority():
    images, _ = bright_and_dark(64)
    labels = np.random.default_rng(1).permutation(np.arange(64) % 2)
    found = by_accuracy(brightness_model(), images, labels)
    assert found.chosen is None
    assert "most frequent class" in found.reason


def test_labels_give_no_answer_from_few_images():
    images, labels = bright_and_dark(6)
    assert by_accuracy(brightness_model(), images, labels).chosen is None


def test_the_labelled_sample_is_balanced():
    images, labels = bright_and_dark(400)
    kept = np.r_[np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:50]]
    assert by_accuracy(brightness_model(), images[kept], labels[kept]).images == 64 + 50


def test_images_without_a_label_are_left_out():
    images, labels = bright_and_dark(64)
    labels[:30] = -1
    assert by_accuracy(brightness_model(), images, labels).images == 34


def test_labels_of_one_class_give_no_answer():
    images, labels = bright_and_dark(16)
    assert "two classes" in by_accuracy(brightness_model(), images, 0 * labels).reason


def test_labels_and_images_must_be_as_many():
    images, labels = bright_and_dark(16)
    with pytest.raises(InputError, match="got 15 labels for 16 images"):
        by_accuracy(brightness_model(), images, labels[1:])


# Preprocessing inside the model

TORCH = {"mean": [0.485, 0.456, 0.406], "variance": [0.0524, 0.0502, 0.0506]}


class Inside(keras.Layer):
    """A custom layer around a function."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """What the function makes of images."""
        return self.function(x)


PREPARES: dict[str, Callable] = {
    "Rescaling": L.Rescaling(1 / 255, name="scale"),
    "Rescaling and Normalization": lambda x: L.Normalization(**TORCH)(L.Rescaling(1 / 255)(x)),
    "operators": lambda x: x / 127.5 - 1,
    "caffe": keras.applications.vgg16.preprocess_input,
    "caffe in a layer": Inside(keras.applications.vgg16.preprocess_input),
    "-1..1": keras.applications.mobilenet_v2.preprocess_input,
    "torch in a layer": Inside(keras.applications.densenet.preprocess_input),
    "cast first": Inside(lambda x: tf.cast(tf.cast(x, tf.uint8), tf.float32) / 255),
    "per image": Inside(tf.image.per_image_standardization),
    "after augmentation": lambda x: L.RandomFlip()(L.RandomRotation(0.1)(x)) / 255,
    "after resizing": lambda x: L.Rescaling(1 / 255)(L.Resizing(24, 24)(x)),
    "inside a nested model": keras.Sequential([L.Input((SIDE, SIDE, 3)), L.Rescaling(1 / 255)]),
}
LEAVES: dict[str, Callable] = {
    "nothing": lambda x: x,
    "augmentation": lambda x: L.RandomContrast(0.1)(L.RandomFlip()(x)),
    "arithmetic for 0..1": lambda x: 2 * x - 1,
    "Normalization for 0..1": L.Normalization(**TORCH),
    "another order of colours": Inside(lambda x: x[..., ::-1]),
    "BatchNorm": L.BatchNormalization(),
    "a learned gate": lambda x: x * L.Conv2D(3, 1, activation="sigmoid")(x),
    "arithmetic on maps": lambda x: L.Conv2D(3, 1)(x) / 255,
}


def beginning_with(function: Callable) -> str:
    image = keras.Input((SIDE, SIDE, 3))
    x = L.BatchNormalization()(L.Conv2D(4, 3)(function(image)))
    return own_preprocessing(TracedModel(keras.Model(image, x)))


@pytest.mark.parametrize("way", list(PREPARES))
def test_a_model_that_prepares_its_images_is_seen(way: str):
    assert beginning_with(PREPARES[way])


@pytest.mark.parametrize("way", list(LEAVES))
def test_a_model_that_leaves_pixels_as_large_as_they_are_prepares_nothing(way: str):
    assert beginning_with(LEAVES[way]) == ""


def test_the_layer_that_prepares_the_images_is_named():
    assert beginning_with(PREPARES["Rescaling"]) == "scale"


def test_a_model_for_images_of_any_size_is_seen_to_prepare_them():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, L.Conv2D(4, 3)(L.Rescaling(1 / 255)(image)))
    assert own_preprocessing(TracedModel(model))


def test_crops_of_few_photos_do_not_make_settled_statistics_look_young():
    """No variance that is stored lies below the share of the 1 that it began with."""
    random = np.random.default_rng(0)
    crops = []
    for name in ("astronaut", "chelsea", "coffee", "rocket", "china", "flower"):
        photo = zoo.photo(name)
        for _ in range(10):
            side = int(random.integers(120, min(photo.shape[:2])))
            y, x = (int(random.integers(0, extent - side + 1)) for extent in photo.shape[:2])
            crop = Image.fromarray(photo[y : y + side, x : x + side]).resize((224, 224))
            crops.append(np.asarray(crop, np.float32))
    model = zoo.efficientnet_lite0()
    assert fingerprint(TracedModel(model), np.stack(crops)).chosen == "-1..1"
