"""Random numbers that are a function of the image alone, whatever batch it comes in.

A graph can hold no generator with a state: the same image would give another map in another batch.
So every number here is an integer hash of the pixels, a seed and a position, by the finaliser of
MurmurHash3 (Appleby, public domain). One changed bit of one pixel changes all of them.
"""

import math
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

Tensor: TypeAlias = Any
"""`tf.Tensor`, for which no types are published."""

_WORDS = (0x9E3779B1, 0x7FEB352D)


def image_hash(images: Tensor) -> Tensor:
    """Two 32-bit words per image, uint32 (N, 2), from the bits of its float32 pixels.

    Args:
        images: (N, H, W, C).
    """
    bits = tf.bitcast(tf.cast(images, tf.float32), tf.uint32)
    bits = tf.reshape(bits, (tf.shape(images)[0], -1))
    position = _count(tf.shape(bits)[1])
    words = [tf.reduce_sum(_mixed(bits + _mixed(position + word)), 1) for word in _WORDS]
    return tf.stack(words, 1)


def drawn(images: Tensor, seed: int, count: Tensor) -> Tensor:
    """Random words, uint32 (N, count): the same for the same image and seed."""
    first, second = tf.unstack(image_hash(images)[..., None], axis=1)
    own = _mixed(first + np.uint32(seed % 2**32))
    return _mixed(_mixed(own + _count(count)) + second)


def whole(images: Tensor, seed: int, count: int, limit: int) -> Tensor:
    """Random whole numbers, int32 (N, count), from 0 to ``limit`` - 1."""
    high = tf.cast(tf.bitwise.right_shift(drawn(images, seed, count), np.uint32(8)), tf.int32)
    return high % limit


def normal(images: Tensor, seed: int, shape: tuple[Any, ...]) -> Tensor:
    """Independent standard normal values, float32 (N, *shape), by Box and Muller's formula."""
    count = tf.math.reduce_prod(tf.stack(shape))
    words = drawn(images, seed, count)
    radius = tf.sqrt(-2 * tf.math.log(_uniform(words)))
    values = radius * tf.cos(2 * math.pi * _uniform(_mixed(words ^ np.uint32(_WORDS[0]))))
    return tf.reshape(values, (-1, *shape))


def _uniform(words: Tensor) -> Tensor:
    """Words as numbers strictly between 0 and 1."""
    high = tf.cast(tf.bitwise.right_shift(words, np.uint32(8)), tf.float32)
    return tf.minimum((high + 0.5) / 2**24, 1 - 2.0**-24)


def _count(length: Tensor) -> Tensor:
    return tf.cast(tf.range(length), tf.uint32)


def _mixed(words: Tensor) -> Tensor:
    """Each word with all its bits mixed."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words = (words ^ tf.bitwise.right_shift(words, np.uint32(shift))) * np.uint32(factor)
    return words ^ tf.bitwise.right_shift(words, np.uint32(16))
