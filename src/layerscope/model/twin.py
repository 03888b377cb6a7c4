"""The untrained twin: the same architecture with fresh weights, run through the same trace.

New values come from each weight's own initialiser. Nothing of the model is copied or changed;
cloning and reloading fail on unregistered subclassed models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from layerscope.errors import ModelError
from layerscope.model import graph as graphs
from layerscope.model.graph import Program
from layerscope.model.trace import Call, walk
from layerscope.model.traced import TracedModel, view

NO_INITIALISER = "no initialiser is known for it"
DATA_STATISTIC = "a statistic of the data, which training does not learn"


@dataclass(frozen=True)
class Twin:
    """Fresh weights for a traced model.

    Attributes:
        weights: one tensor per ``model.weights``, in that order.
        seed: gives the same weights again.
        kept: (weight path, reason) of every weight that kept its trained value.
        estimated: paths of the BatchNorm layers whose moving statistics were estimated anew.
    """

    weights: tuple[tf.Tensor, ...] = field(repr=False)
    seed: int
    kept: tuple[tuple[str, str], ...]
    estimated: tuple[str, ...]


def untrained_twin(traced: TracedModel, inputs: Sequence[np.ndarray], seed: int = 0) -> Twin:
    """Draw fresh weights and fit the BatchNorm statistics to some images.

    Args:
        traced: the model.
        inputs: a batch of preprocessed images (and other inputs), at best 16 to 64 of them.
        seed: any integer from 0.

    Raises:
        ModelError: the twin computes exactly what the model computes.
    """
    weights, kept = fresh_weights(traced.model, seed)
    weights, estimated = _estimate_batchnorm(traced, inputs, weights)
    output = list(traced.outputs.values())
    own, other = traced.run(inputs, output), traced.run(inputs, output, weights=weights)
    if all(np.array_equal(view(a), view(b)) for a, b in zip(own, other, strict=True)):
        raise ModelError(
            f"An untrained twin must compute something else than the model, and the one of "
            f"'{traced.model.name}' gives the same output: {len(kept)} of {len(weights)} weights "
            "kept their value, because no initialiser is known for them."
        )
    return Twin(tuple(weights), seed, tuple(kept), tuple(estimated))


def fresh_weights(model: keras.Model, seed: int) -> tuple[list[tf.Tensor], list[tuple[str, str]]]:
    """A new value for every weight from its own initialiser, and what kept its value and why."""
    positions = {id(v): i for i, v in enumerate(model.weights)}
    values: dict[int, tf.Tensor] = {}
    kept: dict[int, str] = {}
    for layer in [model, *walk(model)]:
        own = _own_weights(layer)
        todo = [v for v in own if positions[id(v)] not in values.keys() | kept.keys()]
        if not todo:
            continue
        initialisers = _initialisers(layer, own)
        for variable in todo:
            at = positions[id(variable)]
            if isinstance(layer, keras.layers.Normalization):
                kept[at] = DATA_STATISTIC
            elif initialisers.get(id(variable)) is None:
                kept[at] = NO_INITIALISER
            else:
                values[at] = _draw(initialisers[id(variable)], variable, (seed, at))
    drawn = [
        values[i] if i in values else tf.convert_to_tensor(v.value)
        for i, v in enumerate(model.weights)
    ]
    return drawn, [(model.weights[i].path, reason) for i, reason in sorted(kept.items())]


def _own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """The weights that a layer holds itself, not through the layers inside it."""
    inner = {id(v) for child in walk(layer) for v in child.weights}
    return [v for v in layer.weights if id(v) not in inner]


def _initialisers(layer: keras.Layer, own: Sequence[keras.Variable]) -> dict[int, Any]:
    """Initialiser by weight identity: recorded while a copy of the layer is built, or by name."""
    shapes = [tuple(v.shape) for v in own]
    for recorded in (_recorded_on_a_copy, _recorded_on_a_shadow):
        made = recorded(layer, own)
        if [shape for shape, _ in made] == shapes:
            return {id(v): init for v, (_, init) in zip(own, made, strict=True)}
    # Keras' own naming: the weight ``kernel`` is made by ``kernel_initializer``.
    return {id(v): getattr(layer, f"{v.name}_initializer", None) for v in own}


Made: TypeAlias = list[tuple[tuple[int, ...], Any]]
"""Shape and initialiser of each weight that a layer makes, in order."""


def _recorded_on_a_copy(layer: keras.Layer, own: Sequence[keras.Variable]) -> Made:  # noqa: ARG001
    """What an empty copy of the layer, made from its configuration, makes when it is built."""
    made: Made = []
    if isinstance(layer, keras.Model):
        return made
    try:
        copy = type(layer).from_config(layer.get_config())
        real = copy.add_weight

        def record(*args: Any, **kwargs: Any) -> Any:
            arguments = _named(args, kwargs)
            made.append(_asked(arguments))
            return real(**arguments | {"initializer": "zeros"})  # quick: only the record is wanted

        vars(copy)["add_weight"] = record
        copy.build_from_config(layer.get_build_config() or {})
    except Exception:
        return []  # user code may have no configuration, or refuse to be built a second time
    return made


def _recorded_on_a_shadow(layer: keras.Layer, own: Sequence[keras.Variable]) -> Made:
    """What the layer's own ``build`` asks for, on a shadow that makes no weights.

    The shadow has the layer's attributes but tracks nothing, so that the layer stays as it is. A
    layer with layers inside is left out: building those again would change them.
    """
    made: Made = []
    config = layer.get_build_config() or {}
    if any(walk(layer)) or "input_shape" not in config:
        return made

    def record(_: Any, *args: Any, **kwargs: Any) -> Any:
        made.append(_asked(_named(args, kwargs)))
        return own[len(made) - 1]

    changes = {"__setattr__": object.__setattr__, "add_weight": record}
    try:
        shadow: Any = object.__new__(type("Shadow", (type(layer),), changes))
        vars(shadow).update(vars(layer))
        type(layer).build(shadow, config["input_shape"])
    except Exception:
        return []  # user code may count on more than its shape
    return made


def _named(args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one ``add_weight`` by name; Keras takes three by position, unnamed."""
    names = ("shape", "initializer", "dtype")[: len(args)]
    return dict(zip(names, args, strict=True)) | kwargs


def _asked(arguments: dict[str, Any]) -> tuple[tuple[int, ...], Any]:
    """Shape and initialiser of one ``add_weight``, by Keras' rules for what is left out."""
    shape = arguments.get("shape")
    floating = "float" in str(arguments.get("dtype") or "float32")
    default = "glorot_uniform" if floating else "zeros"
    initialiser = keras.initializers.get(arguments.get("initializer") or default)
    sides = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
    return sides, initialiser


def _draw(initialiser: Any, variable: keras.Variable, entropy: tuple[int, int]) -> tf.Tensor:
    """A fresh value; a seeded initialiser gets a seed of its own, else it repeats itself."""
    if isinstance(initialiser, keras.initializers.Initializer):
        config = initialiser.get_config()
        if "seed" in config:
            config["seed"] = int(np.random.SeedSequence(entropy).generate_state(1)[0] // 2)
            initialiser = type(initialiser).from_config(config)
    value = initialiser(tuple(variable.shape), dtype=variable.dtype)
    return tf.cast(tf.convert_to_tensor(value), variable.dtype)


def _estimate_batchnorm(
    traced: TracedModel, inputs: Sequence[np.ndarray], weights: list[tf.Tensor]
) -> tuple[list[tf.Tensor], list[str]]:
    """Moving statistics of every BatchNorm layer, layer after layer within one pass."""
    refitted, program = traced.once("batchnorm", lambda: _estimator(traced))
    if not refitted.targets:
        return weights, []
    found = program(*traced.feed(inputs), *weights)
    fresh = list(weights)
    for at, value in zip(refitted.targets, found, strict=True):
        fresh[at] = tf.cast(value, weights[at].dtype)
    return fresh, list(refitted.paths)


def _estimator(traced: TracedModel) -> tuple["Refitted", Program]:
    refitted = refit(traced)
    return refitted, refitted.compiled(refitted.statistics) if refitted.statistics else list


@dataclass(frozen=True)
class Refitted:
    """A graph in which BatchNorm layers take the mean and variance of their own input.

    Attributes:
        graph: reads the images and ``model.weights``; see `layerscope.model.graph`.
        statistics: names of the tensors of means and variances, in turns.
        targets: places of the stored ones in ``model.weights``.
        paths: of the layers.
        feeds: names of images and weights, with their types and shapes.
        outside: reads what else the graph needs.
    """

    graph: graphs.GraphDef
    statistics: list[str]
    targets: list[int]
    paths: list[str]
    feeds: dict[str, tf.TensorSpec] = field(repr=False)
    outside: Mapping[str, Callable[[], Any]] = field(repr=False)

    def compiled(self, fetches: Sequence[str]) -> Program:
        """A program of images and weights that gives some tensors."""
        return graphs.compile_graph(self.graph, self.feeds, self.outside, fetches)


def refit(traced: TracedModel) -> Refitted:
    """Let each stored mean and variance give way to those of the layer's own input.

    That happens inside the graph, so that the layers behind it already see what they will see
    later.
    """
    positions = {id(v): i for i, v in enumerate(traced.model.weights)}
    definition = traced.trace.graph.as_graph_def()
    made, targets, paths = list[str](), list[int](), list[str]()
    for call, layer in _batchnorms(traced):
        pair = [positions[id(v)] for v in (layer.moving_mean, layer.moving_variance)]
        source = traced.tensor(call.inputs[0])
        made += graphs.splice(
            definition,
            [traced.trace.weights[i] for i in pair],
            {source.name: tf.TensorSpec(source.shape, source.dtype)},
            lambda t, axis=layer.axis: _moments(t, axis),
            f"bn{len(targets)}",
        )
        targets += pair
        paths.append(call.path)
    feeds = dict(zip(traced.trace.inputs, traced.trace.specs, strict=True)) | {
        name: tf.TensorSpec(v.shape, v.dtype)
        for name, v in zip(traced.trace.weights, traced.model.weights, strict=True)
    }
    return Refitted(definition, made, targets, paths, feeds, traced.outside())


def _batchnorms(
    traced: TracedModel,
) -> Iterator[tuple[Call, keras.layers.BatchNormalization]]:
    """The first call of every BatchNorm layer, in the order of computation."""
    seen: set[int] = set()
    for call in traced.trace.calls[1:]:
        if isinstance(call.layer, keras.layers.BatchNormalization) and id(call.layer) not in seen:
            seen.add(id(call.layer))
            yield call, call.layer


def _moments(tensor: tf.Tensor, axis: int) -> list[tf.Tensor]:
    kept = axis % tensor.shape.rank
    axes = [i for i in range(tensor.shape.rank) if i != kept]
    return list(tf.nn.moments(tf.cast(tensor, tf.float32), axes))
