"""A copy of a model with one thing changed: a layer put in, or weights of one layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from layerscope.errors import InputError, ModelError
from layerscope.model.ceiling import ceiling
from layerscope.model.traced import TracedModel, view
from layerscope.testing.planted.layers import AbnormalMaps
from layerscope.vocabulary import Floats, Layer

_CONVOLUTIONS = (keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose, keras.layers.Conv2D)


@dataclass(frozen=True)
class Site:
    """A place in a model where something can be planted.

    Attributes:
        row: what layerscope says of the layer.
        chain: names of the layers from the convolution to the one whose output the map is.
        bound: of the activation, infinite without one.
    """

    row: Layer
    chain: tuple[str, ...]
    bound: float


def site(model: keras.Model, layer: str) -> Site:
    """Find a layer of a functional model by its path in layerscope.

    Raises:
        ModelError: the model cannot be rebuilt with a change.
        InputError: no map is computed there, or not by layers of the model itself.
    """
    if isinstance(model, keras.Sequential) or not getattr(model, "inputs", None):
        raise ModelError(
            f"Defects are planted in functional models, and '{model.name}' is none: build it with "
            "keras.Model(inputs, outputs)."
        )
    if len(model.inputs) != 1:
        raise ModelError(
            f"Defects are planted in models of one image input; '{model.name}' has "
            f"{len(model.inputs)}."
        )
    traced = TracedModel(model)
    (tap,) = traced.resolve(layer)[:1]
    row = traced.layers.get(layer)
    own = {inner.name for inner in model.layers}
    if row is None or not {layer, row.output} <= own:
        raise InputError(
            "Defects are planted at a convolution or sum that is a layer of the model itself; "
            f"{layer!r} is not, or its map ends inside another layer: choose another path of "
            "Scope(model).layers."
        )
    return Site(row, _chain(traced, layer, row.output), ceiling(traced.wiring, tap))


def _chain(traced: TracedModel, start: str, end: str) -> tuple[str, ...]:
    calls = {call.path: call for call in traced.trace.calls[1:] if "/" not in call.path}
    names = [start]
    while names[-1] != end:
        made = calls[names[-1]].outputs[0]
        names.append(next(path for path, call in calls.items() if made in call.inputs))
    return tuple(names)


def copy(model: keras.Model) -> keras.Model:
    """The same model with weights of its own."""
    return _with_weights_of(model, keras.models.clone_model(model))


def inserted(model: keras.Model, place: Site, layer: AbnormalMaps) -> keras.Model:
    """The same model with weights of its own and a layer behind the map of a place."""
    (given,) = model.inputs
    name = next(inner.name for inner in model.layers if isinstance(inner, keras.layers.InputLayer))
    image = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=name)

    def call(original: keras.Layer, *args: object, **kwargs: object) -> object:
        made = original(*args, **kwargs)
        return layer([made, image]) if original.name == place.row.output else made

    nested = isinstance(model.input, list)
    tensors = [image] if nested else image
    clone = keras.models.clone_model(model, input_tensors=tensors, call_function=call)
    return _with_weights_of(model, clone)


def _with_weights_of(model: keras.Model, clone: keras.Model) -> keras.Model:
    for layer in model.layers:
        clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone


def maps_of(model: keras.Model, layer: str, images: Floats, batch: int = 32) -> Floats:
    """Maps float32 (N, H, W, C) of images that are ready for the model."""
    traced = TracedModel(model)
    (tap,) = traced.resolve(layer)
    parts = [images[at : at + batch] for at in range(0, len(images), batch)]
    return np.concatenate([view(traced.run([part], [tap.tensor])[0]) for part in parts])


def shift(model: keras.Model, place: Site, channels: Sequence[int], by: Floats | float) -> None:
    """Add something to some channels before the activation, in place.

    Raises:
        InputError: neither a bias nor a BatchNorm shift is there to do it.
    """
    layer = _shifting(model, place)
    normal = isinstance(layer, keras.layers.BatchNormalization)
    variable = layer.beta if normal else layer.bias
    values = _values(variable)
    values[list(channels)] += by
    variable.assign(values)


def _shifting(model: keras.Model, place: Site) -> keras.Layer:
    layers = [model.get_layer(name) for name in place.chain]
    for layer in reversed(layers):
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center:
            return layer
    if getattr(layers[0], "use_bias", False):
        return layers[0]
    raise InputError(
        f"A channel is shifted by a bias or a BatchNorm shift, and '{place.row.path}' has neither: "
        "choose another layer."
    )


def flatten(model: keras.Model, place: Site, channels: Sequence[int], value: float) -> None:
    """Kernels of 0, so that some channels hold one value before the activation, in place.

    Raises:
        InputError: the layer is no plain convolution, or nothing can add the value.
    """
    convolution = model.get_layer(place.chain[0])
    if not isinstance(convolution, _CONVOLUTIONS):
        raise InputError(f"Kernels are those of a convolution; '{place.row.path}' is none.")
    kernel = _values(convolution.kernel)
    own = kernel.swapaxes(2, 3) if isinstance(convolution, _CONVOLUTIONS[1]) else kernel
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        own = own.reshape(*own.shape[:2], -1)
    own[..., list(channels)] = 0
    convolution.kernel.assign(kernel)
    layer = _shifting(model, place)
    if isinstance(layer, keras.layers.BatchNormalization):
        _set(layer.beta, channels, value)
        if layer.scale:
            _set(layer.gamma, channels, 0)
        else:
            _set(layer.moving_mean, channels, 0)
    else:
        _set(layer.bias, channels, value)
    if getattr(convolution, "use_bias", False) and layer is not convolution:
        _set(convolution.bias, channels, 0)


def _set(variable: keras.Variable, channels: Sequence[int], value: float) -> None:
    values = _values(variable)
    values[list(channels)] = value
    variable.assign(values)


def _values(variable: keras.Variable) -> Floats:
    return np.array(keras.ops.convert_to_numpy(variable))


def before_activation(model: keras.Model, place: Site, images: Floats) -> Floats:
    """What the activation of a place gets, float32 (N, H, W, C)."""
    layer = _shifting(model, place)
    output = layer.output
    if getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear:
        plain = type(layer).from_config({**layer.get_config(), "activation": None})
        output = plain(layer.input)
        plain.set_weights(layer.get_weights())
    found = keras.Model(model.inputs, output).predict(images, batch_size=32, verbose=0)
    return np.asarray(found, np.float32)


def saturating(model: keras.Model, place: Site) -> float:
    """The smallest input that takes the activation of a place to .99 of its bound."""
    first, last = (model.get_layer(place.chain[at]) for at in (0, -1))
    activation = last if len(place.chain) > 1 and not last.weights else first.activation
    steps = np.linspace(0, 20, 200_001, dtype=np.float32)
    values = np.asarray(activation(steps.reshape(1, -1, 1, 1))).reshape(-1)
    return float(steps[np.argmax(values >= 0.99 * place.bound)])
