"""A model that can be read and edited at its taps, with its own or with other weights."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from layerscope.errors import InputError
from layerscope.model import graph as graphs
from layerscope.model.fields import Field, fields
from layerscope.model.layers import resolve, rows
from layerscope.model.taps import Tap, find_taps, other_outputs
from layerscope.model.trace import Trace, trace
from layerscope.vocabulary import Layer

_PROGRAMS_KEPT = 24


@dataclass(frozen=True)
class Edit:
    """A change of one map on its way through the model.

    Attributes:
        where: bool, broadcastable to (N, H, W, C): which values are replaced.
        value: float32, broadcastable to (N, H, W, C): by what.
    """

    where: np.ndarray
    value: np.ndarray

    @classmethod
    def channels(cls, count: int, off: Sequence[int], value: float | np.ndarray = 0.0) -> "Edit":
        """Replace whole channels, by zero or by their means (array of ``count`` values)."""
        where = np.zeros(count, bool)
        where[list(off)] = True
        return cls(where, np.broadcast_to(np.asarray(value, np.float32), (count,)))


class TracedModel:
    """One trace of a model, and everything that can be computed from it without the model's code.

    Args:
        model: a built Keras model; it is never changed.
        specs: shapes and types of the inputs; default those the model was built for.
    """

    def __init__(self, model: keras.Model, specs: Any | None = None) -> None:
        self.model = model
        self.trace: Trace = trace(model, specs)
        self.taps, self.wiring = find_taps(self.trace)
        self._programs: OrderedDict[Any, Callable[..., list[tf.Tensor]]] = OrderedDict()
        self._made: dict[Any, Any] = {}
        self._gradients: dict[Any, tuple[str, ...]] = {}

    @cached_property
    def others(self) -> list[Tap]:
        """Layer outputs that are no taps of their own."""
        return other_outputs(self.wiring, self.taps)

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Receptive field of every tensor, by name."""
        counted = {tap.kernel for tap in self.taps if tap.kernel and tap.kind != "block"}
        return fields(self.wiring, counted)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """One row per tap and per listed layer, by path, in the order of computation."""
        return {row.path: row for row in rows(self.taps, self.wiring, self.fields)}

    def rows_of(self, taps: Sequence[Tap]) -> dict[str, Layer]:
        """Rows of some taps, also of those that `layers` leaves out."""
        return {row.path: row for row in rows(taps, self.wiring, self.fields)}

    def resolve(self, patterns: str | Sequence[str] | None) -> list[Tap]:
        """The taps that some patterns name, see `layerscope.model.layers.resolve`."""
        return resolve(patterns, self.taps, self.others, self.model.name)

    @property
    def outputs(self) -> dict[str, str]:
        """Output name -> tensor name."""
        return self.trace.outputs

    def run(
        self,
        inputs: Sequence[np.ndarray | tf.Tensor],
        fetches: Sequence[str],
        weights: Sequence[tf.Tensor] | None = None,
        edits: Mapping[str, Edit] | None = None,
        given: Mapping[str, np.ndarray] | None = None,
    ) -> list[tf.Tensor]:
        """Compute some tensors in one pass.

        Args:
            inputs: one array per model input, batch first; may be empty where ``given`` makes it
                useless.
            fetches: tensor names (of taps, outputs or gradients).
            weights: values for ``model.weights`` in that order; default the model's own.
            edits: tensor name of a tap -> what to change there, before anything reads it.
            given: tensor name -> its values, batch first. They are not computed, and neither is
                what only they depend on.

        Returns:
            One tensor per fetch; half precision is returned as float32. An edited tap is
            returned as edited, and a given tensor as given.

        Raises:
            MemoryError: the device cannot hold the batch.
        """
        edits, given = edits or {}, given or {}
        program = self._program(
            tuple(fetches), tuple(sorted(edits)), tuple(sorted(given)), weights is None
        )
        changes = [
            part
            for name in sorted(edits)
            for part in (
                tf.convert_to_tensor(edits[name].where, tf.bool),
                tf.convert_to_tensor(edits[name].value, tf.float32),
            )
        ]
        changes += [tf.cast(given[name], self.tensor(name).dtype) for name in sorted(given)]
        try:
            return program(*self.feed(inputs), *changes, *(weights or ()))
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"A batch of {len(inputs[0])} images does not fit.") from error

    def _program(
        self, fetches: tuple[str, ...], edited: tuple[str, ...], given: tuple[str, ...], own: bool
    ) -> Callable[..., list[tf.Tensor]]:
        key = fetches, edited, given, own
        if key not in self._programs:
            self._programs[key] = self._build(*key)
            if len(self._programs) > _PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _build(
        self, fetches: tuple[str, ...], edited: tuple[str, ...], given: tuple[str, ...], own: bool
    ) -> Callable[..., list[tf.Tensor]]:
        definition = self.trace.graph.as_graph_def()
        feeds = dict(zip(self.trace.inputs, self.trace.specs, strict=True))
        renamed: dict[str, str] = {}
        for i, name in enumerate(edited):
            tensor = self.wiring.tensors[name]
            ports = {
                f"edit{i}_where:0": tf.TensorSpec(None, tf.bool),
                f"edit{i}_value:0": tf.TensorSpec(None, tf.float32),
            }
            feeds |= ports
            spec = {name: tf.TensorSpec(tensor.shape, tensor.dtype)}
            renamed[name] = graphs.splice(definition, [name], spec | ports, _replace, f"edit{i}")[0]
        for i, name in enumerate(given):
            tensor = self.tensor(name)
            port = {f"given{i}_value:0": tf.TensorSpec(tensor.shape, tensor.dtype)}
            feeds |= port
            renamed[name] = graphs.splice(definition, [name], port, _as_it_is, f"given{i}")[0]
        bound = self.outside()
        weights = dict(zip(self.trace.weights, self.model.weights, strict=True))
        if own:
            bound |= {name: _reader(variable.value) for name, variable in weights.items()}
        else:
            feeds |= {name: tf.TensorSpec(v.shape, v.dtype) for name, v in weights.items()}
        wanted = [renamed.get(name, name) for name in fetches]
        return graphs.compile_graph(definition, feeds, bound, wanted)

    def feed(self, inputs: Sequence[np.ndarray | tf.Tensor]) -> list[tf.Tensor]:
        """Inputs as tensors of the types that the trace takes."""
        return [
            tf.cast(tf.convert_to_tensor(x), spec.dtype)
            for x, spec in zip(inputs, self.trace.specs, strict=True)
        ]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """Something costly that belongs to this trace, made at its first use."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def outside(self) -> dict[str, Callable[[], Any]]:
        """What the graph reads besides inputs and weights: tables, constants, plain variables."""
        return {name: _reader(value) for name, value in self.trace.captured.items()}

    def gradients(
        self,
        key: Any,
        target: Callable[[dict[str, tf.Tensor]], tf.Tensor],
        wrt: Sequence[str],
    ) -> tuple[str, ...]:
        """Add the gradient of a target to the graph, once per key; the model's code is not run.

        Args:
            key: names the target; the same key and ``wrt`` give the same tensors.
            target: builds a tensor (its sum is differentiated) from the tensors of the graph,
                by output name; taps are reached through ``self.tensor``.
            wrt: names of taps or inputs.

        Returns:
            Tensor names of the gradients; a tensor that the target does not depend on has a
            gradient of zeros.
        """
        at = key, tuple(wrt)
        if at not in self._gradients:
            tensors = [self.tensor(name) for name in wrt]
            with self.trace.graph.as_default():
                outputs = {name: self.tensor(tensor) for name, tensor in self.outputs.items()}
                grads = tf.gradients(
                    target(outputs), tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
                self._gradients[at] = tuple(tf.identity(g).name for g in grads)
        return self._gradients[at]

    def tensor(self, name: str) -> tf.Tensor:
        """A tensor of the traced graph, for building targets."""
        return self.trace.graph.get_tensor_by_name(name)

    def check_inputs(self, inputs: Sequence[np.ndarray]) -> None:
        """Refuse arrays that the model cannot take, with one clear sentence."""
        specs = self.trace.specs
        if len(inputs) != len(specs):
            raise InputError(
                f"'{self.model.name}' takes {len(specs)} inputs, and {len(inputs)} were given: "
                "pass a list with one array per input."
            )
        for i, (x, spec) in enumerate(zip(inputs, specs, strict=True)):
            if np.asarray(x[:1]).dtype.kind not in "biuf":
                raise InputError(f"Images are numbers; got an array of {np.asarray(x).dtype}.")
            if not len(x):
                raise InputError("At least one image is needed, and the array is empty.")
            wanted, given = tuple(spec.shape), tuple(np.shape(x))
            fits = len(wanted) == len(given) and all(
                want in (None, have) for want, have in zip(wanted, given, strict=True)
            )
            if not fits:
                which = f"Input {i} of" if len(specs) > 1 else "The input of"
                raise InputError(
                    f"{which} '{self.model.name}' must have shape {_shape(wanted)}, and "
                    f"{_shape(given)} was given{_hint(wanted, given)}."
                )


def _replace(tensor: tf.Tensor, where: tf.Tensor, value: tf.Tensor) -> list[tf.Tensor]:
    changed = tf.where(where, tf.cast(value, tensor.dtype), tensor)
    return [tf.ensure_shape(changed, tensor.shape)]


def _as_it_is(value: tf.Tensor) -> list[tf.Tensor]:
    return [value]


def _reader(value: Any) -> Callable[[], Any]:
    def read() -> Any:
        # Resource handles (tables, plain variables) go in as they are.
        return value if value.dtype == tf.resource else tf.convert_to_tensor(value)

    return read


def _shape(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def _hint(wanted: Sequence[int | None], given: Sequence[int]) -> str:
    if len(wanted) == len(given) + 1:
        return ": put the batch first"
    if len(wanted) == len(given) == 4 and wanted[-1] != given[-1]:
        return f": the model reads {wanted[-1]} channels"
    return ""


def view(tensor: tf.Tensor) -> np.ndarray:
    """A tensor's values without a copy, read-only; the array keeps the tensor's memory alive."""
    return np.asarray(memoryview(tensor))
