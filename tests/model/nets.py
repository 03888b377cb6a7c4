"""Small nets whose BatchNorm statistics belong to a known preprocessing, and images for them."""

from functools import cache

import keras
import numpy as np

from layerscope import zoo
from layerscope.images.preprocess import Preprocessing
from layerscope.model.traced import TracedModel

L = keras.layers
SIDE = 32


@cache
def crops(count: int, seed: int) -> np.ndarray:
    """Pieces of four colour photos, 0..255; piece i is of photo i % 4."""
    random = np.random.default_rng(seed)
    photos = [zoo.photo(name) for name in ("chelsea", "coffee", "china", "flower")]
    found = []
    for i in range(count):
        whole = photos[i % 4]
        top, left = (int(random.integers(0, s - 8 * SIDE)) for s in whole.shape[:2])
        found.append(whole[top : top + 8 * SIDE : 8, left : left + 8 * SIDE : 8])
    return np.array(found, np.float32)


def net(channels: int = 3, first: keras.Layer | None = None) -> keras.Model:
    image = keras.Input((SIDE, SIDE, channels))
    x = first(image) if first else image
    x = L.ReLU()(L.BatchNormalization(momentum=0)(L.Conv2D(16, 3)(x)))
    x = L.ReLU()(L.BatchNormalization(momentum=0)(L.Conv2D(16, 3)(x)))
    return keras.Model(image, L.Dense(4)(L.GlobalAveragePooling2D()(x)))


def settled(model: keras.Model, steps: Preprocessing, images: np.ndarray) -> TracedModel:
    """The model with the statistics that it would store in training on these images.

    Momentum is 0 in these nets: the last batch alone counts.
    """
    model(steps.apply(images), training=True)
    return TracedModel(model)
