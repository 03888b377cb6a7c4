"""The clarity panel: one verdict per channel, whether each layer was learned, and what follows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from layerscope.audit.figures import conjoined, count, percent
from layerscope.audit.findings import Finding, Panel, untested
from layerscope.audit.learned import LIMITS as OF_LEARNED
from layerscope.audit.learned import Learned, learned, learned_findings, no_class_signal
from layerscope.audit.maps import map_findings, map_verdicts, unjudged
from layerscope.audit.vitality import (
    LIMITS,
    VITALITY_VERDICTS,
    vitality_findings,
    vitality_verdicts,
)
from layerscope.measures.table import IN_SPACE
from layerscope.profile import Profile
from layerscope.run.nulls import PROBE
from layerscope.vocabulary import Regime

Counts = Mapping[str, int]

CHANNEL_VERDICTS = (
    *VITALITY_VERDICTS,
    *("artefact", "noisy", "blurry", "not_judged", "unsure", "clear"),
)
"""A channel has the first of these that applies."""


@dataclass(frozen=True)
class Clarity:
    """What was said of every channel and layer.

    Attributes:
        channels: the profile's table with ``verdict``, ``reason``, ``flagged`` and ``regime``.
        layers: the profile's table with ``learned``.
        findings: of this panel.
        open_questions: what was not judged and why, a sentence each.
    """

    channels: pd.DataFrame
    layers: pd.DataFrame
    findings: tuple[Finding, ...]
    open_questions: tuple[str, ...]

    @property
    def judged(self) -> Counts:
        """Counts of the channels of those layers whose maps may be judged."""
        return counts(self.channels["verdict"][self.channels["regime"].isin(IN_SPACE)])

    @property
    def learned(self) -> dict[str, Learned]:
        """Layer path -> whether it was learned."""
        return dict(zip(self.layers["layer"], self.layers["learned"], strict=True))


def clarity(profile: Profile, regimes: Mapping[str, Regime | None]) -> Clarity:
    """Judge all channels and layers of a profile.

    Args:
        profile: the measurements, at best with noise input and twins.
        regimes: layer path -> regime.
    """
    alive = profile.channels.assign(verdict=vitality_verdicts(profile.channels))
    channels = map_verdicts(alive, regimes)
    images = int(profile.images["read"].sum())
    probed = min(images, PROBE)
    layers = learned(profile.layers, probed)
    labelled = int((profile.images["label"] >= 0).sum())
    findings = (
        *vitality_findings(channels),
        *map_findings(channels),
        *learned_findings(layers, probed),
        *no_class_signal(channels, labelled),
    )
    return Clarity(channels, layers, findings, (*unjudged(channels), *_untested(layers)))


def _untested(layers: pd.DataFrame) -> Sequence[str]:
    said = []
    if "entropy_p" in layers and (missing := int(layers["entropy_p"].isna().sum())):
        said.append(
            f"Whether the kernels of {count(missing, 'layer')} are random: they are not 3x3, or "
            "fewer than 100."
        )
    if "class_signal_p" in layers and layers["class_signal_p"].isna().all():
        said.append(
            "Whether layers tell classes apart: no two classes of images have labels that count."
        )
    if "entropy_p" in layers and layers["dimension_p"].isna().all():
        said.append("Whether layers can be told from untrained ones by what they say on images.")
    return said


def counts(found: Iterable[str]) -> dict[str, int]:
    """How many channels have each verdict, and ``total``, their sum."""
    every = list(found)
    tally = {verdict: every.count(verdict) for verdict in CHANNEL_VERDICTS}
    return {"total": sum(tally.values()), **tally}


def added(many: Iterable[Counts]) -> dict[str, int]:
    """Sum of the counts of several layers."""
    every = list(many)
    return {name: sum(one[name] for one in every) for name in ("total", *CHANNEL_VERDICTS)}


def clarity_panel(
    total: Counts,
    own: Counts,
    images: int,
    answers: Iterable[str] = (),
    open_questions: Sequence[str] = (),
) -> Panel:
    """Return what the clarity panel says.

    Judged are the channels of early and middle layers, less those that are ``not_judged``. Clear:
    at least 80 % of them are. Unsure: over 50 % are. Unclear: at most 20 % are clear. Mixed: the
    rest. Unsure goes before unclear, since channels one is unsure of are not known to be unclear.

    Args:
        total: the counts of all channels.
        own: those of the layers whose maps may be judged, without the late ones.
        images: how many were seen.
        answers: for each layer whether it was learned.
        open_questions: what was not judged and why.
    """
    if not total["total"]:
        return untested("No channel was measured.")
    judged = own["total"] - own["not_judged"]
    ill = [f"{total[name]:,} {name.replace('_', '-')}" for name in CHANNEL_VERDICTS[:7]]
    said = [words for words, name in zip(ill, CHANNEL_VERDICTS, strict=False) if total[name]]
    few, layers = _few(images), _of_layers(answers)
    if not judged:
        reason = "None of the layers has maps whose arrangement could be judged."
        found = f"Found among {count(total['total'], 'channel')}: {conjoined(said) or 'none ill'}."
        words = " ".join([reason, found, *few, *layers])
        return Panel("not-tested", words, (reason, *few, *open_questions))
    clear, unsure = own["clear"] / judged, own["unsure"] / judged
    if clear >= 0.8:
        verdict = "clear"
    elif unsure > 0.5:
        verdict = "unsure"
    else:
        verdict = "unclear" if clear <= 0.2 else "mixed"
    summary = (
        f"Clear: {own['clear']:,} of {count(judged, 'channel')} that could be judged "
        f"({percent(clear)})."
    )
    said += [f"{total['unsure']:,} unsure"] if total["unsure"] else []
    if said:
        with_ = ", also those that could not be judged" if judged < total["total"] else ""
        summary += f" Of all {count(total['total'], 'channel')}{with_}: {conjoined(said)}."
    return Panel(verdict, " ".join([summary, *few, *layers]), (*few, *open_questions))


def _few(images: int) -> list[str]:
    if images >= LIMITS.fewest_images:
        return []
    seen = f"{count(images, 'image')} {'is' if images == 1 else 'are'}"
    return [
        f"{seen} too few to call a channel dead, constant or saturated: that takes "
        f"{LIMITS.fewest_images}."
    ]


def _of_layers(answers: Iterable[str]) -> list[str]:
    every = list(answers)
    tested = [answer for answer in every if answer != "not-tested"]
    if not tested:
        return []
    parts = [f"{tested.count(word)} {word}" for word in ("yes", "no", "unsure")]
    of = count(len(tested), "tested layer")
    said = [f"Can a layer be told from untrained ones? Of {of}: {', '.join(parts)}."]
    if tested.count("no") >= OF_LEARNED.widespread * len(tested):
        said.append("Most cannot: what is clear here may be the architecture alone.")
    return said
