"""What is explained: one number per image, computed from an output of the model.

A classifier is explained on its logits: the gradient of a probability vanishes where the model is
sure, and mixes in the other classes. A final softmax or sigmoid is therefore seen through, by
what it does in the traced graph, whether it is a layer, an argument, a plain call or spelled out.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images.labels import ClassNames
from layerscope.model import operations
from layerscope.model.traced import TracedModel, view

Array = np.ndarray
Indices = NDArray[np.int64]
Scale = Literal["logit", "probability", "output"]
"""What the explained numbers are: values before the final softmax or sigmoid; values behind one
that could not be seen through; or whatever else the model computes."""

Target: TypeAlias = int | str | Sequence[int | str] | Callable[[Any], tf.Tensor] | None
"""A class by index or name, one of them per image, a function of the outputs that gives one number
per image, or ``None`` for the predicted class."""

PREDICTED = -1
"""In place of a class: the one that the model predicts."""
_STEPS = 24
"""Operations that a spelled-out softmax may be made of."""
_PROBES = 4


@dataclass(frozen=True)
class Explained:
    """What is explained, as tensors of the traced graph.

    Attributes:
        traced: the model.
        output: name of the output; empty for a function of several.
        scale: what the numbers are.
        classes: how many classes can be asked for; 0 where there are none.
        values: tensor name of the numbers of all classes, (N, K).
        score: tensor name of the one number per image, (N,).
        chosen: tensor name of the class per image, (N,); ``PREDICTED`` where there are none.
        index: name of the placeholder for the class that is asked for, (N,).
        ends: names of the tensors that are the explained outputs, or the logits behind them.
        weights: values to use instead of the model's own, as for `TracedModel.run`.
        target: the function that the numbers come from, if one was given.
    """

    traced: TracedModel
    output: str
    scale: Scale
    classes: int
    values: str
    score: str
    chosen: str
    index: str
    ends: frozenset[str]
    weights: Sequence[tf.Tensor] | None = None
    target: Callable[[Any], tf.Tensor] | None = field(default=None, repr=False)

    def ask(
        self,
        inputs: Sequence[Array],
        index: Indices,
        fetches: Sequence[str],
        given: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """Compute some tensors for some images.

        Args:
            inputs: one array per input of the model, batch first.
            index: class per image, or ``PREDICTED``.
            fetches: tensor names.
            given: as for `layerscope.model.traced.TracedModel.run`.
        """
        values = {self.index: index, **(given or {})}
        found = self.traced.run(inputs, fetches, weights=self.weights, given=values)
        return [view(tensor) for tensor in found]

    def gradient(self, tensor: str) -> str:
        """Tensor name of the gradient of the score by a tensor."""
        score = self.traced.tensor(self.score)
        (name,) = self.traced.gradients(self.score, lambda _: score, [tensor])
        return name


def explained(
    traced: TracedModel,
    target: Target = None,
    output: str | None = None,
    names: ClassNames | None = None,
) -> Explained:
    """What is explained for a target; the same question gives the same tensors again.

    Args:
        traced: the model.
        target: see `Target`. A function gets the logits where they can be seen, (N, ...), or a
            dict of them by output name if the model has several outputs and none is named; each
            new function adds to the graph, so use one function again and again.
        output: name of the output; default the only one, or the only one that is a vector.
        names: of the classes; two names make a single output a decision between two classes.

    Raises:
        InputError: there is no such output, or the target does not fit it.
    """
    function = target if callable(target) else None
    chosen = _output(traced, output, function is not None)
    pair = names is not None and len(names) == 2
    key = ("explained", chosen, id(function) if function else None, pair)
    found: Explained = traced.once(key, lambda: _build(traced, chosen, function, pair))
    return found


def _output(traced: TracedModel, asked: str | None, function: bool) -> str:
    """Name of the output that is meant; empty for all together."""
    names = list(traced.outputs)
    if asked is not None and asked not in names:
        raise InputError(
            f"An output is named as the model does ({', '.join(names)}); got {asked!r}."
        )
    if asked is not None or len(names) == 1:
        return asked or names[0]
    if function:
        return ""
    vectors = [name for name in names if _is_vector(traced.tensor(traced.outputs[name]))]
    if len(vectors) == 1:
        return vectors[0]
    raise InputError(
        f"One output is explained, and '{traced.model.name}' has {', '.join(names)}: name it with "
        "output=, or pass a function of the dict of outputs as target."
    )


def _is_vector(tensor: tf.Tensor) -> bool:
    """Whether a tensor holds one value per image and class, also as maps of one pixel."""
    shape = tensor.shape
    return shape.rank is not None and shape.rank >= 1 and all(s == 1 for s in shape[1:-1])


def _build(
    traced: TracedModel, output: str, function: Callable[[Any], tf.Tensor] | None, pair: bool
) -> Explained:
    names = [output] if output else list(traced.outputs)
    if function is None:
        _check_says_something(traced, output)
    seen = {name: _seen_through(traced, traced.outputs[name]) for name in names}
    scale: Scale = seen[names[0]][1] if len({kind for _, kind in seen.values()}) == 1 else "output"
    with traced.trace.graph.as_default():
        index = tf.compat.v1.placeholder(tf.int64, (None,))
        values = {name: _in_shape(traced, name, tensor) for name, (tensor, _) in seen.items()}
        if function is not None:
            score = _of_function(function, values[output] if output else values)
            made = score[:, None], score, _no_class(score), 0
        else:
            made = _of_class(traced, values[output], scale, pair, index)
            scale = "logit" if scale == "output" and made[3] else scale
        flat, score, chosen = (tf.identity(t).name for t in made[:3])
    ends = [traced.outputs[name] for name in names] + [tensor for tensor, _ in seen.values()]
    return Explained(
        traced,
        output,
        scale,
        made[3],
        flat,
        score,
        chosen,
        index=index.name,
        ends=frozenset(without_copies(traced.tensor(name)).name for name in ends),
        target=function,
    )


def _in_shape(traced: TracedModel, name: str, tensor: str) -> tf.Tensor:
    """The numbers behind an output, in its shape and in float32."""
    output = traced.tensor(traced.outputs[name])
    values = tf.reshape(tf.cast(traced.tensor(tensor), tf.float32), tf.shape(output))
    return tf.ensure_shape(values, output.shape)


def _no_class(score: tf.Tensor) -> tf.Tensor:
    return tf.fill(tf.shape(score), np.int64(PREDICTED))


def _of_function(function: Callable[[Any], tf.Tensor], outputs: Any) -> tf.Tensor:
    try:
        score = tf.convert_to_tensor(function(outputs))
    except Exception as error:  # code of the user's own
        raise InputError(
            "A target function takes the logits (N, ...), or a dict of them by output, and gives "
            f"one number per image with TensorFlow operations; this one fails "
            f"({type(error).__name__}: {error})."
        ) from error
    several = score.shape.rank is not None and any(side != 1 for side in score.shape[1:])
    if score.shape.rank == 0 or several or not score.dtype.is_floating:
        raise InputError(
            "A target function gives one number per image, such as lambda y: y[:, 10, 10, 2]; "
            f"this one gives {score.dtype.name} of shape {tuple(score.shape)}."
        )
    score = tf.cast(score, tf.float32)
    return tf.reduce_sum(tf.reshape(score, [tf.shape(score)[0], -1]), 1)


def _check_says_something(traced: TracedModel, output: str) -> None:
    """Refuse an output that is the same for every image, whatever the weights are."""
    last = without_copies(traced.tensor(traced.outputs[output]))
    softmax = last.op.type in {"Softmax", "LogSoftmax"} or _cancels_out(traced, last)
    if softmax and last.shape[-1] == 1:
        raise InputError(
            f"'{traced.model.name}' ends in a softmax over one class, which is 1 for every image, "
            "so that nothing can be explained: end in a sigmoid, or give each class an output."
        )
    if not _reads_images(traced, last):
        raise InputError(
            f"The output of '{traced.model.name}' is made without any value of the image and is "
            "the same for every one, so that nothing can be explained: name another output= or "
            "mend the model."
        )


def _cancels_out(traced: TracedModel, last: tf.Tensor) -> bool:
    """Whether an output is a spelled-out softmax over one class, which divides by itself."""
    if not any(op.type == "Exp" for op in traced.wiring.ops) or last.shape[-1] != 1:
        return False
    answers = _of_noise(traced, last.name)
    tried = (
        _tried_out(traced, candidate, last.name)[1]
        for candidate in _candidates(traced, last, _from_weights(traced))
    )
    # For noise alone a saturated sigmoid is 1, too.
    always = np.allclose(answers[np.isfinite(answers)], 1, atol=2e-3)
    return always and any(np.allclose(found, 1, atol=2e-3) for found in tried)


def _reads_images(traced: TracedModel, tensor: tf.Tensor) -> bool:
    """Whether values of an input, and not its shape alone, go into a tensor."""
    given = set(traced.trace.inputs)
    seen, waiting = {tensor.name}, [tensor]
    while waiting:
        one = waiting.pop()
        if one.name in given:
            return True
        blind = one.op.type in operations.MEASURES_SHAPE | {"OnesLike", "ZerosLike"}
        new = [t for t in one.op.inputs if not blind and t.name not in seen]
        seen.update(t.name for t in new)
        waiting += new
    return False


def _of_class(
    traced: TracedModel, values: tf.Tensor, scale: Scale, pair: bool, index: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, int]:
    """Numbers of all classes, of the one asked for, which that is, and how many there are."""
    if not _is_vector(values) or values.shape[-1] is None:
        raise InputError(
            f"This output of '{traced.model.name}' has shape {tuple(values.shape)}, one value per "
            "place: say what to explain with a function as target, such as "
            "lambda y: y[:, 10, 10, 2]."
        )
    count = values.shape[-1] if values.shape.rank > 1 else 1
    flat = tf.reshape(values, [-1, count])
    if count > 1:
        chosen = tf.where(index < 0, tf.argmax(flat, 1), index)
        return flat, tf.reduce_sum(flat * tf.one_hot(chosen, count), 1), chosen, count
    alone = flat[:, 0]
    if scale == "output" and not pair:
        return flat, alone, _no_class(alone), 0
    # Two classes in one number: what speaks for one speaks against the other.
    middle = 0.5 if scale == "probability" else 0.0
    chosen = tf.where(index < 0, tf.cast(alone > middle, tf.int64), index)
    score = tf.where(chosen == 1, alone, 2 * middle - alone)
    return tf.stack([2 * middle - alone, alone], 1), score, chosen, 2


def wanted(explained: Explained, target: Target, names: ClassNames | None, count: int) -> Indices:
    """The class asked for, per image; ``PREDICTED`` where none is.

    Args:
        explained: what can be asked.
        target: see `Target`.
        names: of the classes, in the order of the outputs.
        count: number of images.

    Raises:
        InputError: no such class, or a list of another length.
    """
    if target is None or callable(target):
        return np.full(count, PREDICTED, np.int64)
    if isinstance(target, int | str | np.integer):
        return np.full(count, _class(explained, target, names), np.int64)
    if not isinstance(target, Sequence | np.ndarray):
        raise InputError(
            "A target is a class index or name, a list with one per image, or a function of the "
            f"outputs; got {target!r}."
        )
    if len(target) != count:
        raise InputError(
            f"A list of targets has one per image: {len(target)} for {count} images were given."
        )
    return np.array([_class(explained, one, names) for one in target], np.int64)


def _class(explained: Explained, target: object, names: ClassNames | None) -> int:
    count = explained.classes
    if isinstance(target, str):
        return _named(target, names)
    if not isinstance(target, int | np.integer) or isinstance(target, bool):
        raise InputError(f"A class is given by its index or name; got {target!r}.")
    if count == 0 and target == 0:
        return PREDICTED
    if count == 0:
        raise InputError(
            f"This output of '{explained.traced.model.name}' is one number and no decision between "
            f"classes, so there is no class {target}. Leave the target out, or give two class "
            "names if it is the logit of the second."
        )
    if not 0 <= target < count:
        raise InputError(
            f"A class index counts from 0 to {count - 1} for this model; got {target}."
        )
    return int(target)


def _named(name: str, names: ClassNames | None) -> int:
    if names is None:
        raise InputError(
            f"To find class {name!r} the names of the outputs must be known: give classes= "
            "(--classes), or an index."
        )
    places = [i for i, own in enumerate(names) if name in own] or [
        i for i, own in enumerate(names) if name.casefold() in [o.casefold() for o in own]
    ]
    if len(places) == 1:
        return places[0]
    if places:
        raise InputError(f"Several classes are called {name!r} ({places[:5]}): give an index.")
    near = difflib.get_close_matches(name, [o for own in names for o in own], 3, 0.5)
    hint = f" Near: {', '.join(near)}." if near else ""
    raise InputError(f"No class of the model is called {name!r}.{hint}")


def _seen_through(traced: TracedModel, tensor: str) -> tuple[str, Scale]:
    """The logits behind an output, and what the returned tensor is."""
    last = without_copies(traced.tensor(tensor))
    if last.op.type in {"Softmax", "LogSoftmax", "Sigmoid"}:
        return without_copies(last.op.inputs[0]).name, "logit"
    several = last.shape.rank is not None and last.shape.rank > 1 and last.shape[-1] != 1
    weighted = _from_weights(traced)
    if any(t.name in weighted for t in last.op.inputs):
        return tensor, "logit" if several else "output"
    found = ""
    for candidate in _candidates(traced, last, weighted):
        if _is_squashed(traced, candidate, last.name):
            found = candidate  # the farthest: x - max(x) is a logit too, but x is the layer's own
    if found:
        return found, "logit"
    return tensor, "probability" if _stays_in_unit(traced, tensor) else "output"


def without_copies(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor that a chain of mere copies begins with."""
    while tensor.op.type in operations.COPIES and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor


def _from_weights(traced: TracedModel) -> set[str]:
    """Names of the tensors that depend on weights and on no input."""
    found = set(traced.trace.weights) | set(traced.trace.captured)
    for op in traced.wiring.ops:
        inputs = [t.name for t in op.inputs]
        if any(n in found for n in inputs) and not any(n in traced.wiring.moving for n in inputs):
            found.update(t.name for t in op.outputs)
    return found


def _candidates(traced: TracedModel, last: tf.Tensor, weighted: set[str]) -> Iterator[str]:
    """Tensors of as many values as an output, nearest first, with no weights on the way."""
    size = _size(last)
    seen, waiting = {last.name}, [last]
    for _ in range(_STEPS):
        if not waiting or size is None:
            return
        op = waiting.pop(0).op
        if any(t.name in weighted for t in op.inputs):
            continue
        for source in op.inputs:
            if source.name in traced.wiring.moving and source.name not in seen:
                seen.add(source.name)
                waiting.append(source)
                if source.dtype.is_floating and _size(source) == size:
                    yield source.name


def _size(tensor: tf.Tensor) -> int | None:
    """Values per image; ``None`` where that is not fixed."""
    if tensor.shape.rank in (None, 0) or None in tensor.shape[1:]:
        return None
    return math.prod(int(side) for side in tensor.shape[1:])


def _tried_out(traced: TracedModel, source: str, result: str) -> tuple[Array, Array]:
    """Numbers in place of a tensor, and what another becomes by them."""
    shape = [side or _PROBES for side in traced.tensor(source).shape]
    random = np.random.default_rng(0)
    values = random.standard_normal([_PROBES, *shape[1:]]) * np.geomspace(0.3, 5, _PROBES).reshape(
        [-1] + [1] * (len(shape) - 1)
    )
    unused = [np.zeros((1, *[s or 1 for s in t.shape[1:]])) for t in traced.trace.specs]
    (tensor,) = traced.run(unused, [result], given={source: values})
    return values, np.asarray(view(tensor), np.float64)


def _is_squashed(traced: TracedModel, source: str, result: str) -> bool:
    """Whether a tensor is the softmax or the sigmoid of another, tried out with numbers."""
    values, found = _tried_out(traced, source, result)
    if found.size != values.size or not np.isfinite(found).all():
        return False
    values, size = values.reshape(found.shape), found.shape[-1]
    normal = values - np.log(np.exp(values).sum(-1, keepdims=True))
    expected = [1 / (1 + np.exp(-values))]
    expected += [np.exp(normal), normal] if size > 1 else []
    # Half precision has three digits.
    return any(np.allclose(found, one, rtol=2e-3, atol=2e-3) for one in expected)


def _stays_in_unit(traced: TracedModel, tensor: str) -> bool:
    """Whether an output stays within 0 and 1 for noise of any size."""
    values = _of_noise(traced, tensor)
    return bool(np.all((values >= 0) & (values <= 1)) and np.ptp(values) > 0)


def _of_noise(traced: TracedModel, tensor: str) -> Array:
    """What a tensor is for noise of several sizes."""
    random = np.random.default_rng(0)
    inputs = [
        random.standard_normal((_PROBES, *[s or 64 for s in spec.shape[1:]]))
        * np.geomspace(1, 1e4, _PROBES).reshape([-1] + [1] * (spec.shape.rank - 1))
        for spec in traced.trace.specs
    ]
    (found,) = traced.run(inputs, [tensor])
    return view(found)
