"""From what channels do to the answer to a page."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from layerscope.audit.figures import count
from layerscope.document.compose import number, percent
from layerscope.document.parts import Document, Part, Picture, Section, Strips, Table, Text
from layerscope.measures.intervals import FEWEST
from layerscope.run.crops import Exemplar

LISTED = 20
"""Channels in the table."""

_HELD_AGAINST = {
    "labels": "Accuracy is held against the labels.",
    "predictions": "No labels are known: accuracy is held against the model's own answers.",
}


class Instance(NamedTuple):
    """An image in which a channel answers.

    Attributes:
        exemplar: the place where it answers most strongly, cut out.
        change: of the explained number when the channel is held at its mean.
    """

    exemplar: Exemplar
    change: float


class Instances(NamedTuple):
    """Images for one channel.

    Attributes:
        channel: its number.
        by_effect: those whose explained number falls most without it; only falls.
        by_activation: those where it is most active.
    """

    channel: int
    by_effect: tuple[Instance, ...]
    by_activation: tuple[Instance, ...]


def effects_page(
    layer: str, about: str, channels: pd.DataFrame, accuracy_of: str, pictured: Sequence[Instances]
) -> Document:
    """The channels of a layer and what they do.

    Args:
        layer: its path.
        about: what was looked at, such as "the logit of 64 images".
        channels: see `layerscope.effects.Effects`.
        accuracy_of: see there.
        pictured: the channels of which there are pictures.
    """
    idle, dead = int(channels["unused"].sum()), int(channels["dead"].sum())
    images = int(channels["images"].max())
    said = [
        f"Each channel of {layer} was held at its mean over the images, everywhere, one channel "
        f"at a time, to see what that does to {about}. A change below 0 says that the channel "
        f"speaks for the target. {_HELD_AGAINST.get(accuracy_of, '')}",
        f"Unused: {count(idle, 'channel')} vary from image to image or place to place, and yet no "
        f"output of the model depends on them. Dead: {count(dead, 'channel')} hold one value, so "
        "that holding them changes nothing by definition.",
        f"Fewer than {FEWEST} images: no limits." if images < FEWEST else "",
    ]
    order = channels.sort_values("size", ascending=False, kind="stable")
    parts: tuple[Part, ...] = (
        *(Text(text.strip()) for text in said if text),
        _listing(order),
        *_strips(pictured),
    )
    return Document(f"{layer}: what its channels do", (Section("Channels", "channels", 2, parts),))


def _listing(order: pd.DataFrame) -> Table:
    top = order.head(LISTED)
    cells: dict[str, Iterable[object]] = {
        "Channel": top["channel"].astype(str),
        "Change": _with_limits(top, "change"),
        "More than random others": _with_limits(top, "lead"),
        "Larger than": [percent(x) if np.isfinite(x) else "" for x in top["percentile"]],
        "Accuracy": [f"{100 * x:+.1f} %" if np.isfinite(x) else "" for x in top["accuracy_change"]],
        "Mean activation": [number(x) for x in top["activation"]],
        "": np.select([top["unused"], top["dead"]], ["unused", "dead"], ""),
    }
    rows = tuple(tuple(map(str, row)) for row in zip(*cells.values(), strict=True))
    which = f"{LISTED} of {len(order)}" if len(order) > LISTED else f"{len(order)}"
    caption = f"The {which} channels with the largest effect, with 95 % limits over images"
    return Table(tuple(cells), rows, caption, numbers=(1, 2, 3, 4, 5))


def _with_limits(rows: pd.DataFrame, name: str) -> list[str]:
    values = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return [
        f"{value:+.2g}" + (f" ({low:+.2g} to {high:+.2g})" if np.isfinite(low) else "")
        for value, low, high in values
    ]


def _strips(pictured: Sequence[Instances]) -> tuple[Strips, ...]:
    rows = []
    for channel, by_effect, by_activation in pictured:
        heading = f"Channel {channel}"
        if by_effect:
            found = tuple(_picture(one, channel, f"{one.change:+.2g}") for one in by_effect)
            rows.append((heading, "decides most: change without it", found))
        found = tuple(_picture(one, channel, number(one.exemplar.score)) for one in by_activation)
        rows.append((heading, "is most active: highest value", found))
    note = "Cut out: what the pixel of the map with the highest value sees."
    title = "Where the channels with the largest effect decide, and where they are most active"
    return (Strips(title, tuple(rows), note),) if rows else ()


def _picture(one: Instance, channel: int, words: str) -> Picture:
    return Picture(one.exemplar.crop, f"Channel {channel} on {one.exemplar.image}", words)
