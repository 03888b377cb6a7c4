"""What a report shows of each layer.

Some of its channels on a photo, on noise input, in an untrained twin and on images like the photo,
and what excites them most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.images import Source
from layerscope.profile import Profile
from layerscope.run.closer import Tones, noise_like
from layerscope.run.crops import Bytes, Exemplar, exciting, pixels_at, to_rgb
from layerscope.run.local import Compute, Progress
from layerscope.run.plan import Plan
from layerscope.run.profiling import Subject
from layerscope.selection import select
from layerscope.vocabulary import Floats

CLEAR, NOT_JUDGED = "clear", "not_judged"

MOST_SHOWN = 6
"""Channels of a layer that nothing speaks against, and as many of the others."""
STILL, MOST_STILL = ("non_finite", "dead", "constant"), 2
"""Verdicts of channels that have nothing to look at, and how many of each are shown."""
MOST_EXCITED = 4
"""Channels of a layer for which it is shown what excites them."""
SIMILAR = 3
"""Images like the photo."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One channel that is shown.

    Attributes:
        channel: its number.
        verdict: see `layerscope.audit.clarity.CHANNEL_VERDICTS`.
        reason: the number that decided it, in words; empty where there is none.
        exemplars: what excites it most, the strongest first; empty for most channels.
    """

    channel: int
    verdict: str
    reason: str = ""
    exemplars: tuple[Exemplar, ...] = ()

    @property
    def flagged(self) -> bool:
        """Whether something speaks against it."""
        return self.verdict not in (CLEAR, NOT_JUDGED)


@dataclass(frozen=True)
class Evidence:
    """What is shown of one layer.

    Attributes:
        channels: the K that are shown, in the order of `choose`.
        photo, noise, twin: float32 (h, w, K): their maps of the photo, of noise input, and of the
            photo in an untrained twin.
        similar: the same of images like the photo, each (h, w, K) with sides of its own.
    """

    channels: tuple[Chosen, ...]
    photo: Floats = field(repr=False)
    noise: Floats = field(repr=False)
    twin: Floats = field(repr=False)
    similar: tuple[Floats, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sight:
    """An image that went through the network: its name and uint8 (H, W, 3)."""

    name: str
    rgb: Bytes = field(repr=False)


@dataclass(frozen=True)
class Gallery:
    """What is shown of all layers.

    Attributes:
        photo: the image on which all channels are shown.
        noise: the noise input.
        similar: images of the same class; where classes are unknown, those that follow the photo.
        kind: name of that class; empty where unknown.
        layers: layer path -> what is shown of it; layers whose maps are not drawn are left out.
    """

    photo: Sight
    noise: Sight
    similar: tuple[Sight, ...]
    kind: str
    layers: Mapping[str, Evidence]


def collect(
    subject: Subject,
    source: Source,
    plan: Plan,
    profile: Profile,
    channels: pd.DataFrame,
    gravest_first: Sequence[str],
    tell: Callable[[Progress], None] = lambda _: None,
) -> Gallery | None:
    """Show all layers a few images, one at a time; only the maps of chosen channels are kept.

    Args:
        subject: the model.
        source: the images of the profile.
        plan: what was done for it.
        profile: names, labels and exemplars.
        channels: its table of channels with the column ``verdict`` and, if it is known, ``reason``.
        gravest_first: the verdicts, see `choose`.
        tell: hears how far the work is.

    Returns:
        ``None`` for a stream, whose images cannot be had again.

    Raises:
        InputError: none of the images that are needed can be read any more.
    """
    if plan.images is None:
        return None
    shown, passes = _shown(source, plan, profile), SIMILAR + 3
    tell(Progress("pictures", 0, passes))
    tables = {str(path): rows for path, rows in channels.groupby("layer")}
    maps = subject.compute(shown.photos[0][None])[0]
    wanted = {
        path: choose(tables[path], maps[path][0], gravest_first)
        for path, layer in subject.layers.items()
        if path in tables and not layer.not_shown
    }
    photo = _kept(maps, wanted)
    del maps

    def look(compute: Compute, image: Floats) -> dict[str, Floats]:
        return _kept(compute(image[None])[0], wanted)

    similar = [look(subject.compute, image) for image in shown.photos[1:]]
    noise = look(subject.compute, shown.noise)
    tell(Progress("pictures", SIMILAR + 2, passes))
    twin = look(subject.twin(shown.fine, plan.seed), shown.photos[0])
    asked = {path: _to_excite(some, profile.exemplars[path]) for path, some in wanted.items()}
    excited = exciting(asked, subject.layers, source, profile, shown.tones)
    layers = {}
    for path, some in wanted.items():
        these = (replace(c, exemplars=excited.get((path, c.channel), ())) for c in some)
        others = tuple(one[path] for one in similar)
        layers[path] = Evidence(tuple(these), photo[path], noise[path], twin[path], others)
    tell(Progress("pictures", passes, passes))
    sights = shown.sights
    return Gallery(sights[0], sights[-1], tuple(sights[1:-1]), shown.kind, layers)


def _kept(maps: Mapping[str, Floats], wanted: Mapping[str, Sequence[Chosen]]) -> dict[str, Floats]:
    """Copies of the chosen maps of one image: the maps themselves belong to the forward pass."""
    return {path: maps[path][0][..., [c.channel for c in some]] for path, some in wanted.items()}


def choose(
    rows: pd.DataFrame, maps: Floats, gravest_first: Sequence[str], most: int = MOST_SHOWN
) -> tuple[Chosen, ...]:
    """Which channels of a layer to show.

    First clear ones, or where none is clear those that were not judged: the ones that together
    carry most of the maps. Then of the others the gravest: of each verdict about as many, so that
    many of one kind hide no other, and those first that vary most; of channels that hold one value
    or are not finite only a few, since there is nothing to see.

    Args:
        rows: of one layer in the table of channels, with the columns ``channel``, ``verdict``,
            ``variance`` and, if it is known, ``reason``.
        maps: float32 (h, w, C), all channels on the photo.
        gravest_first: the verdicts in their order.
        most: so many of either sort at most.
    """
    varied = rows.assign(order=-rows["variance"].fillna(-1)).sort_values("order", kind="stable")
    queues = {
        verdict: [int(c) for c in own] for verdict, own in varied.groupby("verdict")["channel"]
    }
    sound = queues.pop(NOT_JUDGED, [])
    sound = queues.pop(CLEAR, sound)
    queues |= {verdict: queues[verdict][:MOST_STILL] for verdict in STILL if verdict in queues}
    flagged = _in_turn([queues[v] for v in gravest_first if v in queues], most)
    known = varied.set_index("channel")
    reasons = known["reason"] if "reason" in known else pd.Series("", known.index)
    return tuple(
        Chosen(c, str(known.at[c, "verdict"]), reasons[c] if isinstance(reasons[c], str) else "")
        for c in (*_carrying(sound, maps, most), *flagged)
    )


def _carrying(channels: Sequence[int], maps: Floats, most: int) -> list[int]:
    """By coverage; where too few differ on the photo for that, then in their own order."""
    if not channels:
        return []
    found = select(maps[None][..., list(channels)], most, None)
    picked = [channels[place] for place in found.channels]
    return [*picked, *(channel for channel in channels if channel not in picked)][:most]


def _in_turn(queues: Sequence[Sequence[int]], most: int) -> list[int]:
    """Take one of each queue in turn until there are enough; those of one queue stay together."""
    turns = sorted((turn, at) for at, queue in enumerate(queues) for turn in range(len(queue)))
    taken = sorted((at, turn) for turn, at in turns[:most])
    return [queues[at][turn] for at, turn in taken]


def _to_excite(some: Sequence[Chosen], lists: Mapping[str, NDArray[np.float32]]) -> list[int]:
    """Of both sorts as far as there are such, but no channel that answers all images alike."""
    differ = lists["top_score"][0] > lists["bottom_score"][0]
    lively = [one for one in some if differ[one.channel]]
    sorts = [[c.channel for c in lively if c.flagged is flagged] for flagged in (False, True)]
    return _in_turn(sorts, MOST_EXCITED)


class _Shown(NamedTuple):
    """The images to show: their names, what else the twin is fitted to, and their grey levels."""

    photos: list[Floats]
    names: list[str]
    kind: str
    fine: list[Floats]
    noise: Floats
    tones: Tones

    @property
    def sights(self) -> list[Sight]:
        """The photos and the noise, to look at."""
        named = zip((*self.names, "noise"), (*self.photos, self.noise), strict=True)
        return [Sight(name, to_rgb(image, self.tones)) for name, image in named]


def _shown(source: Source, plan: Plan, profile: Profile) -> _Shown:
    places, kind = _like_one_another(profile)
    few = dict(pixels_at(source, (*places, *plan.fine)))
    places = [place for place in places if place in few]
    photos = [few[place] for place in places]
    fine = [few[place] for place in plan.fine if place in few] or photos
    names = profile.images["id"].astype(str)
    return _Shown(
        photos,
        [str(names.iloc[place]) for place in places],
        kind,
        fine,
        noise_like([photos[0], *fine], 1, plan.seed)[0],
        Tones.of([*photos, *fine]),
    )


def _like_one_another(profile: Profile) -> tuple[list[int], str]:
    """Places of the photo and of images like it, and the name of their class.

    The photo is the first one whose class has enough others to compare it with; where there is no
    such class, the first of all.
    """
    read = np.flatnonzero(profile.images["read"].to_numpy(bool))
    labels = profile.images["label"].to_numpy(np.int64)[read]
    for label in dict.fromkeys(labels[labels >= 0].tolist()):
        alike = read[labels == label]
        if len(alike) > SIMILAR:
            named = label < len(profile.classes)
            kind = profile.classes[label] if named else str(label)
            return alike[: SIMILAR + 1].tolist(), kind
    return read[: SIMILAR + 1].tolist(), ""
