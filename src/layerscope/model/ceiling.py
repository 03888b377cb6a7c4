"""The bound of the activation that made a map, beyond which a channel cannot say more."""

import numpy as np
import tensorflow as tf

from layerscope.model import operations
from layerscope.model.taps import Tap, Wiring

_BOUNDS = {"Relu6": 6.0, "Sigmoid": 1.0, "Tanh": 1.0, "Softsign": 1.0, "Softmax": 1.0}


def ceiling(wiring: Wiring, tap: Tap) -> float:
    """The largest absolute value that the activation at a tap can give; infinite without bound."""
    return _bound(wiring, wiring.tensors[tap.tensor].op)


def _bound(wiring: Wiring, op: tf.Operation) -> float:
    if op.type in _BOUNDS:
        return _BOUNDS[op.type]
    moving = [t for t in op.inputs if t.name in wiring.moving]
    if len(moving) != 1:
        return float("inf")
    fixed = [operations.static(t) for t in op.inputs if t is not moving[0]]
    # A clip is bound by its upper end, which follows its lower one.
    if op.type in {"Minimum", "ClipByValue"} and (bound := _size(fixed[-1])):
        return bound
    if op.type in operations.COPIES or op.type in {"Relu", "Maximum"}:
        return _bound(wiring, moving[0].op)
    if op.type in {"Mul", "RealDiv"} and (factor := _size(fixed[0])):
        return _bound(wiring, moving[0].op) * (factor if op.type == "Mul" else 1 / factor)
    return float("inf")


def _size(value: np.ndarray | None) -> float:
    """The absolute value of a number; 0 for anything else."""
    if value is None or value.size != 1 or not np.isfinite(value).all():
        return 0.0
    return float(np.abs(value).item())
