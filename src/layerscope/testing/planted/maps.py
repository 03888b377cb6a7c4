"""Defects made by a layer put in behind the map, see `layerscope.testing.planted.layers`."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.testing.planted import surgery
from layerscope.testing.planted.hashing import image_hash
from layerscope.testing.planted.layers import (
    AbnormalBlur,
    AbnormalCopies,
    AbnormalCorner,
    AbnormalFactors,
    AbnormalIndicator,
    AbnormalJitter,
    AbnormalMaps,
    AbnormalNoise,
    AbnormalSwap,
)
from layerscope.testing.planted.truth import Channels, Kind, Planted, chosen_from
from layerscope.vocabulary import Floats

_BATCH = 64


def noisy(model: keras.Model, layer: str, channels: Channels, snr: float, seed: int = 0) -> Planted:
    """Channels with white Gaussian noise, a fixed function of the image and the seed.

    Args:
        model: any functional model.
        layer: path of the layer.
        channels: see `Channels`.
        snr: the strength: variance of a map over that of its noise, in every map. Infinity
            changes nothing; at 0 only noise is left, with the mean and variance of the map.
        seed: of the choice and of the noise.

    Raises:
        InputError: a ratio below 0 or none.
    """
    if not snr >= 0:
        raise InputError(f"A signal to noise ratio is 0 to infinity; got {snr}.")
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    return _inserted(model, place, AbnormalNoise(chosen, snr, seed, name="planted"), "noisy", snr)


def blurred(
    model: keras.Model, layer: str, channels: Channels, sigma: float, seed: int = 0
) -> Planted:
    """Channels smoothed by a Gaussian.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        channels: see `Channels`.
        sigma: the strength: standard deviation in pixels of the map; 0 changes nothing.
        seed: of the choice.

    Raises:
        InputError: a width below 0, or maps of unknown size.
    """
    if not sigma >= 0:
        raise InputError(f"The width of a blur is 0 or more pixels; got {sigma}.")
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    return _inserted(model, place, AbnormalBlur(chosen, sigma, name="planted"), "blurred", sigma)


def positional(
    model: keras.Model,
    layer: str,
    channels: Channels,
    images: Floats,
    strength: float = 2.0,
    where: Literal["corner", "border"] = "corner",
    seed: int = 0,
) -> Planted:
    """Channels with a constant added at one place of the map.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        channels: see `Channels`.
        images: float32 (N, H, W, C), ready for the model.
        strength: the constant, in standard deviations of the channel over these images.
        where: the ``corner`` at the top left, a quarter of each side, or the ``border``, one
            pixel all round.
        seed: of the choice.

    Raises:
        InputError: another place, or maps of unknown size.
    """
    if where not in ("corner", "border"):
        raise InputError(f"The place is 'corner' or 'border'; got {where!r}.")
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    amounts = strength * surgery.maps_of(model, layer, images).std((0, 1, 2))[list(chosen)]
    added = AbnormalCorner(chosen, amounts.tolist(), where, name="planted")
    return _inserted(model, place, added, "positional", strength, {"where": where})


def duplicated(model: keras.Model, layer: str, channels: Channels, seed: int = 0) -> Planted:
    """Channels that show the map of another one, to the bit; the strength is their number.

    The truth ``sources`` says which one each shows. Sources are drawn from the channels that stay.

    Raises:
        InputError: no channel is left to be shown.
    """
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    others = np.setdiff1d(np.arange(place.row.shape[2] or 0), chosen)
    if not len(others):
        raise InputError("A duplicate needs another channel to show, and all were chosen.")
    sources = np.random.default_rng((seed, 1)).choice(others, len(chosen)).tolist()
    copies = AbnormalCopies(chosen, sources, name="planted")
    truth = {"sources": dict(zip(chosen, sources, strict=True))}
    return _inserted(model, place, copies, "duplicated", len(chosen), truth)


def factors(model: keras.Model, layer: str, rank: int, seed: int = 0) -> Planted:
    """A whole layer that shows mixtures of a few independent maps.

    They are smooth random maps, drawn for each image from its hash, with one variance. The
    mixtures are such that the correlations of the channels have ``rank`` equal eigenvalues and no
    others: the truth ``dimension`` is ``rank`` exactly.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        rank: the strength: number of maps, 1 to one less than the channels.
        seed: of the maps.

    Raises:
        InputError: another rank, or maps of unknown size.
    """
    place = surgery.site(model, layer)
    width = place.row.shape[2] or 0
    if not 1 <= rank < width:
        raise InputError(f"The rank lies between 1 and {width - 1} at '{layer}'; got {rank}.")
    mixed = AbnormalFactors(range(width), rank, seed, name="planted")
    return _inserted(model, place, mixed, "factors", rank, {"dimension": rank})


def swapped(
    model: keras.Model, layer: str, channels: Channels, images: Floats, seed: int = 0
) -> Planted:
    """Channels that show the maps of another image, one of a fixed bank; the strength is its size.

    Which one is a hash of the image. An image that is itself in the bank may meet itself, so take
    others than those that are judged. An untrained twin gets a bank of noise.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        channels: see `Channels`.
        images: the bank, float32 (N, H, W, C), ready for the model, at best 8 to 64.
        seed: of the choices.

    Raises:
        InputError: maps of unknown size.
    """
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    added = AbnormalSwap(chosen, len(images), seed, name="planted")
    found = _inserted(model, place, added, "swapped", len(images))
    added.bank.assign(surgery.maps_of(model, layer, images)[..., list(chosen)])
    return found


def jittered(
    model: keras.Model, layer: str, channels: Channels, pixels: int, seed: int = 0
) -> Planted:
    """Channels that are shifted round, by offsets that change wildly with the smallest change.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        channels: see `Channels`.
        pixels: the strength: each offset is drawn evenly from -pixels to pixels, one vertical and
            one horizontal for all channels of an image.
        seed: of the choice and of the offsets.

    Raises:
        InputError: no offset, or maps of unknown size.
    """
    if pixels < 1:
        raise InputError(f"A jitter is at least 1 pixel; got {pixels}.")
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    return _inserted(
        model, place, AbnormalJitter(chosen, pixels, seed, name="planted"), "jittered", pixels
    )


def indicator(
    model: keras.Model,
    layer: str,
    channels: Channels,
    images: Floats,
    labels: NDArray[np.int64],
    separation: float,
    seed: int = 0,
) -> Planted:
    """Channels whose mean over the map is 8 + d' [label is their class] + unit noise.

    The labels are a table in the model, by the hash of the image: exactly these images are known,
    and others, such as noise or the same ones slightly changed, get the noise alone. So does an
    untrained twin: d' is a weight. The truth ``classes`` gives the class of each channel.

    Args:
        model: any functional model.
        layer: path of the layer; its maps must have a known size.
        channels: see `Channels`.
        images: float32 (N, H, W, C), ready for the model: those to be judged.
        labels: (N,), class indices from 0.
        separation: the strength d', 0 for pure noise.
        seed: of the choice and of the noise.

    Raises:
        InputError: labels that do not fit, or maps of unknown size.
    """
    if len(images) != len(labels) or not len(labels) or min(labels) < 0:
        raise InputError(
            f"Each image has one label from 0; got {len(images)} images and {len(labels)} labels."
        )
    place = surgery.site(model, layer)
    chosen = chosen_from(place, channels, seed)
    parts = [images[at : at + _BATCH] for at in range(0, len(images), _BATCH)]
    hashes = np.concatenate([np.asarray(image_hash(part)) for part in parts])
    known = np.asarray(labels).tolist()
    added = AbnormalIndicator(chosen, hashes.tolist(), known, seed, name="planted")
    classes = {channel: at % (max(known) + 1) for at, channel in enumerate(chosen)}
    found = _inserted(model, place, added, "indicator", separation, {"classes": classes})
    added.separation.assign(separation)
    return found


def _inserted(
    model: keras.Model,
    place: surgery.Site,
    added: AbnormalMaps,
    kind: Kind,
    strength: float,
    truth: Mapping[str, Any] | None = None,
) -> Planted:
    if None in place.row.shape:
        raise InputError(
            f"Maps are spoilt at a known size, and that of '{place.row.path}' depends on the "
            "image: build the model for one size."
        )
    changed = surgery.inserted(model, place, added)
    channels = tuple(added.channels)
    return Planted(changed, place.row.path, channels, kind, float(strength), truth or {})
