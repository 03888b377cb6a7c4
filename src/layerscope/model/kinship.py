"""Which layers pass the maps of others on under the same number.

A depthwise convolution makes each map from the one of that number alone, and a residual sum adds
maps of one number. So the same channel turns up in layer after layer, with nearly the same effect.
"""

from collections.abc import Sequence

from layerscope.model import operations
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel

_KEEPS_CHANNELS = operations.ELEMENTWISE | {
    "DepthwiseConv2dNative",
    "MaxPool",
    "AvgPool",
    "Pad",
    "PadV2",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
}
"""Operations that make each map of maps of the same number."""


def kinship(traced: TracedModel, taps: Sequence[Tap]) -> list[int]:
    """The number of the family of each layer; layers of a family pass their maps on.

    Args:
        traced: the model.
        taps: layers that have maps.
    """
    family = {tap.tensor: at for at, tap in enumerate(taps)}
    for tap in taps:
        for source in _passed_on(traced, tap.tensor, set(family)):
            old, new = family[tap.tensor], family[source]
            family = {name: new if one == old else one for name, one in family.items()}
    return [family[tap.tensor] for tap in taps]


def _passed_on(traced: TracedModel, tensor: str, ends: set[str]) -> list[str]:
    """The nearest of some tensors whose maps go into those of a tensor under the same number."""
    width = traced.tensor(tensor).shape[-1]
    found: list[str] = []
    seen, waiting = {tensor}, [tensor]
    while waiting:
        op = traced.tensor(waiting.pop()).op
        if op.type not in _KEEPS_CHANNELS:
            continue
        for source in op.inputs:
            name = source.name
            own = operations.is_map(source) and source.shape[-1] == width
            if name in seen or name not in traced.wiring.moving or not own:
                continue
            seen.add(name)
            if name in ends:
                found.append(name)
            else:
                waiting.append(name)
    return found
