"""Which channels carry anything at all: what can be said without a null."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from layerscope.audit.figures import count, percent
from layerscope.audit.findings import Effect, Finding
from layerscope.measures.vitality import NEGLIGIBLE, most_it_fires

VITALITY_VERDICTS = ("non_finite", "dead", "constant", "saturated")
"""A channel has the first of these that applies."""


@dataclass(frozen=True, slots=True)
class VitalityLimits:
    """When a channel is dead, constant or saturated, and when a layer has too many of them.

    Attributes:
        fewest_images: images below which only ``non_finite`` is said: in late layers a sound
            channel often stays silent on a handful of images.
        constant: on signed maps, the range of a channel against the typical one of its layer below
            which it is constant. A range that is only rounding is constant on all maps.
        saturated: share of the pixels at .99 of the activation's bound and more from which a
            channel is saturated.
        warn_share: share of the channels of a layer from which dead, constant or saturated ones
            deserve a warning. Trained nets with nothing wrong have some (weight decay and ReLU
            switch channels off), so fewer are for information.
        warn_channels: the same as a number of channels, for narrow layers.
    """

    fewest_images: int = 10
    constant: float = NEGLIGIBLE
    saturated: float = 0.5
    warn_share: float = 0.1
    warn_channels: int = 2

    def minor(self, channels: int, share: float, images: int) -> bool:
        """Whether so many channels of a layer are nothing to warn of.

        With few images the share must also exceed the firing rate that so many images can miss:
        ten images overlook a channel that fires on a quarter of all.
        """
        needed = max(self.warn_share, float(most_it_fires(images)))
        return channels < self.warn_channels or share < needed


LIMITS = VitalityLimits()


def vitality_verdicts(channels: pd.DataFrame, limits: VitalityLimits = LIMITS) -> "pd.Series[str]":
    """One of `VITALITY_VERDICTS` per channel, ``not_judged`` where none applies.

    Dead is said only of layers whose maps are nowhere below 0 (ReLU and its like): there a
    channel that never fired is 0 everywhere. On signed maps, before an activation or after one
    such as SiLU, a value below 0 is no silence, and only the range counts.

    Args:
        channels: one row per channel with the columns ``layer``, ``pre_activation``, ``images``,
            ``finite`` (images whose map is finite), ``fired`` (those with a value above 0),
            ``minimum``, ``relative_range`` and ``saturated_share``, see
            `layerscope.measures.vitality`.
        limits: where the lines are drawn.
    """
    lowest = channels.groupby("layer")["minimum"].transform("min").to_numpy()
    signed = channels["pre_activation"].to_numpy(bool) | (lowest < 0)
    images = channels["images"].to_numpy()
    spread = channels["relative_range"].to_numpy()
    found = np.select(
        [
            channels["finite"].to_numpy() < images,
            images < limits.fewest_images,
            ~signed & (channels["fired"].to_numpy() == 0),
            (spread == 0) | (signed & (spread < limits.constant)),
            channels["saturated_share"].to_numpy() >= limits.saturated,
        ],
        ["non_finite", "not_judged", "dead", "constant", "saturated"],
        "not_judged",
    )
    return pd.Series(found, index=channels.index, name="verdict", dtype=object)


def vitality_findings(
    channels: pd.DataFrame, limits: VitalityLimits = LIMITS
) -> tuple[Finding, ...]:
    """Findings on the channels of each layer that carry nothing or nothing finite.

    Their effect is a share of the channels of the layer. It has no interval over channels: those
    are all the channels there are. What was sampled are the images, and for them the message
    gives an upper limit.

    Args:
        channels: the table with the columns ``channel`` and ``verdict``, see `vitality_verdicts`,
            its layers in the order of the network.
        limits: when many are too many.
    """
    found: list[Finding] = []
    first_broken = ""
    for name, rows in channels.groupby("layer", sort=False):
        layer = str(name)
        for verdict in VITALITY_VERDICTS:
            own = rows[rows["verdict"] == verdict]
            if own.empty:
                continue
            if verdict == "non_finite":
                first_broken = first_broken or layer
            found.append(_finding(verdict, layer, rows, own, first_broken, limits))
    return tuple(found)


_KIND_OF = {
    "non_finite": "non-finite",
    "dead": "dead-channels",
    "constant": "constant-channels",
    "saturated": "saturated-channels",
}


def _finding(
    verdict: str,
    layer: str,
    rows: pd.DataFrame,
    own: pd.DataFrame,
    first_broken: str,
    limits: VitalityLimits,
) -> Finding:
    images = int(rows["images"].max())
    share = len(own) / len(rows)
    message, advice = _words(verdict, layer, len(rows), own, images, first_broken)
    return Finding(
        _KIND_OF[verdict],
        message,
        advice,
        layer=layer,
        channels=tuple(int(channel) for channel in own["channel"]),
        effect=Effect("share of channels", share),
        images=images,
        minor=verdict != "non_finite" and limits.minor(len(own), share, images),
    )


def _words(
    verdict: str, layer: str, width: int, own: pd.DataFrame, images: int, first_broken: str
) -> tuple[str, str]:
    one = len(own) == 1
    who = f"{len(own):,} of {count(width, 'channel')} of {layer}"
    seen = count(images, "image")
    bound = f"{100 * float(most_it_fires(images)):.2g} %"
    each = "it" if one else "each"
    which = "this channel" if one else "these channels"
    if verdict == "dead":
        return (
            f"{who} never fired on {seen}: {each} fires on at most {bound} of such images (95 %).",
            "In a pruned net this is meant. Otherwise look at the bias, or the BatchNorm shift, "
            f"of {which}: far below 0 is the usual cause. A smaller learning rate, less weight "
            "decay or a leaky activation may keep such channels alive in a new training.",
        )
    if verdict == "constant" and float(own["saturated_share"].min()) > 0.99:
        return (
            f"{who} {'is' if one else 'are'} at the bound of the activation in every pixel of "
            f"{seen}.",
            "Input on a larger scale than in training is a common cause: check the preprocessing, "
            f"then the bias and the scale of the weights of {which}.",
        )
    if verdict == "constant":
        return (
            f"{who} {'holds' if one else 'hold'} one value on {seen}, everywhere: {each} varies "
            f"on at most {bound} of such images (95 %).",
            "On such images a constant tells nothing apart, and a bias could stand in for it. "
            f"Look at the incoming weights, or the BatchNorm scale, of {which}: all near 0 is "
            "the usual cause, by pruning or by weight decay.",
        )
    if verdict == "saturated":
        highest = percent(float(own["saturated_share"].max()))
        return (
            f"{who} {'is' if one else 'are'} at the bound of the activation in half of the pixels "
            f"and more ({'' if one else 'up to '}{highest}, {seen}).",
            "There the channel no longer tells strong from stronger, and little gradient flows. "
            "Input on a larger scale than in training is a common cause: check the preprocessing, "
            f"then the scale of the weights of {which}.",
        )
    return _broken(who, layer, f"{int(images - own['finite'].min()):,} of {seen}", first_broken)


def _broken(who: str, layer: str, seen: str, first: str) -> tuple[str, str]:
    message = f"{who} gave NaN or infinity on {seen}."
    if layer != first:
        return message, f"Look at {first} first: what is not finite there spreads to later layers."
    return (
        f"{message} No layer before it did.",
        "Look for NaN in the images and in the weights of this layer, for a division by 0 or a "
        "logarithm, and in mixed precision for values above 65,504, where float16 ends.",
    )
