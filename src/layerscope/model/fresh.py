"""New values for the weights of a model, each from its own initialiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from layerscope.model.trace import walk

NO_INITIALISER = "no initialiser is known for it"
DATA_STATISTIC = "a statistic of the data, which training does not learn"


@dataclass(frozen=True)
class Initialisers:
    """What gives a model's weights their first values.

    Attributes:
        of: place in ``model.weights`` -> initialiser.
        kept: place -> why there is none.
    """

    of: Mapping[int, Any]
    kept: Mapping[int, str]


def initialisers(model: keras.Model) -> Initialisers:
    """The initialiser of every weight."""
    positions = {id(v): i for i, v in enumerate(model.weights)}
    known: dict[int, Any] = {}
    kept: dict[int, str] = {}
    for layer in [model, *walk(model)]:
        own = _own_weights(layer)
        todo = [v for v in own if positions[id(v)] not in known.keys() | kept.keys()]
        if not todo:
            continue
        made = _initialisers(layer, own)
        for variable in todo:
            at = positions[id(variable)]
            if isinstance(layer, keras.layers.Normalization):
                kept[at] = DATA_STATISTIC
            elif made.get(id(variable)) is None:
                kept[at] = NO_INITIALISER
            else:
                known[at] = made[id(variable)]
    return Initialisers(known, kept)


def fresh_weights(
    model: keras.Model, seed: int, known: Initialisers | None = None
) -> tuple[list[tf.Tensor], list[tuple[str, str]]]:
    """A new value for every weight, and (path, reason) of those that kept theirs.

    Args:
        model: the model.
        seed: any integer from 0.
        known: its initialisers, where they were found before.
    """
    known, weights = known or initialisers(model), model.weights
    drawn = [
        fresh_weight(weights[i], known.of[i], (seed, i))
        if i in known.of
        else tf.convert_to_tensor(weights[i].value)
        for i in range(len(weights))
    ]
    return drawn, [(weights[i].path, reason) for i, reason in sorted(known.kept.items())]


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


def fresh_weight(variable: keras.Variable, initialiser: Any, entropy: tuple[int, ...]) -> tf.Tensor:
    """A fresh value; a seeded initialiser gets a seed of its own, else it repeats itself."""
    if isinstance(initialiser, keras.initializers.Initializer):
        config = initialiser.get_config()
        if "seed" in config:
            config["seed"] = int(np.random.SeedSequence(entropy).generate_state(1)[0] // 2)
            initialiser = type(initialiser).from_config(config)
    value = initialiser(tuple(variable.shape), dtype=variable.dtype)
    return tf.cast(tf.convert_to_tensor(value), variable.dtype)
