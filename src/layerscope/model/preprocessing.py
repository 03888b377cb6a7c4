"""Whether a model prepares its images itself."""

import keras
import tensorflow as tf

from layerscope.model.traced import TracedModel

_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)
_SCALES = {"Mul", "RealDiv", "Div", "Sub", "AddV2", "Add", "BiasAdd", "ReverseV2"}
_KEEPS = {"Identity", "Cast", "Pad", "PadV2", "MirrorPad", "EnsureShape", "ResizeBilinear"}


def own_preprocessing(traced: TracedModel) -> str:
    """Where a model itself scales or shifts its image input.

    Returns:
        Path of the layer, or the type of the plain operation; empty if it does nothing.
    """
    wiring = traced.wiring
    for image in traced.trace.inputs:
        if wiring.tensors[image].shape.rank != 4:
            continue
        waiting = [image]
        while waiting:
            for op in wiring.readers(waiting.pop()):
                if op.type in _KEEPS:
                    waiting.append(op.outputs[0].name)
                elif op.type in _SCALES and _fixed(traced, op):
                    owner = wiring.owners(op)[-1]
                    return owner.path if isinstance(owner.layer, _LAYERS) else op.type
    return ""


def _fixed(traced: TracedModel, op: tf.Operation) -> bool:
    """Whether all operands but the image are constants, not made from weights that are learned.

    The mean and variance of a Normalization layer are weights too, but its statistics.
    """
    owner = traced.wiring.owners(op)[-1].layer
    learned = set() if isinstance(owner, _LAYERS) else set(traced.trace.weights)
    waiting = [t for t in op.inputs if t.name not in traced.wiring.moving]
    while waiting:
        tensor = waiting.pop()
        if tensor.name in learned:
            return False
        waiting.extend(tensor.op.inputs)
    return True
