"""The untrained twin: the same architecture with fresh weights, run through the same trace.

New values come from each weight's own initialiser. Nothing of the model is copied or changed;
cloning and reloading fail on unregistered subclassed models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from layerscope.errors import ModelError
from layerscope.model import graph as graphs
from layerscope.model.fresh import Initialisers, fresh_weights, initialisers
from layerscope.model.graph import Program
from layerscope.model.trace import Call
from layerscope.model.traced import TracedModel, view


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
    weights, kept = fresh_weights(traced.model, seed, initialisers_of(traced))
    weights, estimated = _estimate_batchnorm(traced, inputs, weights)
    output = list(traced.outputs.values())
    own, other = traced.run(inputs, output), traced.run(inputs, output, weights=weights)
    if all(np.array_equal(view(a), view(b)) for a, b in zip(own, other, strict=True)):
        raise ModelError(
            f"An untrained twin must compute something else than the model, and the one of "
            f"'{traced.model.name}' gives the same output on these images: "
            f"{_why_the_same(len(kept), len(weights))}."
        )
    return Twin(tuple(weights), seed, tuple(kept), tuple(estimated))


def _why_the_same(kept: int, weights: int) -> str:
    if not kept:
        return "the images, or the initialisers, leave nothing for weights to change"
    return f"{kept} of {weights} weights kept their value, because no initialiser is known for them"


def initialisers_of(traced: TracedModel) -> Initialisers:
    """The initialisers of a traced model, found once."""
    known: Initialisers = traced.once("initialisers", lambda: initialisers(traced.model))
    return known


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
