"""Where in a model a method looks: the layer, and the image that the layer sees."""

from collections.abc import Iterable

import tensorflow as tf

from layerscope.errors import InputError
from layerscope.focus.targets import Explained, without_copies
from layerscope.model import operations
from layerscope.model.taps import Tap


def place(explained: Explained, layer: str | None) -> Tap:
    """The layer whose maps are weighed.

    By default the last map with more than one pixel on the way to what is explained: that of the
    last convolution or block if everything passes it, else (dense blocks, parallel branches) the
    last output of a layer that everything passes.

    Args:
        explained: what is explained.
        layer: path of a layer, if one is asked for.

    Raises:
        UnknownLayerError: there is no such layer.
        InputError: it has no map to weigh, or the explained number does not depend on it.
    """
    traced = explained.traced
    if layer is None:
        found: Tap = traced.once(("place", explained.values), lambda: _default(explained))
        return found
    taps = traced.resolve(layer)
    if len(taps) != 1:
        raise InputError(f"One layer is needed, and {layer!r} names {len(taps)}: give a path.")
    if not _has_pixels(traced.tensor(taps[0].tensor)):
        raise InputError(
            f"A heatmap needs maps of more than one pixel, and those of {layer!r} have one: choose "
            "an earlier layer."
        )
    if taps[0].tensor not in _behind(explained):
        raise InputError(
            f"What is explained does not depend on {layer!r}, which lies on another branch of the "
            "model or behind it: choose another layer, or output."
        )
    return taps[0]


def image_of(explained: Explained, tap: Tap | None = None) -> int:
    """Position of the image among the inputs: the first that a layer, or the target, depends on.

    Raises:
        InputError: there is none.
    """
    traced = explained.traced
    start = traced.tensor(tap.tensor if tap else explained.values)
    seen = _upstream([start])
    for i, name in enumerate(traced.trace.inputs):
        if name in seen and traced.tensor(name).shape.rank == 4:
            return i
    raise InputError(
        f"A heatmap lies over an image, and what is explained of '{traced.model.name}' depends on "
        "no input of shape (batch, height, width, channels)."
    )


def is_bottleneck(explained: Explained, tensor: str) -> bool:
    """Whether a tensor is all that the explained number sees of the inputs."""
    traced = explained.traced

    def check() -> bool:
        free = _upstream([traced.tensor(explained.values)], without=tensor)
        return not any(name in free for name in traced.trace.inputs)

    found: bool = traced.once(("bottleneck", explained.values, tensor), check)
    return found


def _default(explained: Explained) -> Tap:
    traced = explained.traced
    behind = _behind(explained)
    end = traced.trace.graph.get_tensor_by_name(explained.values)
    taps = _in_order(explained, traced.taps, behind)
    if not taps:
        raise InputError(
            f"A heatmap needs a convolution with maps of more than one pixel on the way to "
            f"{end.name!r}, and '{traced.model.name}' has none: use a method without a layer, such "
            "as integrated-gradients."
        )
    last = taps[-1]
    if _separates(explained, last):
        return last
    at = traced.wiring.position
    later = [
        tap
        for tap in _in_order(explained, traced.others, behind)
        if at[traced.tensor(tap.tensor).op.name] > at[traced.tensor(last.tensor).op.name]
    ]
    return next((tap for tap in reversed(later) if _separates(explained, tap)), last)


def _in_order(explained: Explained, taps: Iterable[Tap], behind: set[str]) -> list[Tap]:
    traced = explained.traced
    usable = [
        tap
        for tap in taps
        if tap.tensor in behind
        and _has_pixels(traced.tensor(tap.tensor))
        and without_copies(traced.tensor(tap.tensor)).name not in explained.ends
    ]
    position = traced.wiring.position
    return sorted(usable, key=lambda tap: position[traced.tensor(tap.tensor).op.name])


def _separates(explained: Explained, tap: Tap) -> bool:
    """Whether no image reaches the explained number other than through a map."""
    traced = explained.traced
    free = _upstream([traced.tensor(explained.values)], without=tap.tensor)
    return not any(n in free for n in traced.trace.inputs if traced.tensor(n).shape.rank == 4)


def _behind(explained: Explained) -> set[str]:
    traced = explained.traced
    found: set[str] = traced.once(
        ("behind", explained.values), lambda: _upstream([traced.tensor(explained.values)])
    )
    return found


def _upstream(tensors: list[tf.Tensor], without: str = "") -> set[str]:
    """Names of all tensors that some tensors depend on, themselves included."""
    seen: set[str] = set()
    waiting = [t for t in tensors if t.name != without]
    while waiting:
        tensor = waiting.pop()
        if tensor.name in seen:
            continue
        seen.add(tensor.name)
        if tensor.op.type not in operations.MEASURES_SHAPE:
            waiting.extend(t for t in tensor.op.inputs if t.name != without)
    return seen


def _has_pixels(tensor: tf.Tensor) -> bool:
    return operations.is_map(tensor) and tuple(operations.side(tensor)) != (1, 1)
