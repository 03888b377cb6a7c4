"""Layers that spoil some channels of a map, put right behind its activation.

Each takes the maps and the image that they belong to, and is a function of that image alone: no
batch, no state, no random generator. Channels that are not named keep their bits.

The names hold "norm" on purpose: layerscope follows a map through a normalisation, also through
one of the user's own, and does not take its formula for an activation. So the spoilt map is the
one that is read, under the path of its convolution, and every other fact about the layer stays.
That is also why everything that looks at the whole image ends in a sum over it, and why maps are
moved by products with matrices and not by slices: a receptive field stays known and as it was.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from layerscope.testing.planted.hashing import Tensor, image_hash, normal, whole

FLOOR = 8.0
"""Added to maps that are drawn and not computed, which are then above 0 as behind a ReLU."""

_registered = keras.saving.register_keras_serializable(package="layerscope")


class AbnormalMaps(keras.layers.Layer):  # type: ignore[misc]  # Keras publishes no types
    """Maps of which some channels are replaced; subclasses say by what.

    Args:
        channels: which.
        seed: of everything random.
    """

    def __init__(self, channels: Sequence[int], seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = [int(channel) for channel in channels]
        self.seed = int(seed)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (N, H, W, C) with spoilt channels, from the maps and the images."""
        maps, images = inputs
        mask = np.isin(np.arange(maps.shape[-1]), self.channels)
        return tf.where(mask, self.changed(maps, images), maps)

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """What the channels are replaced by, of a shape that fits the maps."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the maps."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels, "seed": self.seed}

    def scattered(self, values: Tensor, width: int) -> Tensor:
        """Values for the named channels (..., m) at their places among all (..., ``width``)."""
        places = np.eye(width, dtype=np.float32)[self.channels]
        return tf.tensordot(values, places, 1)


@_registered
class AbnormalNoise(AbnormalMaps):
    """White Gaussian noise added, so that var(signal) / var(noise) = ``snr`` in every map.

    The noise of each map is brought to mean 0 and variance 1 exactly, then scaled. At 0 only noise
    is left, with the mean and variance of the map. Where the whole layer is nowhere below 0, as
    behind a ReLU, a map that the noise takes below it is lifted by a constant: a lone signed
    channel would turn the layer into a signed one.
    """

    def __init__(self, channels: Sequence[int], snr: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(channels, seed, **kwargs)
        self.snr = float(snr)

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """The maps with noise."""
        if math.isinf(self.snr):
            return maps
        mean, variance = tf.nn.moments(maps, (1, 2), keepdims=True)
        noise = standardised(normal(images, self.seed, _sides(maps)))
        signal, share = (maps, self.snr) if self.snr else (mean, 1.0)
        noisy = signal + noise * tf.sqrt(variance / share)
        unsigned = tf.reduce_min(maps, (1, 2, 3), keepdims=True) >= 0
        below = tf.nn.relu(-tf.reduce_min(noisy, (1, 2), keepdims=True))
        return noisy + tf.where(unsigned, below, tf.zeros_like(below))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "snr": self.snr}


@_registered
class AbnormalBlur(AbnormalMaps):
    """Smoothed by a Gaussian of a width given in pixels of the map.

    Beyond the border nothing counts: the weights that are left are brought to sum 1.
    """

    def __init__(self, channels: Sequence[int], sigma: float, **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)
        self.sigma = float(sigma)

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """The maps, smoothed."""
        return smoothed(maps, self.sigma)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "sigma": self.sigma}


@_registered
class AbnormalCorner(AbnormalMaps):
    """A constant added in the top left quarter of the sides, or on the border of one pixel."""

    def __init__(
        self,
        channels: Sequence[int],
        amounts: Sequence[float],
        where: Literal["corner", "border"] = "corner",
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, **kwargs)
        self.amounts = [float(amount) for amount in amounts]
        self.where = where

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """The maps with the constant."""
        height, width, count = maps.shape[1:]
        spot = np.zeros((height, width, 1), np.float32)
        if self.where == "corner":
            spot[: max(1, height // 4), : max(1, width // 4)] = 1
        else:
            spot[[0, -1]] = spot[:, [0, -1]] = 1
        amounts = np.zeros(count, np.float32)
        amounts[self.channels] = self.amounts
        return maps + spot * amounts

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "amounts": self.amounts, "where": self.where}


@_registered
class AbnormalCopies(AbnormalMaps):
    """Each channel shows the map of another one, its source."""

    def __init__(self, channels: Sequence[int], sources: Sequence[int], **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)
        self.sources = [int(source) for source in sources]

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """The maps of the sources."""
        taken = np.arange(maps.shape[-1])
        taken[self.channels] = self.sources
        return tf.einsum("nhwc,cd->nhwd", maps, np.eye(len(taken), dtype=np.float32)[:, taken])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "sources": self.sources}


@_registered
class AbnormalFactors(AbnormalMaps):
    """Mixtures of ``rank`` smooth random maps of mean 0 and variance 1, drawn for each image."""

    def __init__(self, channels: Sequence[int], rank: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(channels, seed, **kwargs)
        self.rank = int(rank)

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """The mixtures, plus `FLOOR`."""
        height, width, count = _sides(maps)
        fields = smoothed(normal(images, self.seed, (height, width, self.rank)), 1.0)
        return FLOOR + tf.tensordot(standardised(fields), loadings(count, self.rank).T, 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "rank": self.rank}


@_registered
class AbnormalSwap(AbnormalMaps):
    """The maps of another image, taken from a bank of ``size`` images by a hash of this one."""

    def __init__(self, channels: Sequence[int], size: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(channels, seed, **kwargs)
        self.size = int(size)

    def build(self, input_shape: Any) -> None:
        """Make room for the bank (size, H, W, m)."""
        shape = (self.size, *input_shape[0][1:3], len(self.channels))
        self.bank = self.add_weight(
            shape=shape, initializer="random_uniform", trainable=False, name="bank"
        )

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """The maps of the other image."""
        chosen = tf.gather(self.bank, whole(images, self.seed, 1, self.size)[:, 0])
        return self.scattered(chosen, maps.shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


@_registered
class AbnormalJitter(AbnormalMaps):
    """Shifted round by up to ``pixels``, another way for each image, by a hash of its pixels."""

    def __init__(self, channels: Sequence[int], pixels: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(channels, seed, **kwargs)
        self.pixels = int(pixels)

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """The maps, shifted."""
        height, width, _ = _sides(maps)
        offsets = whole(images, self.seed, 2, 2 * self.pixels + 1) - self.pixels
        down = _shift(offsets[:, 0], height)
        return tf.einsum("nij,njwc,nvw->nivc", down, maps, _shift(offsets[:, 1], width))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "pixels": self.pixels}


@_registered
class AbnormalIndicator(AbnormalMaps):
    """A mean of `FLOOR` + d' [label is the channel's class] + unit noise, and one fixed wave.

    The label is looked up by the hash of the image; an image that is not known has none. The class
    of the i-th named channel is i modulo the number of classes. d' is a weight that starts at 0,
    so that an untrained twin has the noise and not the signal.
    """

    def __init__(
        self,
        channels: Sequence[int],
        hashes: Sequence[Sequence[int]],
        labels: Sequence[int],
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, seed, **kwargs)
        self.hashes = [[int(word) for word in words] for words in hashes]
        self.labels = [int(label) for label in labels]

    def build(self, input_shape: Any) -> None:  # noqa: ARG002
        """Make d'."""
        self.separation = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="separation"
        )

    def changed(self, maps: Tensor, images: Tensor) -> Tensor:
        """The indicator maps."""
        height, width, count = _sides(maps)
        found = image_hash(images)[:, None] == np.array(self.hashes, np.uint32)
        known = tf.cast(tf.reduce_all(found, 2), tf.float32)
        classes = max(self.labels) + 1
        own = np.array(self.labels)[:, None] == np.arange(len(self.channels)) % classes
        hit = tf.minimum(known @ own.astype(np.float32), 1)
        mean = FLOOR + self.separation * hit + normal(images, self.seed, (len(self.channels),))
        down, across = np.arange(height)[:, None] / height, np.arange(width) / width
        wave = np.cos(2 * np.pi * (down + across))[..., None]
        return self.scattered(mean, count)[:, None, None] + wave.astype(np.float32)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "hashes": self.hashes, "labels": self.labels}


def standardised(maps: Tensor) -> Tensor:
    """Each map with mean 0 and variance 1; 0 where it is constant."""
    mean, variance = tf.nn.moments(maps, (1, 2), keepdims=True)
    return (maps - mean) * tf.math.rsqrt(tf.maximum(variance, 1e-12))


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps smoothed by a Gaussian, as they are for ``sigma`` 0."""
    down, across = (_gaussian(side, sigma) for side in maps.shape[1:3])
    return tf.einsum("ij,njwc,vw->nivc", down, maps, across)


def loadings(channels: int, rank: int) -> NDArray[np.float32]:
    """Rows of length 1 whose columns are orthogonal and of one length: a harmonic tight frame.

    Mixtures of ``rank`` independent maps of one variance then have a correlation matrix with
    ``rank`` equal eigenvalues and no others, so that the dimension is ``rank`` exactly.

    Returns:
        (channels, rank), for a rank from 1 to one less than the channels.
    """
    angles = 2 * np.pi * np.outer(np.arange(channels), np.arange(1, rank // 2 + 1)) / channels
    waves = np.sqrt(2) * np.concatenate([np.cos(angles), np.sin(angles)], 1)
    even = np.ones((channels, rank % 2))
    return np.asarray(np.concatenate([even, waves], 1) / np.sqrt(rank), np.float32)


def _gaussian(side: int, sigma: float) -> NDArray[np.float32]:
    if sigma == 0:
        return np.eye(side, dtype=np.float32)
    distance = np.subtract.outer(np.arange(side), np.arange(side)) / sigma
    weights = np.exp(-(distance**2) / 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _shift(offsets: Tensor, side: int) -> Tensor:
    """Matrices (N, side, side) that shift the rows of maps round, exactly."""
    return tf.one_hot((tf.range(side) - offsets[:, None]) % side, side)


def _sides(maps: Tensor) -> tuple[int, int, int]:
    height, width, count = maps.shape[1:]
    return height, width, count
