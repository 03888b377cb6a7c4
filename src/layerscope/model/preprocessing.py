"""Whether a model prepares its images itself."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from layerscope.model.traced import TracedModel, view

_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
_SCALES = {"Mul", "RealDiv", "Div", "Sub", "AddV2", "Add", "BiasAdd"}
_KEEPS = {
    "Identity", "Cast", "Pad", "PadV2", "MirrorPad", "EnsureShape", "ResizeBilinear",
    "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ReverseV2", "StridedSlice", "Slice",
    "Transpose", "Reshape", "StopGradient", "ClipByValue", "Minimum", "Maximum", "IdentityN",
    "Pack", "Unpack", "Concat", "ConcatV2", "Split", "SplitV",
}  # fmt: skip

_SIDE = 32
"""Of the probe, where a model takes images of any size."""


def own_preprocessing(traced: TracedModel) -> str:
    """Where a model itself brings pixels 0..255 to the scale it works on.

    Arithmetic that only fits pixels brought to 0..1 before, such as ``2 * x - 1``, is none: it
    would leave pixels 0..255 as large as they are.

    Returns:
        Path of the layer, or the type of the plain operation; empty if it does nothing.
    """
    for place, image in enumerate(traced.trace.inputs):
        if traced.wiring.tensors[image].shape.rank == 4:
            for name, end in _arithmetic(traced, image):
                if _brings_to_scale(traced, place, end):
                    return name
    return ""


def _arithmetic(traced: TracedModel, image: str) -> Iterator[tuple[str, str]]:
    """Name of the first operation of each chain of arithmetic on the image, and its last tensor."""
    wiring = traced.wiring
    waiting, seen = [(image, "")], {(image, "")}
    while waiting:
        tensor, name = waiting.pop(0)
        onwards: list[tuple[str, str]] = []
        for op in wiring.readers(tensor):
            if op.type in _KEEPS:
                onwards += [(output.name, name) for output in op.outputs]
            elif op.type in _SCALES and _fixed(traced, op):
                owner = wiring.owners(op)[-1]
                own = owner.path if isinstance(owner.layer, _LAYERS) else op.type
                onwards.append((op.outputs[0].name, name or own))
        if name and not any(later == name for _, later in onwards):
            yield name, tensor
        waiting += [step for step in dict.fromkeys(onwards) if step not in seen]
        seen.update(onwards)


def _fixed(traced: TracedModel, op: tf.Operation) -> bool:
    """Whether no learned weight takes part: constants, or statistics of the image itself.

    The mean and variance of a Normalization layer are weights too, but its statistics.
    """
    wiring, learned = traced.wiring, set(traced.trace.weights)
    seen: set[str] = set()
    waiting = [op]
    while waiting:
        maker = waiting.pop()
        if maker.name in seen or isinstance(wiring.owners(maker)[-1].layer, _LAYERS):
            continue
        seen.add(maker.name)
        if any(tensor.name in learned for tensor in maker.outputs):
            return False
        waiting.extend(tensor.op for tensor in maker.inputs)
    return True


def _brings_to_scale(traced: TracedModel, place: int, end: str) -> bool:
    """Whether black and white become values that a network works on.

    Either they are at most 20 apart (0..1, -1..1 and deviations of some data set are at most 5),
    or they stay 255 apart and are shifted by a mean, as for the nets that Caffe trained.
    """
    inputs = [np.zeros([s or _SIDE for s in spec.shape], np.float32) for spec in traced.trace.specs]
    lows, highs = (
        view(traced.run([*inputs[:place], inputs[place] + level, *inputs[place + 1 :]], [end])[0])
        for level in (0.0, 255.0)
    )
    range_ = float(np.abs(highs - lows).max())
    return range_ <= 20 or (range_ < 260 and float(lows.mean()) < -20)
