"""Receptive fields, strides and depths, computed on the traced graph.

Theoretical receptive field (Araujo et al., Distill 2019): ``r = r + (k - 1) d j``, ``j = j s``,
from the input onwards, with the maximum over branches. A gate that looks at the whole image
(squeeze-excite) scales a map and is noted, not counted: else every later layer would see all.
"""

from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from layerscope.model import operations
from layerscope.model.taps import Wiring

GATE = "a gate or normalisation looks at the whole image besides"


@dataclass(frozen=True)
class Field:
    """What one pixel of a tensor can see of the image.

    Attributes:
        size: height and width in input pixels of the part of the image that it depends on.
        jump: input pixels between neighbouring pixels, vertically and horizontally.
        convolutions: number of convolutions on the longest way from the input.
        whole: depends on every pixel of the image.
        unknown: empty, or why the figures are not known.
        note: a remark on the figures.
    """

    size: tuple[float, float] = (1.0, 1.0)
    jump: tuple[float, float] = (1.0, 1.0)
    convolutions: int = 0
    whole: bool = False
    unknown: str = ""
    note: str = ""

    def through(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
    ) -> "Field":
        """The field behind a sliding window."""
        size = [
            r + (k - 1) * d * j
            for r, k, d, j in zip(self.size, kernel, dilation, self.jump, strict=True)
        ]
        jump = [j * s for j, s in zip(self.jump, stride, strict=True)]
        return replace(self, size=(size[0], size[1]), jump=(jump[0], jump[1]))

    def finer(self, factor: tuple[float, float]) -> "Field":
        """The field after enlarging the map by a factor."""
        return replace(self, jump=(self.jump[0] / factor[0], self.jump[1] / factor[1]))


_SEES_ALL = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any"}
_RESHAPES = {"Reshape", "Squeeze", "ExpandDims", "Transpose"}
_KEEPS = operations.ELEMENTWISE | {
    "Pad", "PadV2", "MirrorPad", "ConcatV2", "Softmax", "LRN", "Split", "SplitV", "Unpack", "Pack",
    "Tile", "BroadcastTo", "LogSoftmax", "ZerosLike", "OnesLike", "Slice",
}  # fmt: skip
_SUMMARISED = (
    keras.layers.UpSampling2D,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.GroupNormalization,
)
"""Layers whose many reshapes are easier to know as a whole."""

_RESIZES = {"ResizeBilinear": 2, "ResizeBicubic": 4, "ResizeNearestNeighbor": 1, "ResizeArea": 1}


def fields(wiring: Wiring, kernels: set[str]) -> dict[str, Field]:
    """The field of every tensor that depends on the image.

    Args:
        wiring: the traced graph.
        kernels: tensors that count as one convolution each, for the depth.

    Returns:
        Tensor name -> field. Inputs that are no images have none.
    """
    images = [n for n in wiring.trace.inputs if wiring.tensors[n].shape.rank == 4]
    found: dict[str, Field] = {name: Field() for name in images}
    summarised = {
        call.outputs[0]: call
        for call in wiring.trace.calls[1:]
        if isinstance(call.layer, _SUMMARISED) and len(call.outputs) == 1 == len(call.inputs)
    }
    for op in wiring.ops:
        sources = [t for t in op.inputs if t.name in found]
        if not sources or op.type in operations.MEASURES_SHAPE:
            continue
        field = _behind(op, _hidden_window(wiring, op), found)
        for output in op.outputs:
            call = summarised.get(output.name)
            if call and call.inputs[0] in found and wiring.tensors[output.name].shape.rank == 4:
                before = replace(found[call.inputs[0]], convolutions=field.convolutions)
                field = _behind_layer(call.layer, before)
            if output.name in kernels:
                field = replace(field, convolutions=field.convolutions + 1)
            found[output.name] = field
    return found


def _hidden_window(wiring: Wiring, op: tf.Operation) -> keras.layers.Conv2D | None:
    """The convolution layer that hides its window in a compiled function (grouped ones do)."""
    owners = wiring.owners(op) if op.type in operations.OPAQUE else []
    layer = owners[-1].layer if owners else None
    plain = isinstance(layer, keras.layers.Conv2D)
    return layer if plain and not isinstance(layer, keras.layers.Conv2DTranspose) else None


def _behind_layer(layer: keras.Layer, field: Field) -> Field:
    if isinstance(layer, keras.layers.GroupNormalization):
        return replace(field, note=GATE)
    if not isinstance(layer, keras.layers.UpSampling2D):
        return field  # a dense layer works on each pixel alone
    smooth = {"bilinear": 2, "bicubic": 4}.get(layer.interpolation, 1)
    return field.through((smooth, smooth)).finer(tuple(layer.size))


def _behind(op: tf.Operation, window: keras.layers.Conv2D | None, found: dict[str, Field]) -> Field:
    """The field of the outputs of an operation, from those of its inputs."""
    moving = [t for t in op.inputs if t.name in found]
    joined = _join([found[t.name] for t in moving])
    first, output = moving[0], op.outputs[0] if op.outputs else moving[0]
    if window is not None:
        return joined.through(window.kernel_size, window.strides, window.dilation_rate)
    if op.type in operations.KERNELS:
        return _behind_convolution(op, joined)
    if op.type in {"MaxPool", "MaxPoolV2", "AvgPool", "ExtractImagePatches"}:
        size = op.get_attr("ksize" if "Pool" in op.type else "ksizes")
        return joined.through(tuple(size[1:3]), tuple(op.get_attr("strides")[1:3]))
    if op.type in _KEEPS or op.type in _RESHAPES or op.type in _SEES_ALL:
        return _behind_shape_change(op, first, output, joined)
    if op.type in {"MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"}:
        both = len(moving) > 1
        return replace(joined, whole=True) if both else joined
    if op.type == "StridedSlice":
        return _behind_slice(op, joined)
    if op.type in _RESIZES:
        smooth = _RESIZES[op.type]
        return _scaled(joined.through((smooth, smooth)), first, output)
    if op.type in {"SpaceToBatchND", "BatchToSpaceND", "DepthToSpace", "SpaceToDepth"}:
        return _behind_rearrangement(op, joined)
    return _unknown(joined, op)


def _unknown(field: Field, op: tf.Operation) -> Field:
    data_dependent = op.type in operations.BRANCHING | operations.OPAQUE
    what = "data-dependent code" if data_dependent else "an operation without a known window"
    return replace(field, unknown=f"unknown behind {what} ({op.type})")


def _join(sources: list[Field]) -> Field:
    """Several branches: the maximum; a gate on the whole image is noted, not counted."""
    local = [f for f in sources if not f.whole]
    gated = bool(local) and len(local) < len(sources)
    counted = local or sources
    return Field(
        size=(max(f.size[0] for f in counted), max(f.size[1] for f in counted)),
        jump=(max(f.jump[0] for f in counted), max(f.jump[1] for f in counted)),
        convolutions=max(f.convolutions for f in sources),
        whole=not local,
        unknown=next((f.unknown for f in counted if f.unknown), ""),
        note=GATE if gated else next((f.note for f in counted if f.note), ""),
    )


def _behind_convolution(op: tf.Operation, field: Field) -> Field:
    strides = tuple(op.get_attr("strides")[1:3])
    dilation = tuple(op.get_attr("dilations")[1:3])
    kernel = op.inputs[1].shape
    size = (kernel[0] or 1, kernel[1] or 1)
    if op.type != "Conv2DBackpropInput":
        return field.through(size, strides, dilation)
    # Between s output pixels lie no new input pixels: a window of k meets ceil(k / s) of them.
    met = (-(-size[0] // strides[0]), -(-size[1] // strides[1]))
    return field.through(met, (1, 1), dilation).finer(strides)


def _behind_shape_change(
    op: tf.Operation, source: tf.Tensor, output: tf.Tensor, field: Field
) -> Field:
    """Reductions and reshapes: mixing the places of a map means to see all of it."""
    if op.type in _KEEPS or source.shape.rank is None or output.shape.rank is None:
        return field
    if op.type in _SEES_ALL:
        axes = operations.static(op.inputs[1])
        rank = source.shape.rank
        channels_only = axes is not None and all(a % rank == rank - 1 for a in axes.reshape(-1))
        return field if channels_only or rank < 3 else replace(field, whole=True)
    keeps_channels = output.shape.rank > 0 and output.shape[-1] == source.shape[-1]
    # Flattening a map puts its places into the channels; a Dense over pixels does not.
    return field if keeps_channels or source.shape.rank < 3 else replace(field, whole=True)


def _behind_slice(op: tf.Operation, field: Field) -> Field:
    steps = operations.static(op.inputs[3])
    if steps is None or steps.size < 3:
        return field
    return field.through((1, 1), (abs(int(steps[1])), abs(int(steps[2]))))


def _scaled(field: Field, source: tf.Tensor, output: tf.Tensor) -> Field:
    before, after = operations.side(source), operations.side(output)
    if None in before or None in after:
        return replace(field, unknown="unknown behind a resize to a size that varies")
    return field.finer((after[0] / before[0], after[1] / before[1]))  # type: ignore[operator]


def _behind_rearrangement(op: tf.Operation, field: Field) -> Field:
    if op.type in {"DepthToSpace", "SpaceToDepth"}:
        block = int(op.get_attr("block_size"))
        if op.type == "DepthToSpace":
            return field.finer((block, block))
        return field.through((block, block), (block, block))
    shape = operations.static(op.inputs[1])
    if shape is None or shape.size != 2:
        return _unknown(field, op)
    # Dilated convolution in its older form: pixels are dealt out to the batch and back.
    factor = (int(shape[0]), int(shape[1]))
    return field.through((1, 1), factor) if op.type == "SpaceToBatchND" else field.finer(factor)
