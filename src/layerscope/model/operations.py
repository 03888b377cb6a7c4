"""What graph operations mean for a map: which ones keep its pixels, which bend its values."""

import numpy as np
import tensorflow as tf

KERNELS = {
    "Conv2D": "conv",
    "DepthwiseConv2dNative": "depthwise",
    "Conv2DBackpropInput": "transposed",
}
"""Two-dimensional convolutions, and the kind of map that each computes."""

OPAQUE = {"PartitionedCall", "StatefulPartitionedCall"}
"""A compiled function: Keras hides grouped convolutions in one."""

BRANCHING = {"If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase"}
"""Data-dependent code, which a graph cannot be followed into."""

MEASURES_SHAPE = {"Shape", "ShapeN", "Rank", "Size"}
"""What these give depends on the size of the image, never on its pixels."""

COPIES = {
    "Identity", "Cast", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot",
    "EnsureShape", "PlaceholderWithDefault",
}  # fmt: skip
"""Operations behind which a map is the same map. (``IdentityN`` carries a custom gradient.)"""

_LINEAR = {
    "BiasAdd", "BiasAddV1", "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan",
    "Neg", "Reciprocal", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3",
}  # fmt: skip

_BENDING = {
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "Sigmoid", "Tanh",
    "Erf", "Erfc", "Exp", "Expm1", "Log", "Log1p", "Sqrt", "Rsqrt", "Square", "Pow", "Maximum",
    "Minimum", "ClipByValue", "Abs", "Sign", "Sin", "Cos", "Atan", "Round", "Rint", "Floor",
    "Ceil", "Select", "SelectV2", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal",
    "NotEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "SquaredDifference", "Softmax",
    "Xlogy", "MulNoNan", "Inv",
}  # fmt: skip

ELEMENTWISE = COPIES | {"IdentityN"} | _LINEAR | _BENDING - {"Softmax"}
"""Operations whose output pixel depends on the same pixel of the input alone."""


def bends(op: tf.Operation, moving: set[str]) -> bool:
    """Whether an operation is a nonlinearity of the tensors that depend on the image.

    Args:
        op: any operation.
        moving: names of the tensors that depend on the image.
    """
    if op.type in _BENDING:
        return any(t.name in moving for t in op.inputs)
    # x * sigmoid(x) bends, scale * x does not.
    product = op.type in {"Mul", "RealDiv", "Div", "DivNoNan"}
    return product and sum(t.name in moving for t in op.inputs) > 1


def per_channel(tensor: tf.Tensor) -> bool:
    """Whether a tensor is a scalar or holds one value per channel, by its static shape."""
    shape = tensor.shape
    return shape.rank is not None and all(side == 1 for side in list(shape)[:-1])


def is_map(tensor: tf.Tensor) -> bool:
    """Whether a tensor has the rank and type of a batch of maps."""
    return bool(tensor.shape.rank == 4 and tensor.dtype.is_floating)


def side(tensor: tf.Tensor) -> tuple[int | None, int | None]:
    """Height and width of a map."""
    return tensor.shape[1], tensor.shape[2]


def static(tensor: tf.Tensor) -> np.ndarray | None:
    """The value of a constant tensor, ``None`` where it is not constant."""
    value = tf.get_static_value(tensor)
    return None if value is None else np.asarray(value)
