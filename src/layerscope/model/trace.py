"""Trace a model once, and remember which layer made which part of the graph.

This is the only module that touches a model. Layer calls are wrapped in the instances'
``__dict__`` while one graph is traced, and restored on every path. The weights are arguments of
that graph (`keras.StatelessScope`), so the same trace serves the model, its untrained twins and
ablations, and nothing of the model is copied or changed.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from layerscope.errors import ModelError

WRAPPED = ("call", "quantized_call")


@dataclass(frozen=True)
class Call:
    """One call of one layer during the trace.

    Attributes:
        path: names from the outermost layer inwards; ``name@2`` for a repetition.
        layer: the layer itself; ``None`` for the model as a whole.
        inputs, outputs: names of the tensors that went in and came out.
        start, stop: positions in the graph of the operations that the call made.
    """

    path: str
    layer: keras.Layer | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    start: int
    stop: int

    def owns(self, position: int) -> bool:
        """Whether the operation at this position was made inside the call."""
        return self.start <= position < self.stop


@dataclass(frozen=True)
class Trace:
    """One forward pass of a model as a graph, with its weights as arguments.

    Attributes:
        graph: the traced graph; gradients and targets may be added to it later.
        calls: every layer call in the order in which the calls began.
        inputs: names of the image and other inputs, in the model's order.
        weights: names of the placeholders that stand for ``model.weights``, in that order.
        outputs: names of the output tensors, by output name (position where there is none).
        captured: values that the graph reads from outside (tables, constants, plain variables).
        hidden: paths of layers called inside a loop or condition, where no tap can reach.
    """

    graph: tf.Graph
    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    specs: tuple[tf.TensorSpec, ...]
    weights: tuple[str, ...]
    outputs: dict[str, str]
    captured: dict[str, Any]
    hidden: tuple[str, ...]


@dataclass
class _Recorder:
    """Collects the layer calls of one trace."""

    graph: tf.Graph
    calls: list[Call] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def record(self, layer: keras.Layer, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = "/".join([*self.stack[-1:], layer.name])
        self.seen[path] += 1
        if self.seen[path] > 1:
            path = f"{path}@{self.seen[path]}"
        if tf.compat.v1.get_default_graph() is not self.graph:
            self.hidden.append(path)
            return call(*args, **kwargs)
        slot, start = len(self.calls), len(self.graph.get_operations())
        self.calls.append(Call(path, layer, (), (), start, start))
        self.stack.append(path)
        try:
            result = call(*args, **kwargs)
        finally:
            self.stack.pop()
        names = self.names((args, kwargs)), self.names(result)
        self.calls[slot] = Call(path, layer, *names, start, len(self.graph.get_operations()))
        return result

    def names(self, structure: Any) -> tuple[str, ...]:
        flat = tf.nest.flatten(structure)
        return tuple(t.name for t in flat if tf.is_tensor(t) and _graph_of(t) is self.graph)


def _graph_of(tensor: Any) -> tf.Graph | None:
    return None if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.graph


def walk(layer: keras.Layer) -> Iterator[keras.Layer]:
    """Every layer inside a layer, each once, outermost first, the layer itself left out."""
    seen = {id(layer)}
    waiting = [layer]
    while waiting:
        for inner in _children(waiting.pop(0)):
            if id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
                yield inner


def _children(layer: keras.Layer) -> Sequence[keras.Layer]:
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    # Keras offers no public list of the layers inside a plain layer.
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _plain(layer: keras.Layer, method: str, converted: bool) -> Callable[..., Any]:
    """The layer's own method; a ``tf.function`` is opened, else its cached graph hides the taps.

    ``converted``: turn its Python ``if`` and ``for`` over tensors into graph code, as
    ``tf.function`` does; only where it must be, since that needs the source code.
    """
    function = getattr(layer, method)
    inner = getattr(function, "python_function", None)
    if inner is None or not converted:
        return inner or function  # type: ignore[no-any-return]
    raw = getattr(getattr(type(layer), method, None), "python_function", None)
    if raw is None:
        return tf.autograph.to_graph(inner)  # type: ignore[no-any-return]
    return partial(tf.autograph.to_graph(raw), layer)


@contextmanager
def _wrapped(model: keras.Model, recorder: _Recorder, converted: bool) -> Iterator[None]:
    """Report every layer call inside the model to the recorder, only inside this context."""
    before: list[tuple[dict[str, Any], str, Any]] = []
    missing = object()

    def wrapper(layer: keras.Layer, method: str) -> Callable[..., Any]:
        call = _plain(layer, method, converted)
        return lambda *args, **kwargs: recorder.record(layer, call, args, kwargs)

    try:
        for layer in walk(model):
            for method in WRAPPED:
                if hasattr(layer, method):
                    # Past Keras' attribute tracking: only the instance's own dictionary changes.
                    own = vars(layer)
                    before.append((own, method, own.get(method, missing)))
                    own[method] = wrapper(layer, method)
        own = vars(model)
        before.append((own, "call", own.get("call", missing)))
        own["call"] = _plain(model, "call", converted)
        yield
    finally:
        for own, method, value in reversed(before):
            if value is missing:
                own.pop(method, None)
            else:
                own[method] = value


def input_specs(model: keras.Model) -> Any:
    """Shapes and types that the model was built for, in the structure its call expects.

    Returns:
        `tf.TensorSpec` objects with free batch size, nested as the first call argument; or a
        dict with the key ``*`` and the list of arguments for a call with several.

    Raises:
        ModelError: the model does not know its input: it was never called, or its call takes
            several arguments, of which Keras remembers only the first.
    """
    if getattr(model, "inputs", None):
        sequential = isinstance(model, keras.Sequential)
        structure = model.inputs[0] if sequential else model.input
        return tf.nest.map_structure(lambda t: _spec(t.shape, t.dtype), structure)
    config = (model.get_build_config() or {}) if model.built else {}
    needed = _needed_arguments(model)
    if len(needed) > 1 and "shapes_dict" not in config:
        raise ModelError(
            f"Keras remembers only the first input of '{model.name}', whose call takes "
            f"{', '.join(needed)}: pass images as a list of arrays, one per argument, in Python."
        )
    if "input_shape" in config:
        return _specs_of(config["input_shape"], model.input_dtype)
    if "shapes_dict" in config:
        return {"*": [_specs_of(s, model.input_dtype) for s in config["shapes_dict"].values()]}
    raise ModelError(
        f"A model must know the shape of its input, and '{model.name}' does not: call it once on "
        "a batch of images, or give it a keras.Input. (A call that Keras cannot follow as a graph, "
        "with a Python if on a tensor, leaves no shape behind either.)"
    )


def _needed_arguments(model: keras.Model) -> list[str]:
    """Names of the arguments that the model's call cannot do without."""
    parameters = inspect.signature(model.call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def specs_of_arguments(model: keras.Model, arrays: Sequence[Any]) -> Any:
    """Shapes and types for a call with several arguments, from a batch for each."""
    return {"*": [_spec(array.shape, model.input_dtype) for array in arrays]}


def _specs_of(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {key: _specs_of(value, dtype) for key, value in shape.items()}
    if all(side is None or isinstance(side, int) for side in shape):
        return _spec(shape, dtype)
    return [_specs_of(value, dtype) for value in shape]


def _spec(shape: Any, dtype: str) -> tf.TensorSpec:
    return tf.TensorSpec((None, *shape[1:]), dtype)


def trace(model: keras.Model, specs: Any | None = None) -> Trace:
    """Trace one inference pass of a model, which is left as it was found.

    Args:
        model: any built Keras model.
        specs: shapes and types of the inputs; default `input_specs`.

    Raises:
        ModelError: the model does not know its input, or its own code fails as a graph.
    """
    specs = input_specs(model) if specs is None else specs
    try:
        try:
            return _trace(model, specs, converted=False)
        except tf.errors.OperatorNotAllowedInGraphError:
            return _trace(model, specs, converted=True)
    except Exception as error:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()
        reason = " ".join([line.strip() for line in lines if line.strip()][:2])
        raise ModelError(
            f"A model must run as a graph, as in predict(), and the code of '{model.name}' fails "
            f"there with {type(error).__name__}: {reason}"
        ) from error


def _trace(model: keras.Model, specs: Any, converted: bool) -> Trace:
    weights = list(model.weights)
    recorded: list[_Recorder] = []
    results: list[Any] = []

    def forward(values: list[tf.Tensor], inputs: Any) -> Any:
        recorder = _Recorder(tf.compat.v1.get_default_graph())
        recorded[:] = [recorder]
        several = isinstance(inputs, dict) and set(inputs) == {"*"}
        with (
            keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))),
            _wrapped(model, recorder, converted),
        ):
            result = model(*inputs["*"]) if several else model(inputs, training=False)
        results[:] = [result]
        return result

    signature = [tf.TensorSpec(w.shape, w.dtype) for w in weights]
    traced = tf.function(forward, autograph=False).get_concrete_function(signature, specs)
    graph, recorder = traced.graph, recorded[0]
    placeholders = [t.name for t in graph.inputs[: len(graph.inputs) - len(graph.captures)]]
    inner = {t.name: outer for outer, t in graph.captures}
    # tf.function returns a copy of each output.
    names = [(t.op.inputs[0] if t.op.type == "Identity" else t).name for t in graph.outputs]
    return Trace(
        graph=graph,
        calls=(
            Call("", None, (), tuple(names), 0, len(graph.get_operations())),
            *recorder.calls,
        ),
        inputs=tuple(placeholders[len(weights) :]),
        specs=tuple(tf.nest.flatten(specs)),
        weights=tuple(placeholders[: len(weights)]),
        outputs=dict(zip(_output_names(results[0]), names, strict=True)),
        captured=inner,
        hidden=tuple(recorder.hidden),
    )


def _output_names(result: Any) -> list[str]:
    if isinstance(result, dict):
        return [str(key) for key in sorted(result)]
    return [str(i) for i in range(len(tf.nest.flatten(result)))]
