"""A traced graph as a value: cut it, splice into it, and make it callable.

Works on `GraphDef`, TensorFlow's public serialised form, so nothing here runs the model's Python
code again. A *tensor name* is ``node:index``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

GraphDef: TypeAlias = Any
"""`tf.compat.v1.GraphDef`, for which no types are published."""

Program: TypeAlias = Callable[..., list[tf.Tensor]]
"""Computes some tensors of a graph from others."""


def node_of(name: str) -> str:
    """Name of the node that makes a tensor: ``a/b:1`` -> ``a/b``, ``^a/b`` -> ``a/b``."""
    return name.lstrip("^").split(":")[0]


def canonical(name: str) -> str:
    """A node input as a full tensor name: ``a/b`` -> ``a/b:0``."""
    return name if ":" in name or name.startswith("^") else f"{name}:0"


def cut(graph: GraphDef, fetches: Sequence[str]) -> GraphDef:
    """The part of a graph that is needed to compute some tensors.

    Args:
        graph: any graph; it is not changed.
        fetches: tensor names.

    Returns:
        A new graph with the needed nodes in their order, and the whole function library.
    """
    inputs = {node.name: node.input for node in graph.node}
    needed: set[str] = set()
    waiting = [node_of(name) for name in fetches]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(node_of(source) for source in inputs[name])
    part: GraphDef = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if node.name in needed)
    for node in part.node:
        # A hint about devices, which may name a node that is cut away.
        node.attr.pop("_class", None)
    return part


def splice(
    graph: GraphDef,
    replaced: Sequence[str],
    inputs: Mapping[str, tf.TensorSpec],
    function: Callable[..., Sequence[tf.Tensor]],
    prefix: str,
) -> list[str]:
    """Redirect the readers of some tensors to tensors computed by a new piece of graph.

    Args:
        graph: changed in place.
        replaced: names of the tensors whose readers are redirected, one per output of
            ``function``, or none at all. The new piece itself still reads the original ones. A
            name that the graph lacks redirects nobody.
        inputs: what the new piece reads: names of tensors of the graph, or of placeholders that
            do not exist yet and are added, with their types and shapes.
        function: builds the piece from tensors in the order of ``inputs``.
        prefix: puts the new nodes in a name space of their own.

    Returns:
        Tensor names of the outputs of ``function``.
    """
    piece = tf.Graph()
    with piece.as_default():
        ports = [
            tf.compat.v1.placeholder(spec.dtype, spec.shape, name=f"port{i}")
            for i, spec in enumerate(inputs.values())
        ]
        outputs = [f"{prefix}/{tf.identity(t).name}" for t in function(*ports)]
    known = {node.name for node in graph.node}
    redirect = dict(zip(replaced, outputs, strict=True)) if replaced else {}
    for node in graph.node:
        for i, source in enumerate(node.input):
            if canonical(source) in redirect:
                node.input[i] = redirect[canonical(source)]
    wired = {f"port{i}": name for i, name in enumerate(inputs)}
    for node in piece.as_graph_def().node:
        if node.name in wired:
            if node_of(wired[node.name]) in known:
                continue
            added = graph.node.add()
            added.CopyFrom(node)
            added.name = node_of(wired[node.name])
            continue
        added = graph.node.add()
        added.CopyFrom(node)
        added.name = f"{prefix}/{node.name}"
        for i, source in enumerate(node.input):
            added.input[i] = wired.get(node_of(source)) or (
                f"^{prefix}/{node_of(source)}" if source.startswith("^") else f"{prefix}/{source}"
            )
    return outputs


def compile_graph(
    graph: GraphDef,
    feeds: Mapping[str, tf.TensorSpec],
    bound: Mapping[str, Callable[[], tf.Tensor]],
    fetches: Sequence[str],
) -> Program:
    """A callable that computes some tensors of a graph; it never retraces.

    Args:
        graph: the whole graph; only the part that is needed is kept.
        feeds: tensor names that become the arguments, in this order.
        bound: tensor names that are read from the outside (variables, constants) at each call.
        fetches: tensor names to return. Half-precision results are cast to float32.

    Returns:
        A function of one tensor per feed; results are float32 or the tensor's own integer type.
    """
    part = cut(graph, fetches)
    present = {node.name for node in part.node}

    def run(*values: tf.Tensor) -> list[tf.Tensor]:
        sources = dict(zip(feeds, values, strict=True))
        sources |= {name: read() for name, read in bound.items() if node_of(name) in present}
        used = {name: value for name, value in sources.items() if node_of(name) in present}
        results = tf.graph_util.import_graph_def(
            part, input_map=used, return_elements=list(fetches), name=""
        )
        return [
            tf.cast(t, tf.float32) if t.dtype in (tf.float16, tf.bfloat16) else t for t in results
        ]

    compiled: Program = tf.function(run, autograph=False).get_concrete_function(*feeds.values())
    return compiled
