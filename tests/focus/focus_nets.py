"""Small nets with a plain numpy double in float64."""

from functools import cache

import keras
import numpy as np

from layerscope.scope import Scope

L = keras.layers
SIDE, COLOURS, CLASSES = 8, 2, 3


@cache
def scope() -> Scope:
    """Two smooth convolutions and a softmax over three classes."""
    keras.utils.set_random_seed(11)
    image = keras.Input((SIDE, SIDE, COLOURS))
    x = L.Conv2D(3, 3, activation="tanh", name="first", bias_initializer="normal")(image)
    x = L.Conv2D(4, 3, activation="softplus", name="last", bias_initializer="normal")(x)
    x = L.Dense(CLASSES, activation="softmax", name="head", bias_initializer="normal")(
        L.Flatten()(x)
    )
    return Scope(keras.Model(image, x, name="double"))


def images(count: int = 3, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(0, 1, (count, SIDE, SIDE, COLOURS)).astype(np.float32)


def weights(name: str) -> list[np.ndarray]:
    return [np.asarray(w, np.float64) for w in scope().model.get_layer(name).get_weights()]


def _convolve(x: np.ndarray, name: str) -> np.ndarray:
    kernel, bias = weights(name)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias


def maps(x: np.ndarray) -> np.ndarray:
    """Maps of ``last``, (N, 4, 4, 4)."""
    return np.log1p(np.exp(_convolve(np.tanh(_convolve(np.float64(x), "first")), "last")))


def tail(a: np.ndarray) -> np.ndarray:
    """Logits (N, 3) from the maps of ``last``."""
    kernel, bias = weights("head")
    return a.reshape(len(a), -1) @ kernel + bias


def logits(x: np.ndarray) -> np.ndarray:
    return tail(maps(x))


def slope(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Gradient of a function of one array by central differences; it takes batches."""
    x = np.float64(x)
    moves = step * np.eye(x.size).reshape(x.size, *x.shape)
    return ((function(x + moves) - function(x - moves)) / (2 * step)).reshape(x.shape)
