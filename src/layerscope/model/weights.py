"""The weights behind a map, read from the graph, whatever layer or plain call holds them."""

import hashlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from layerscope.model import operations
from layerscope.model.fresh import fresh_weight
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel
from layerscope.model.twin import initialisers_of


def kernel_of(traced: TracedModel, tap: Tap) -> np.ndarray | None:
    """The convolution kernel (kh, kw, inputs, outputs) behind a map, as Keras keeps it.

    Of a separable convolution the depthwise part, which is the one that looks around.

    Returns:
        ``None`` where a map comes from a sum or a dense layer, or the kernel is computed.
    """
    place = _place(traced, tap)
    if place is None:
        return None
    return np.asarray(keras.ops.convert_to_numpy(traced.model.weights[place]))


def fresh_kernel(traced: TracedModel, tap: Tap, seed: Sequence[int]) -> np.ndarray | None:
    """What `kernel_of` would be before training, for a seed.

    Returns:
        ``None`` also where no initialiser is known.
    """
    place, known = _place(traced, tap), initialisers_of(traced)
    if place is None or place not in known.of:
        return None
    return np.asarray(fresh_weight(traced.model.weights[place], known.of[place], (*seed, place)))


def _place(traced: TracedModel, tap: Tap) -> int | None:
    """Where in ``model.weights`` the kernel is."""
    if not tap.kernel:
        return None
    op = traced.wiring.tensors[tap.kernel].op
    if tap.kind == "separable" and op.inputs[0].op.type == "DepthwiseConv2dNative":
        op = op.inputs[0].op
    for tensor in op.inputs:
        while tensor.op.type in operations.COPIES and tensor.op.inputs:
            tensor = tensor.op.inputs[0]
        if tensor.name in traced.trace.weights and tensor.shape.rank == 4:
            return traced.trace.weights.index(tensor.name)
    return None


def upsampling(traced: TracedModel, tap: Tap) -> int:
    """By how much a transposed convolution enlarges a map; 1 for all others."""
    op: tf.Operation | None = traced.wiring.tensors[tap.kernel].op if tap.kernel else None
    if op is None or op.type != "Conv2DBackpropInput":
        return 1
    return int(max(op.get_attr("strides")))


def weights_hash(model: keras.Model) -> str:
    """sha256 over the shapes, types and values of the weights, in order."""
    found = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        found.update(f"{values.dtype} {values.shape};".encode())
        found.update(values.tobytes())
    return found.hexdigest()
