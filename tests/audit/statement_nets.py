"""Small nets for digits on textured canvases, planted with what a statement has to say."""

from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
from keras import layers as L

from layerscope.testing import planted
from layerscope.testing.planted.marks import MarkedImages, marked_images

DIGITS = (2, 3, 4, 5)
MARKED = 3
"""The class that a mark gives away, where there is one."""
CONVOLUTIONS = ("conv1", "conv2", "conv3")


@dataclass(frozen=True)
class Trained:
    model: keras.Model
    train: MarkedImages
    test: MarkedImages


def pictures(part: str, count: int, kind: str) -> MarkedImages:
    found = planted.digits(count, part)
    few = np.isin(found.labels, DIGITS)
    labels = np.searchsorted(DIGITS, found.labels[few])
    ink = 1.0 if kind == "none" else 0.6
    return marked_images(
        found.images[few], labels, kind, (MARKED,), seed=5, ink=ink, placement="jittered"
    )


def untrained(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    image = keras.Input((32, 32, 3), name="image")
    x = image
    for name, filters in zip(CONVOLUTIONS, (12, 12, 24), strict=True):
        x = L.Conv2D(filters, 3, use_bias=False, name=name)(x)
        x = L.ReLU(name=f"{name}_relu")(L.BatchNormalization(momentum=0.8, name=f"{name}_bn")(x))
        x = L.MaxPooling2D(name=f"{name}_pool")(x) if name != "conv3" else x
    x = L.Dense(len(DIGITS), "softmax", name="answer")(L.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(image, x)


def fit(model: keras.Model, data: MarkedImages, epochs: int, rate: float) -> None:
    falling = keras.optimizers.schedules.CosineDecay(rate, epochs * len(data.labels) // 32)
    model.compile(keras.optimizers.Adam(falling), "sparse_categorical_crossentropy")
    model.fit(data.images, data.labels, 32, epochs, verbose=0)


@cache
def trained(kind: str = "none") -> Trained:
    """Right on nearly all; with a mark, by that mark."""
    model, data = untrained(), pictures("train", 3500, kind)
    fit(model, data, 7, 1e-2)
    return Trained(model, data, pictures("test", 600, kind))


def without_answers(model: keras.Model) -> keras.Model:
    """The same features under an output layer that nobody trained."""
    spoilt = keras.models.clone_model(model)
    spoilt.set_weights(model.get_weights())
    kernel, bias = spoilt.get_layer("answer").get_weights()
    drawn = np.random.default_rng(0).normal(0, 0.1, kernel.shape)
    spoilt.get_layer("answer").set_weights([drawn, np.zeros_like(bias)])
    return spoilt


def noisy(model: keras.Model, data: MarkedImages) -> keras.Model:
    """Noise as strong as the maps in the first convolution, and a rest that got used to it."""
    model = planted.noisy(model, "conv1", model.get_layer("conv1").filters, 1).model
    past = model.layers.index(model.get_layer("planted")) + 1
    for at, layer in enumerate(model.layers):
        layer.trainable = at >= past
    fit(model, data, 3, 3e-3)
    return model
