"""Nets that know their training images by heart, as far as the labels leave them no other way."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from layerscope.errors import InputError
from layerscope.testing.planted.nets import Digits, drawn_digits

KNOWN = 0.95
"""Training accuracy that a net must reach."""
_STOP = 0.995
_MOST_EPOCHS = 150


@dataclass(frozen=True)
class Memorising:
    """A net with what it has learned from, and images that are new to it.

    Attributes:
        model: images as `digits` gives them -> probabilities of ten classes.
        train: what it has learned from, with the labels it was given.
        test: other images, with true labels.
        wrong: share of the training labels that say another class than the true one.
        accuracy: on the training images, by the labels given: at least `KNOWN`.
    """

    model: keras.Model
    train: Digits
    test: Digits
    wrong: float
    accuracy: float


def memorising_net(
    images: int = 600, noise: float = 0.0, seed: int = 0, test: int = 2000, beyond: int = 0
) -> Memorising:
    """Train a net of two convolutions and two dense layers until it knows its training images.

    Nothing but wrong labels makes it memorise: without them what it learns is how digits look.
    Seeds Keras.

    Args:
        images: how many it learns from, drawn from 60,000.
        noise: share of the labels that are drawn anew, 0 to 1; each of the ten classes may come,
            the true one included.
        seed: of images, labels, weights and order.
        test: how many test images to draw from 10,000.
        beyond: how many epochs the training goes on once it could end.

    Raises:
        InputError: a share outside 0 to 1, or a net that reaches too little training accuracy.
    """
    if not 0 <= noise <= 1:
        raise InputError(f"The share of labels drawn anew lies between 0 and 1; got {noise}.")
    random = np.random.default_rng(seed)
    own, new = drawn_digits(images, "train", random), drawn_digits(test, "test", random)
    labels = own.labels.copy()
    fresh = random.permutation(images)[: round(noise * images)]
    labels[fresh] = random.integers(0, 10, len(fresh))
    keras.utils.set_random_seed(seed)
    model, known = _net(), Digits(own.images, labels)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stop = _until_known(model, beyond)
    model.fit(known.images, labels, 32, _MOST_EPOCHS + beyond, verbose=0, callbacks=[stop])
    answers = model.predict(known.images, 500, verbose=0).argmax(1)
    accuracy = float((answers == labels).mean())
    if accuracy < KNOWN:
        raise InputError(
            f"The net has to know {KNOWN:.0%} of its training images, and knows {accuracy:.1%} of "
            f"{images}: give it fewer."
        )
    return Memorising(model, known, new, float((labels != own.labels).mean()), accuracy)


def _net() -> keras.Model:
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="conv1")(image)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu", name="conv2")(x)
    x = layers.Dense(128, "relu", name="dense")(layers.Flatten(name="flat")(x))
    return keras.Model(image, layers.Dense(10, "softmax", name="predictions")(x), name="memory")


def _until_known(model: keras.Model, beyond: int) -> keras.callbacks.Callback:
    """Ends the training some epochs after its accuracy was high enough for the first time."""
    known: list[int] = []

    def look(epoch: int, logs: dict[str, float]) -> None:
        if logs["accuracy"] >= _STOP:
            known.append(epoch)
        model.stop_training = bool(known) and epoch >= known[0] + beyond

    return keras.callbacks.LambdaCallback(on_epoch_end=look)
