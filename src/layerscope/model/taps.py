"""Where maps can be read: per convolution, the tensor after its normalisation and activation.

The rules are those of the design, "What is a map". They work on the traced graph, because plain
``tf.nn`` and ``keras.ops`` calls and ``+`` are no layer calls.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import keras
import tensorflow as tf

from layerscope.model import operations
from layerscope.model.trace import Call, Trace
from layerscope.vocabulary import Kind

_LAYER_KINDS: tuple[tuple[type, Kind], ...] = (
    (keras.layers.SeparableConv2D, "separable"),
    (keras.layers.DepthwiseConv2D, "depthwise"),
    (keras.layers.Conv2DTranspose, "transposed"),
    (keras.layers.Conv2D, "conv"),
    (keras.layers.Dense, "dense"),
    (keras.layers.EinsumDense, "dense"),
)

_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
)

_SEQUENCE = "1-D convolution: its output is a sequence, not an image map"
_VOLUME = "3-D convolution: its output is a volume, not an image map"
_RECURRENT = "recurrent convolution: its maps differ from step to step"
_OTHER_RANKS = (
    (keras.layers.ConvLSTM1D, _RECURRENT),
    (keras.layers.ConvLSTM2D, _RECURRENT),
    (keras.layers.ConvLSTM3D, _RECURRENT),
    (keras.layers.Conv1D, _SEQUENCE),
    (keras.layers.Conv1DTranspose, _SEQUENCE),
    (keras.layers.DepthwiseConv1D, _SEQUENCE),
    (keras.layers.SeparableConv1D, _SEQUENCE),
    (keras.layers.Conv3D, _VOLUME),
    (keras.layers.Conv3DTranspose, _VOLUME),
)


@dataclass(frozen=True)
class Tap:
    """A place where a map can be read.

    Attributes:
        path: name of the row, see `layerscope.vocabulary.Layer`.
        kind: what computed the map.
        tensor: name of the tensor that is the map; empty for a layer that is only listed.
        kernel: name of the tensor that the convolution or the sum itself gave.
        output: the layer, or the operation inside a layer, whose output the map is.
        pre_activation: no nonlinearity lies between ``kernel`` and ``tensor``.
        reason: why the row is listed only.
    """

    path: str
    kind: Kind
    tensor: str
    kernel: str
    output: str
    pre_activation: bool
    reason: str = ""


class Wiring:
    """The traced graph with its directions: who reads a tensor, and which layer call owns an op."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.ops: list[tf.Operation] = trace.graph.get_operations()[: trace.calls[0].stop]
        self.position = {op.name: i for i, op in enumerate(self.ops)}
        self.tensors = {t.name: t for op in self.ops for t in op.outputs}

    @cached_property
    def moving(self) -> set[str]:
        """Names of the tensors that depend on the model's inputs."""
        moving = set(self.trace.inputs)
        for op in self.ops:
            reads = any(t.name in moving for t in op.inputs)
            if reads and op.type not in operations.MEASURES_SHAPE:
                moving.update(t.name for t in op.outputs)
        return moving

    @cached_property
    def live(self) -> set[str]:
        """Names of the tensors through which some model output is reached.

        A custom gradient leaves dead ends (the unused outputs of an ``IdentityN``).
        """
        live = set(self.trace.outputs.values())
        for op in reversed(self.ops):
            alive = [t.name in live for t in op.outputs]
            if op.type == "IdentityN":
                live.update(t.name for t, on in zip(op.inputs, alive, strict=True) if on)
            elif any(alive):
                live.update(t.name for t in op.inputs)
        return live

    def readers(self, name: str) -> list[tf.Operation]:
        """The operations that read a tensor on a way to a model output."""
        found = []
        for op in self.tensors[name].consumers():
            if op.name not in self.position:
                continue
            reached = (
                [o for i, o in zip(op.inputs, op.outputs, strict=True) if i.name == name]
                if op.type == "IdentityN"
                else op.outputs
            )
            if any(t.name in self.live for t in reached):
                found.append(op)
        return found

    def owners(self, op: tf.Operation) -> list[Call]:
        """The layer calls that an operation lies in, outermost first."""
        at = self.position[op.name]
        return [call for call in self.trace.calls if call.owns(at)]

    def made_by(self, call: Call) -> list[tf.Operation]:
        """The operations made inside a call, those of inner calls included."""
        return self.ops[call.start : call.stop]

    @cached_property
    def ends(self) -> dict[str, str]:
        """Tensor name -> path of the innermost layer call that returned it."""
        ends: dict[str, str] = {}
        for call in self.trace.calls[1:]:
            at = range(call.start, call.stop)
            for name in call.outputs:
                # A layer that hands its input through (dropout) made nothing.
                if self.position[self.tensors[name].op.name] in at:
                    ends[name] = call.path
        return ends


def _kind(layer: keras.Layer | None) -> Kind | None:
    return next((kind for cls, kind in _LAYER_KINDS if isinstance(layer, cls)), None)


def _passes_maps(layer: keras.Layer | None) -> bool:
    """Whether a layer is a normalisation or an activation, also one of the user's own."""
    return isinstance(layer, _ACTIVATIONS) or "norm" in type(layer).__name__.lower()


class _Walk:
    """Follows a map from the operation that computed it to the place where it is read."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.inside: set[str] = set()  # names of all operations that some walk passed over
        self.jumps = {
            call.path: call
            for call in wiring.trace.calls[1:]
            if _passes_maps(call.layer)
            and len(call.outputs) == 1
            and not any(op.type in operations.KERNELS for op in wiring.made_by(call))
        }

    def end(self, start: str) -> tuple[str, bool]:
        """The tensor where the map that begins at ``start`` is read, and whether it was bent."""
        end, name, bent = start, start, False
        while True:
            step = self._over_layer(name) or self._over_region(name)
            if step is None:
                return end, bent
            passed, name = step
            self.inside.update(op.name for op in passed)
            bent = bent or any(self._bends(op) for op in passed)
            if any(op.type not in operations.COPIES for op in passed):
                end = name

    def _bends(self, op: tf.Operation) -> bool:
        # The root of a layer normalisation is taken of a statistic and bends no map.
        owners = self.wiring.owners(op)
        norm = any("norm" in type(call.layer).__name__.lower() for call in owners)
        return not norm and operations.bends(op, self.wiring.moving)

    def _over_layer(self, name: str) -> tuple[list[tf.Operation], str] | None:
        """Rule 1: every reader lies inside one normalisation or activation layer."""
        readers = self.wiring.readers(name)
        if not readers or name in self.wiring.trace.outputs.values():
            return None
        shared = [
            call
            for call in self.wiring.owners(readers[0])
            if call.path in self.jumps
            and all(call.owns(self.wiring.position[op.name]) for op in readers)
            and call.outputs[0] != name
        ]
        if not shared:
            return None
        call = shared[0]
        return self.wiring.made_by(call), call.outputs[0]

    def _over_region(self, name: str) -> tuple[list[tf.Operation], str] | None:
        """Rule 2: the first tensor through which every way out of an elementwise region leads."""
        wiring = self.wiring
        region, passed = {name}, list[tf.Operation]()
        pending = {op.name: op for op in wiring.readers(name)}
        exits = set(wiring.trace.outputs.values())
        if name in exits:
            return None
        while pending:
            op = min(pending.values(), key=lambda op: wiring.position[op.name])
            if not self._joins(op, region):
                return None
            del pending[op.name]
            passed.append(op)
            made = [t.name for t in op.outputs if t.name in wiring.live]
            region.update(made)
            for output in made:
                pending.update({reader.name: reader for reader in wiring.readers(output)})
            if len(made) == 1 and not self._leaks(region - {made[0]}, passed, exits):
                return passed, made[0]
        return None

    def _joins(self, op: tf.Operation, region: set[str]) -> bool:
        if op.type == "IdentityN":
            return True  # each output is the input at its place, whatever the others are
        return op.type in operations.ELEMENTWISE and all(
            t.name in region or (t.name not in self.wiring.moving and operations.per_channel(t))
            for t in op.inputs
        )

    def _leaks(self, region: Iterable[str], passed: list[tf.Operation], exits: set[str]) -> bool:
        """Whether some way leaves the region other than by its newest tensor."""
        names = {op.name for op in passed}
        return any(
            name in exits or any(op.name not in names for op in self.wiring.readers(name))
            for name in region
        )


def find_taps(trace: Trace) -> tuple[list[Tap], Wiring]:
    """Every place of a model where a map can be read, in the order of computation.

    Returns:
        The taps of convolutions and residual sums, rows that are only listed among them, and the
        wiring of the graph.
    """
    wiring = Wiring(trace)
    walk = _Walk(wiring)
    taps = [*_layer_taps(wiring, walk), *_free_kernels(wiring, walk)]
    taps += _blocks(wiring, walk)
    taps += _listed_only(trace)
    order = {tap.path: _order(wiring, tap) for tap in taps}
    return sorted(taps, key=lambda tap: order[tap.path]), wiring


def _order(wiring: Wiring, tap: Tap) -> int:
    if tap.kernel:
        return wiring.position[wiring.tensors[tap.kernel].op.name]
    return next((c.start for c in wiring.trace.calls if c.path == tap.path), len(wiring.ops))


def _layer_taps(wiring: Wiring, walk: _Walk) -> Iterator[Tap]:
    """One tap per call of a convolution layer, or of a dense layer that works on maps."""
    for call in wiring.trace.calls[1:]:
        kind = _kind(call.layer)
        if kind is None or len(call.outputs) != 1:
            continue
        output = wiring.tensors[call.outputs[0]]
        if not operations.is_map(output):
            continue
        made = wiring.made_by(call)
        kernels = [
            op
            for op in made
            if op.type in operations.KERNELS.keys() | operations.OPAQUE
            or (kind == "dense" and op.type in {"MatMul", "BatchMatMulV2", "Einsum"})
        ]
        walk.inside.update(op.name for op in made)
        if not kernels:
            continue
        kernel = kernels[-1].outputs[0].name
        end, bent = walk.end(kernel)
        at = wiring.position[wiring.tensors[end].op.name]
        if call.owns(at) and end != output.name:
            # Something inside the layer is not elementwise (a reshape): go on behind the layer.
            first = wiring.position[kernels[-1].name]
            bent = any(operations.bends(op, wiring.moving) for op in wiring.ops[first : call.stop])
            end, more = walk.end(output.name)
            bent = bent or more
        yield Tap(call.path, kind, end, kernel, _output_name(wiring, end), not bent)


def _free_kernels(wiring: Wiring, walk: _Walk) -> Iterator[Tap]:
    """Convolution operations that no known layer owns: custom layers and plain calls."""
    known = {
        call.path
        for call in wiring.trace.calls[1:]
        if _kind(call.layer) or any(isinstance(call.layer, cls) for cls, _ in _OTHER_RANKS)
    }
    free: list[tuple[tf.Operation, Call]] = []
    for op in wiring.ops:
        owners = wiring.owners(op) if op.type in operations.KERNELS else []
        if owners and op.outputs[0].name in wiring.moving and is_free(owners, known):
            free.append((op, owners[-1]))
    per_call = [call.path for _, call in free]
    names: list[str] = []
    for op, call in free:
        single = per_call.count(call.path) == 1 and call.path
        names.append(call.path if single else f"{call.path}/{op.type.lower()}".lstrip("/"))
        path = names[-1] if names.count(names[-1]) == 1 else f"{names[-1]}@{names.count(names[-1])}"
        if op.inputs[0].op.type == "ExpandDims":
            yield Tap(path, "other", "", "", call.path, False, _SEQUENCE)
            continue
        kernel = op.outputs[0].name
        end, bent = walk.end(kernel)
        kind: Kind = operations.KERNELS[op.type]  # type: ignore[assignment]
        yield Tap(path, kind, end, kernel, _output_name(wiring, end), not bent)


def is_free(owners: list[Call], known: set[str]) -> bool:
    """Whether none of the calls around an operation has a tap of its own."""
    return not any(call.path in known for call in owners)


def _blocks(wiring: Wiring, walk: _Walk) -> Iterator[Tap]:
    """Sums of two maps that close a residual block."""
    sums = [op for op in wiring.ops if _is_sum_of_maps(wiring, op) and op.name not in walk.inside]
    chained = {op.name for op in sums}
    names: list[str] = []
    for op in sums:
        readers = wiring.readers(op.outputs[0].name)
        if len(readers) == 1 and readers[0].name in chained:
            continue  # a + b + c: only the last sum closes the block
        owner = wiring.owners(op)[-1]
        is_add = isinstance(owner.layer, keras.layers.Add)
        name = owner.path if is_add else f"{owner.path}/add".lstrip("/")
        names.append(name)
        path = name if names.count(name) == 1 else f"{name}@{names.count(name)}"
        end, bent = walk.end(op.outputs[0].name)
        kernel = op.outputs[0].name
        yield Tap(path, "block", end, kernel, _output_name(wiring, end), not bent)


def _is_sum_of_maps(wiring: Wiring, op: tf.Operation) -> bool:
    if op.type not in {"Add", "AddV2", "AddN"} or len(op.inputs) < 2:
        return False
    shapes = [t.shape.as_list()[1:] if t.shape.rank == 4 else None for t in op.inputs]
    maps = all(operations.is_map(t) and t.name in wiring.moving for t in op.inputs)
    return (
        maps
        and op.outputs[0].name in wiring.live
        and all(shape == shapes[0] for shape in shapes)
        and any(call_is_open(call) for call in wiring.owners(op)[-1:])
    )


def call_is_open(call: Call) -> bool:
    """Whether sums inside a call are part of the network, not of a normalisation's formula."""
    return not _passes_maps(call.layer)


def _listed_only(trace: Trace) -> Iterator[Tap]:
    """Convolutions that give no image maps, and layers that no tap can reach."""
    listed: list[str] = []
    for call in trace.calls[1:]:
        reason = next((why for cls, why in _OTHER_RANKS if isinstance(call.layer, cls)), "")
        if reason:
            listed.append(f"{call.path}/")
            yield Tap(call.path, "other", "", "", call.path, False, reason)
    for path in trace.hidden:
        if path.startswith(tuple(listed)):
            continue
        reason = "called inside a loop or condition of the model's own code, where no map is kept"
        yield Tap(path, "other", "", "", path, False, reason)


def other_outputs(wiring: Wiring, taps: Iterable[Tap]) -> list[Tap]:
    """Every rank-4 layer output that is not a tap already.

    A layer whose own output differs from its tap (a convolution before its normalisation) is
    listed as ``name:raw``.
    """
    named = {tap.path: tap for tap in taps}
    found = []
    for call in wiring.trace.calls[1:]:
        maps = [name for name in call.outputs if operations.is_map(wiring.tensors[name])]
        # A layer that hands its input through (dropout) made nothing.
        if len(maps) != 1 or not call.owns(wiring.position[wiring.tensors[maps[0]].op.name]):
            continue
        tap = named.get(call.path)
        if tap is None:
            found.append(Tap(call.path, "other", maps[0], maps[0], call.path, False))
        elif tap.tensor and tap.tensor != maps[0]:
            path = f"{call.path}:raw"
            found.append(Tap(path, "other", maps[0], maps[0], call.path, tap.kind != "block"))
    return found


def _output_name(wiring: Wiring, tensor: str) -> str:
    if tensor in wiring.ends:
        return wiring.ends[tensor]
    op = wiring.tensors[tensor].op
    owner = wiring.owners(op)[-1].path
    return f"{owner} ({op.type})".lstrip()
