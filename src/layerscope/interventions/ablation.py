"""Channels held at one value, and what the model says then.

Mean-ablation takes from a channel all that differs between images and places, and leaves what a
bias could do as well. Zero would be a foreign value behind most normalisations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.focus.targets import Explained, Indices
from layerscope.model import operations
from layerscope.model.traced import Edit, TracedModel, view
from layerscope.vocabulary import Floats

Array = np.ndarray
UNCHANGED = -1
"""In place of a channel: none is changed."""


@dataclass(frozen=True)
class Cut:
    """What is computed anew when the map of one layer changes, and what stays as it was.

    Attributes:
        explained: the number of interest.
        tensor: name of the tensor that is the map.
        fetches: names of the tensors that are asked for.
        held: names of the tensors that the map has no influence on and that meet it later on the
            way to the fetches, such as the other branch of a residual block. They are computed
            once per image, and nothing before them is needed again.
    """

    explained: Explained
    tensor: str
    fetches: tuple[str, ...]
    held: tuple[str, ...]


def cut_at(explained: Explained, tensor: str, also: Sequence[str] = ()) -> Cut:
    """Find out what must be computed again when a map changes.

    Args:
        explained: the number of interest; the numbers of all classes are the first fetch, its
            score the second.
        tensor: name of the tensor that is the map.
        also: names of more tensors to ask for.

    Raises:
        InputError: what is explained does not depend on the map.
    """
    traced = explained.traced
    fetches = (explained.values, explained.score, *also)
    held = traced.once(("held", tensor, fetches), lambda: _held(traced, tensor, fetches))
    if held is None:
        raise InputError(
            "What is explained does not depend on this layer, which lies on another branch of "
            f"'{traced.model.name}' or behind it: choose another layer, or output."
        )
    return Cut(explained, tensor, fetches, held)


def _held(traced: TracedModel, tensor: str, fetches: Sequence[str]) -> tuple[str, ...] | None:
    moving, changed = _influenced(traced, traced.trace.inputs), _influenced(traced, [tensor])
    if fetches[0] not in changed:
        return None
    held: list[str] = []
    seen, waiting = {tensor}, list(fetches)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in moving and name not in changed:
            held.append(name)
        else:
            waiting.extend(t.name for t in traced.tensor(name).op.inputs)
    return tuple(held) if all(_has_batch(traced, name) for name in held) else _all(traced)


def _influenced(traced: TracedModel, names: Sequence[str]) -> set[str]:
    """Names of the tensors whose values depend on some others, those included."""
    found = set(names)
    for op in traced.trace.graph.get_operations():
        if op.type not in operations.MEASURES_SHAPE and any(t.name in found for t in op.inputs):
            found.update(t.name for t in op.outputs)
    return found


def _has_batch(traced: TracedModel, name: str) -> bool:
    shape = traced.tensor(name).shape
    return shape.rank is not None and shape.rank > 0 and shape[0] is None


def _all(traced: TracedModel) -> tuple[str, ...]:
    return tuple(traced.trace.inputs)


def ablated(
    cut: Cut,
    inputs: Sequence[Array],
    index: Indices,
    images: NDArray[np.intp],
    channels: NDArray[np.intp],
    values: NDArray[np.floating],
    rows: int,
) -> Iterator[tuple[slice, list[Array]]]:
    """Ask again with one channel of one image held at one value, many such cases in one pass.

    Args:
        cut: where, and what is asked.
        inputs: one array per input of the model, batch first.
        index: class per image.
        images: (P,), the place of the image of each case.
        channels: (P,), the channel of each case, or `UNCHANGED`.
        values: (P,), what every pixel of that channel becomes.
        rows: most cases in one pass.

    Yields:
        Which cases, and one array per fetch of the cut for them.
    """
    explained = cut.explained
    names = explained.traced.trace.inputs
    inner = [name for name in cut.held if name not in names]
    maps, *held = explained.ask(inputs, index, [cut.tensor, *inner])
    known = dict(zip(inner, held, strict=True))
    again = [name in cut.held for name in names]
    if any(len(x) != len(inputs[0]) for x in held):  # its first axis is not that of the images
        known, again = {}, [True for _ in names]
    for start in range(0, len(images), rows):
        at = slice(start, start + rows)
        who, which = images[at], channels[at]
        changed = maps[who]
        on = np.flatnonzero(which >= 0)
        changed[on, ..., which[on]] = values[at][on, None, None]
        # An input that is not needed may be empty.
        fed = [x[who] if used else x[:0] for x, used in zip(inputs, again, strict=True)]
        given = {cut.tensor: changed, **{name: x[who] for name, x in known.items()}}
        yield at, explained.ask(fed, index[who], cut.fetches, given)


@dataclass(frozen=True, slots=True)
class Case:
    """One channel of one layer, held at one value.

    Attributes:
        tensor: name of the tensor that is the map; empty for a case without a change.
        channel: of that map.
        value: what every pixel becomes.
    """

    tensor: str
    channel: int
    value: float


def ablated_anywhere(
    explained: Explained,
    inputs: Sequence[Array],
    index: Indices,
    cases: Sequence[Case],
    rows: int,
) -> Floats:
    """The explained number of one image for cases in many layers.

    All layers share one program that computes the whole model, since each program of its own takes
    longer to build than the few cases of a layer to compute.

    Args:
        explained: the number of interest.
        inputs: of one image, batch first.
        index: its class, (1,).
        cases: what is changed, one at a time.
        rows: most cases in one pass.

    Returns:
        float32 (P,).
    """
    traced = explained.traced
    widths = {
        case.tensor: int(traced.tensor(case.tensor).shape[-1]) for case in cases if case.tensor
    }
    scores = np.empty(len(cases), np.float32)
    for start in range(0, len(cases), rows):
        some = cases[start : start + rows]
        edits = {name: _edit(name, width, some) for name, width in widths.items()}
        fed = [np.repeat(x, len(some), 0) for x in inputs]
        given = {explained.index: np.repeat(index, len(some))}
        found = traced.run(fed, [explained.score], explained.weights, edits, given)
        scores[start : start + len(some)] = view(found[0])
    return scores


def _edit(tensor: str, width: int, cases: Sequence[Case]) -> Edit:
    where = np.zeros((len(cases), 1, 1, width), bool)
    value = np.zeros(where.shape, np.float32)
    for row, case in enumerate(cases):
        if case.tensor == tensor:
            where[row, ..., case.channel] = True
            value[row, ..., case.channel] = case.value
    return Edit(where, value)
