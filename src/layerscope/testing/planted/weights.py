"""Defects made by the weights of one layer, and the decoder whose windows overlap unevenly."""

import math
from typing import Literal

import keras
import numpy as np

from layerscope.errors import InputError
from layerscope.model.fresh import fresh_weights
from layerscope.testing.planted import nets, surgery
from layerscope.testing.planted.truth import Channels, Planted, chosen_from
from layerscope.vocabulary import Floats

_FAR = 1000.0
"""What takes every input of an activation below 0."""


def dead(model: keras.Model, layer: str, channels: Channels, seed: int = 0) -> Planted:
    """Channels that never fire: their bias, or BatchNorm shift, is 1000 lower before a ReLU.

    Raises:
        InputError: no activation follows, or nothing there shifts a channel.
    """
    place = surgery.site(model, layer)
    if place.row.pre_activation:
        raise InputError(f"A dead channel needs a ReLU, and '{layer}' is read before one.")
    chosen, clone = chosen_from(place, channels, seed), surgery.copy(model)
    surgery.shift(clone, place, chosen, -_FAR)
    return Planted(clone, layer, chosen, "dead", _FAR)


def constant(
    model: keras.Model, layer: str, channels: Channels, value: float = 1.0, seed: int = 0
) -> Planted:
    """Channels that hold one value everywhere: kernels of 0, and a bias or BatchNorm shift.

    Args:
        model: any functional model.
        layer: path of the layer.
        channels: see `Channels`.
        value: what the activation gets; above 0, so that a ReLU passes it, and below its bound.
        seed: of the choice.

    Raises:
        InputError: the layer has no kernel, bias or BatchNorm shift for it.
    """
    place = surgery.site(model, layer)
    chosen, clone = chosen_from(place, channels, seed), surgery.copy(model)
    surgery.flatten(clone, place, chosen, value)
    return Planted(clone, layer, chosen, "constant", value)


def saturated(
    model: keras.Model,
    layer: str,
    channels: Channels,
    images: Floats,
    share: float = 0.9,
    seed: int = 0,
) -> Planted:
    """Channels with a share of their pixels at the bound of a ReLU6, sigmoid or such.

    A channel that is at its bound everywhere would be constant, so the bias or BatchNorm shift is
    raised just so far that on these images a share of the pixels is at .99 of it and above. Where
    many pixels have one value, as those of an even background, it may be more: the truth
    ``shares`` gives the share of each channel, and at 1 the channel says as little as a constant.

    Args:
        model: any functional model.
        layer: path of the layer.
        channels: see `Channels`; they must be `lively`.
        images: float32 (N, H, W, C), ready for the model.
        share: the strength, above 0 and below 1.
        seed: of the choice.

    Raises:
        InputError: the activation has no bound, or nothing there shifts a channel.
    """
    place = surgery.site(model, layer)
    if not math.isfinite(place.bound):
        raise InputError(
            f"A saturated channel needs an activation with an upper bound, such as ReLU6; "
            f"'{layer}' has none."
        )
    if not 0 < share < 1:
        raise InputError(f"The saturated share lies between 0 and 1, both left out; got {share}.")
    chosen, clone = chosen_from(place, channels, seed), surgery.copy(model)
    given = surgery.before_activation(clone, place, images)[..., list(chosen)]
    reached = np.quantile(given.reshape(-1, len(chosen)), 1 - share, axis=0)
    # A little more, else rounding takes many equal pixels to the other side of the line.
    by = surgery.saturating(clone, place) - reached + 1e-4
    surgery.shift(clone, place, chosen, by.astype(np.float32))
    maps = surgery.maps_of(clone, layer, images)[..., list(chosen)]
    shares = (maps >= 0.99 * place.bound).mean((0, 1, 2)).tolist()
    truth = {"shares": dict(zip(chosen, shares, strict=True))}
    return Planted(clone, layer, chosen, "saturated", share, truth)


def reinitialised(model: keras.Model, layer: str, seed: int = 0) -> Planted:
    """One layer with fresh weights from its own initialisers, drawn anew; all its channels.

    The truth ``kernels`` is their number and ``sides`` their size: an entropy test of kernels asks
    for 3x3 and at least 100 of them.

    Raises:
        InputError: the layer has no kernel.
    """
    place = surgery.site(model, layer)
    clone = surgery.copy(model)
    convolution = clone.get_layer(layer)
    kernels = [v for v in convolution.weights if v.name.endswith("kernel")]
    if not kernels:
        raise InputError(f"Fresh weights need a kernel, and '{layer}' has none.")
    for variable, fresh in zip(clone.weights, fresh_weights(clone, seed)[0], strict=True):
        if any(variable is own for own in convolution.weights):
            variable.assign(fresh)
    sides = tuple(kernels[0].shape[:2])
    truth = {"sides": sides, "kernels": int(np.prod(kernels[0].shape[2:]))}
    every = chosen_from(place, place.row.shape[2] or 0, seed)
    return Planted(clone, layer, every, "reinitialised", 1.0, truth)


def checkerboard(
    kernel: Literal[3, 4] = 3, channels: int = 16, roughness: float = 0.1, seed: int = 0
) -> Planted:
    """A small decoder for digits whose transposed convolution ``up`` has stride 2.

    Windows of 3 overlap unevenly, which makes a checkerboard in every channel; windows of 4 do
    not, which makes none: the control, with no channel planted (Odena, Distill 2016).

    Args:
        kernel: the strength, 3 or 4.
        channels: of ``up``.
        roughness: noise of the kernels, as a share of their value, so that the control is not
            perfectly even.
        seed: of all weights.

    Raises:
        InputError: another size of the kernel.
    """
    if kernel not in (3, 4):
        raise InputError(f"The kernel has 3 or 4 pixels a side; got {kernel}.")
    model = nets.decoder(kernel, channels, roughness, seed)
    uneven = tuple(range(channels)) if kernel % 2 else ()
    return Planted(model, "up", uneven, "checkerboard", float(kernel))
