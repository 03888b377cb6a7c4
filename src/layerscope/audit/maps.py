"""What the maps of a channel are like: noisy, blurry, marked by position, or clear.

A verdict needs the whole 95 % interval of a measure on one side of its line; where a line lies
inside, the answer is *unsure*. Late layers get no such verdict: their maps are too small, or see
too much of the image, for their arrangement to mean anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from layerscope.audit.figures import Unit, count
from layerscope.audit.findings import Effect, Finding
from layerscope.audit.vitality import LIMITS, VitalityLimits
from layerscope.measures.significance import adjusted
from layerscope.measures.table import IN_SPACE
from layerscope.profile import values_of
from layerscope.vocabulary import Regime

_Bools = NDArray[np.bool_]

REPEATS = ("repeat_shift", "repeat_flip", "repeat_brightness", "repeat_jpeg")


@dataclass(frozen=True, slots=True)
class MapLimits:
    """Lines chosen on nets trained on digits, see ``docs/evidence.md``; other nets confirm them.

    Attributes:
        noise: share of a map's variance that is noise. .5 is as much noise as signal.
        blur: fine detail of a map, against that of the photo at the same size.
        position: share of the variance that position explains whatever the input is.
        board: share of a map that repeats with the upsampling.
        specificity: by how much a map must follow its own image better than another one, unless
            it certainly does so by less.
        repeat: correlation that at least one small change of the image must leave.
        order: Moran's I above that on noise input.
    """

    noise: float = 0.45
    blur: float = 0.12
    position: float = 0.25
    board: float = 0.02
    specificity: float = 0.08
    repeat: float = 0.8
    order: float = 0.0


@dataclass(frozen=True, slots=True)
class _Rule:
    """A measure that flags a channel on one side of a line.

    Attributes:
        kind: of the finding.
        verdict: that a flagged channel gets; empty where it is merely not clear.
        column: of the profile; its limits are in ``column_low`` and ``column_high``.
        line: name of the line in `MapLimits`.
        above: whether values above the line are flagged, or those below it.
        needed: whether a channel without a value cannot be clear.
        words: the measure as a reader meets it.
    """

    kind: str
    verdict: Literal["artefact", "noisy", "blurry", ""]
    column: str
    line: str
    above: bool
    needed: bool
    words: str


RULES = (
    _Rule("positional-bias", "artefact", "positional_kept", "position", True, False, "position"),
    _Rule("checkerboard", "artefact", "board", "board", True, False, "checkerboard"),
    _Rule("noisy-maps", "noisy", "noise_share", "noise", True, True, "noise"),
    _Rule("blurry-maps", "blurry", "blur", "blur", False, True, "detail"),
    _Rule("image-independent", "", "specificity", "specificity", False, False, "own image"),
    _Rule("inconsistent-maps", "", "repeat", "repeat", False, False, "repeats"),
    _Rule("", "", "structure", "order", False, True, "order"),
)
"""In the order of verdicts. The last one raises no finding: not beating a null is *unsure*."""

LIMITS_OF_MAPS = MapLimits()

SMALLEST_P = 1e-3
"""Intervals of 400 resamples say nothing of smaller ones."""


def map_verdicts(
    channels: pd.DataFrame,
    regimes: Mapping[str, Regime | None],
    limits: MapLimits = LIMITS_OF_MAPS,
) -> pd.DataFrame:
    """Judge the maps of the channels of which vitality said nothing.

    Args:
        channels: the profile's table with a column ``verdict`` of
            `layerscope.audit.vitality.vitality_verdicts`.
        regimes: layer path -> regime.
        limits: where the lines are drawn.

    Returns:
        The table with ``verdict`` filled in, ``reason``, the measure that decided with its
        interval, ``flagged``, the kinds of findings that a channel is part of, separated by blanks,
        and ``regime``.
    """
    regime = channels["layer"].map(lambda path: regimes.get(path) or "").to_numpy(str)
    table = _with_repeats(channels)
    open_to = (channels["verdict"] == "not_judged").to_numpy() & np.isin(regime, IN_SPACE)
    verdict, reason = (
        channels["verdict"].to_numpy(object).copy(),
        np.full(len(channels), "", object),
    )
    verdict[open_to] = "clear"
    flags = np.full(len(channels), "", object)
    undecided = open_to.copy()
    for rule in RULES:
        flagged, cleared = _sides(table, rule, getattr(limits, rule.line))
        speaks = open_to & ((regime == "early") if rule.line == "specificity" else True)
        if rule.verdict in ("noisy", "blurry"):  # each channel counts once
            speaks &= undecided
        if rule.kind:  # what is noisy is inconsistent as well, by the same noise
            flags[speaks & flagged & (verdict != "noisy")] += f" {rule.kind}"
        words = _words(table, rule)
        if rule.verdict:
            decided = undecided & speaks & flagged
            verdict[decided], reason[decided] = rule.verdict, words[decided]
            undecided &= ~decided
        doubtful = undecided & speaks & ~cleared & (verdict == "clear")
        verdict[doubtful], reason[doubtful] = "unsure", words[doubtful]
    return channels.assign(
        verdict=verdict, reason=_of_clear(reason, verdict, table), flagged=flags, regime=regime
    ).assign(flagged=lambda rows: rows["flagged"].str.strip())


def _with_repeats(channels: pd.DataFrame) -> pd.DataFrame:
    """One measure for the four small changes: the one that the maps survive best."""
    found = {}
    for end in ("", "_low", "_high"):
        columns = [f"{name}{end}" for name in REPEATS if f"{name}{end}" in channels]
        found[f"repeat{end}"] = channels[columns].max(axis=1) if columns else np.nan
    return channels.assign(**found)


def _sides(table: pd.DataFrame, rule: _Rule, line: float) -> tuple[_Bools, _Bools]:
    """Channels whose interval lies on the flagged side, and those that nothing speaks against."""
    low, high = (values_of(table, f"{rule.column}_{end}") for end in ("low", "high"))
    with np.errstate(invalid="ignore"):
        flagged, cleared = (low > line, high < line) if rule.above else (high < line, low > line)
    if rule.kind == "image-independent":
        flagged &= low <= 0  # a weak likeness to the own image is one
    if not rule.verdict and rule.kind:  # only what is flagged speaks against a channel
        cleared = ~flagged
    return flagged, cleared | (~np.isfinite(low) & (not rule.needed))


def _words(table: pd.DataFrame, rule: _Rule) -> NDArray[np.object_]:
    """The measure with its interval, a phrase per channel."""
    ends = (values_of(table, f"{rule.column}{end}") for end in ("", "_low", "_high"))
    return np.array(
        [
            f"{rule.words} {_short(value)} ({_short(low)} to {_short(high)})"
            if np.isfinite(low)
            else f"{rule.words}: too few images with a map that varies"
            for value, low, high in zip(*ends, strict=True)
        ],
        object,
    )


def _of_clear(
    reason: NDArray[np.object_], verdict: NDArray[np.object_], table: pd.DataFrame
) -> NDArray[np.object_]:
    """Clear channels tell how much order and noise they have."""
    order, noise = values_of(table, "structure"), values_of(table, "noise_share")
    for at in np.flatnonzero(verdict == "clear"):
        reason[at] = f"order {_short(order[at])} above noise input, noise {_short(noise[at])}"
    return reason


def _short(value: float) -> str:
    return f"{value:.2f}"


def map_findings(
    channels: pd.DataFrame, limits: MapLimits = LIMITS_OF_MAPS, few: VitalityLimits = LIMITS
) -> tuple[Finding, ...]:
    """Findings on channels whose maps are flagged, one per layer and kind.

    The effect is the measure of the median flagged channel with its interval. Its p value is that
    the value lies on the other side of the line, from the width of the interval, corrected over all
    channels judged (Benjamini-Hochberg).

    Args:
        channels: the table of `map_verdicts`.
        limits: where the lines are drawn.
        few: when so many channels are nothing to warn of.
    """
    table = _with_repeats(channels)
    found: list[Finding] = []
    for rule in RULES[:-1]:
        flagged = table["flagged"].str.split().map(lambda kinds, kind=rule.kind: kind in kinds)
        if not flagged.any():
            continue
        p = _adjusted(table, rule, getattr(limits, rule.line))
        for name, own in table[flagged.to_numpy(bool)].groupby("layer", sort=False):
            whole = int((table["layer"] == name).sum())
            found.append(_finding(rule, str(name), whole, own, p, few))
    return tuple(found)


def _adjusted(table: pd.DataFrame, rule: _Rule, line: float) -> "pd.Series[float]":
    value, low, high = (values_of(table, f"{rule.column}{end}") for end in ("", "_low", "_high"))
    deviation = np.maximum(high - low, 1e-9) / (2 * norm.ppf(0.975))
    p = norm.sf((value - line if rule.above else line - value) / deviation)
    judged = np.isfinite(p) & (table["regime"] != "").to_numpy()
    return pd.Series(
        np.maximum(adjusted(np.where(judged, p, np.nan)), SMALLEST_P), index=table.index
    )


def _finding(
    rule: _Rule,
    layer: str,
    width: int,
    own: pd.DataFrame,
    corrected: "pd.Series[float]",
    few: VitalityLimits,
) -> Finding:
    middle = own.sort_values(rule.column).iloc[(len(own) - 1) // 2]
    p = float(corrected.to_dict()[middle.name])
    value, low, high = (float(middle[f"{rule.column}{end}"]) for end in ("", "_low", "_high"))
    images = int(own["images"].max())
    message, advice = _message(rule, layer, width, own, value)
    return Finding(
        rule.kind,
        message,
        advice,
        layer=layer,
        channels=tuple(int(channel) for channel in own["channel"]),
        effect=Effect(EFFECTS[rule.kind], value, (low, high), _UNITS.get(rule.kind, "share")),
        p=p if np.isfinite(p) else None,
        images=images,
        minor=few.minor(len(own), len(own) / width, images),
    )


EFFECTS = {
    "positional-bias": "variance that position explains",
    "checkerboard": "energy of a map at the upsampling",
    "noisy-maps": "noise in the variance of a map",
    "blurry-maps": "fine detail against the photo's",
    "image-independent": "lead of the own image over another one",
    "inconsistent-maps": "correlation after the mildest small change",
}
"""Kind of finding -> the quantity whose value the effect gives, of the median flagged channel."""
_UNITS: dict[str, Unit] = {"image-independent": "number", "inconsistent-maps": "number"}


def _message(
    rule: _Rule, layer: str, width: int, own: pd.DataFrame, value: float
) -> tuple[str, str]:
    one = len(own) == 1
    who = f"{len(own):,} of {count(width, 'channel')} of {layer}"
    verb = "is" if one else "are"
    typical = "" if one else ", in the median one,"
    if rule.kind == "noisy-maps":
        return (
            f"{who} {verb} noisy: {_percent(value)} of the variance of a map{typical} is fine "
            "unrest that is there even in its quietest places.",
            "Check the preprocessing first: a wrong scale is the most common cause. If it is "
            "right, compare with the untrained twin: where that is as noisy, the layer has not "
            "learned yet, and a longer training or a smaller learning rate is worth a try.",
        )
    if rule.kind == "blurry-maps":
        return (
            f"{who} {verb} blurry: {_percent(value)} of the fine detail of the photo{typical} is "
            "left, at the size of the map.",
            "Look for pooling, resizing or large kernels just before this layer. In a decoder a "
            "skip connection may bring detail back; in a classifier this may be meant.",
        )
    if rule.kind == "positional-bias":
        return (
            f"{who} {verb} marked by position: {_percent(value)} of the variance{typical} is a "
            "pattern that stays when the images are replaced by noise.",
            "Zero padding is the usual cause, and mild amounts are ordinary. Other padding "
            "(reflect, or valid) before this layer may lessen it; if objects are always in one "
            "place, shift the training images as well.",
        )
    if rule.kind == "checkerboard":
        return (
            f"{who} {'shows' if one else 'show'} a checkerboard: {_percent(value)} of the energy "
            f"of a map{typical} repeats with the upsampling.",
            "A kernel size that the stride divides (4 for stride 2), or resizing followed by a "
            "convolution, avoids uneven overlap.",
        )
    if rule.kind == "image-independent":
        return (
            f"{who} {'follows' if one else 'follow'} the own image hardly better than another one: "
            f"by a correlation of {value:.2f}{typical.rstrip(',')}.",
            "In an early layer a map should resemble light, edges or colours of its image. Look "
            "for a bug that mixes the images of a batch, for an input that is constant, and for "
            "channels that answer to position only.",
        )
    return (
        f"{who} {verb} upset by the smallest changes of the image (a shift by one pixel, a mirror "
        f"image, brightness, JPEG): the mildest of them leaves a correlation of {value:.2f}"
        f"{typical.rstrip(',')}.",
        "Look for randomness at inference (dropout or noise layers that stay on), for values that "
        "overflow, and for strides without a filter before them.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def unjudged(channels: pd.DataFrame) -> Sequence[str]:
    """What the table leaves open and why, a sentence each."""
    late = channels[(channels["verdict"] == "not_judged") & (channels["regime"] == "late")]
    unknown = channels[(channels["verdict"] == "not_judged") & (channels["regime"] == "")]
    said = []
    if len(late):
        said.append(
            f"The arrangement of the maps of {count(late['layer'].nunique(), 'late layer')} "
            f"({count(len(late), 'channel')}): they are too small, or see too much of the image."
        )
    if len(unknown):
        said.append(
            f"The maps of {count(unknown['layer'].nunique(), 'layer')} whose receptive field is "
            f"not known ({count(len(unknown), 'channel')})."
        )
    return said
