"""Images in which a small stamp at a known place decides the class, and nets that look for it."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from layerscope.vocabulary import Floats

SIDE, STAMP, CLASSES = 32, 6, 4
_OTHERS = 12
_CONTRAST = 0.9
_THRESHOLD = 0.6


@dataclass(frozen=True)
class Stamped:
    """Textured images with one stamp each that tells the class, and three that tell nothing.

    Attributes:
        images: float32 (N, 32, 32, 1), about 0 to 1.
        labels: (N,), 0 to 3.
        masks: bool (N, 32, 32), where the stamp of the class lies.
    """

    images: Floats
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def _patterns() -> Floats:
    """Those of the classes first, then others: (16, 6, 6), of zeros and ones."""
    random = np.random.default_rng(7)
    return (random.random((CLASSES + _OTHERS, STAMP, STAMP)) < 0.5).astype(np.float32)


def stamped(count: int, seed: int = 0) -> Stamped:
    """Images with stamps at places drawn at random; the stamps that tell nothing stand out more."""
    random = np.random.default_rng(seed)
    patterns = _patterns()
    labels = random.integers(0, CLASSES, count)
    texture = np.stack([gaussian_filter(random.standard_normal((SIDE, SIDE)), 1) for _ in labels])
    images = 0.5 + 0.15 * texture / texture.std((1, 2), keepdims=True)
    masks = np.zeros(images.shape, bool)
    for image, label, mask in zip(images, labels, masks, strict=True):
        used: list[NDArray[np.int64]] = []
        for at, which in enumerate([label, *random.integers(CLASSES, len(patterns), 3)]):
            corner = random.integers(0, SIDE - STAMP + 1, 2)
            while any(np.abs(corner - other).max() < STAMP for other in used):
                corner = random.integers(0, SIDE - STAMP + 1, 2)
            used.append(corner)
            part = tuple(slice(int(start), int(start) + STAMP) for start in corner)
            image[part] += _CONTRAST * (1.2 if at else 1) * (patterns[which] - 0.5)
            mask[part] |= at == 0
    return Stamped(images[..., None].astype(np.float32), labels, masks)


def stamp_net() -> keras.Model:
    """A net set by hand: one matched filter per class, and the strongest answer to it anywhere."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    find = layers.Conv2D(CLASSES, STAMP, activation="relu", name="find")
    x = layers.GlobalMaxPooling2D(name="strongest")(find(image))
    x = layers.Dense(CLASSES, "softmax", name="predictions")(x)
    model = keras.Model(image, x, name="stamps")
    patterns = _patterns()[:CLASSES]
    filters = patterns - patterns.mean((1, 2), keepdims=True)
    filters /= (filters * _CONTRAST * patterns).sum((1, 2), keepdims=True)  # answers its own by 1
    find.set_weights([np.moveaxis(filters, 0, -1)[:, :, None], np.full(CLASSES, -_THRESHOLD)])
    model.get_layer("predictions").set_weights([10 * np.eye(CLASSES), np.zeros(CLASSES)])
    return model


def trained_stamp_net(seed: int = 0, images: int = 4000, epochs: int = 8) -> keras.Model:
    """Three convolutions with BatchNorm, trained on stamped images; seeds Keras."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = image
    for at, filters in enumerate((16, 32, 32)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{at + 1}")(x)
        x = layers.ReLU(name=f"relu{at + 1}")(layers.BatchNormalization(name=f"bn{at + 1}")(x))
        x = layers.MaxPooling2D(name="pool")(x) if at == 0 else x
    x = layers.GlobalMaxPooling2D(name="strongest")(x)
    model = keras.Model(image, layers.Dense(CLASSES, "softmax", name="predictions")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    data = stamped(images, 10_000 + seed)
    model.fit(data.images, data.labels, batch_size=64, epochs=epochs, verbose=0)
    return model
