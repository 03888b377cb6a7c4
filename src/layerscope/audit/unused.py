"""Channels that respond and on which nothing depends."""

import pandas as pd

from layerscope.audit.figures import count, listed
from layerscope.audit.findings import Effect, Finding
from layerscope.measures.intervals import FEWEST
from layerscope.measures.vitality import most_it_fires


def unused_findings(channels: pd.DataFrame, fewest_images: int = FEWEST) -> tuple[Finding, ...]:
    """Findings on the unused channels of each layer, one per layer that has some.

    Dead channels are no part of them: a channel that holds one value changes nothing when it is
    held, whatever reads it.

    Args:
        channels: the tables of `layerscope.effects.Effects` of some layers, one after the other,
            with the columns ``layer``, ``channel``, ``images``, ``dead`` and ``unused``.
        fewest_images: below so many images nothing is said.
    """
    found: list[Finding] = []
    for name, rows in channels.groupby("layer", sort=False):
        own = rows[rows["unused"].astype(bool)]
        images = int(rows["images"].max())
        if not own.empty and images >= fewest_images:
            found.append(_finding(str(name), rows, own, images))
    return tuple(found)


def _finding(layer: str, rows: pd.DataFrame, own: pd.DataFrame, images: int) -> Finding:
    one = len(own) == 1
    numbers = tuple(int(channel) for channel in own["channel"])
    dead = int(rows["dead"].sum())
    bound = f"{100 * float(most_it_fires(images)):.2g} %"
    them, each = ("it", "it") if one else ("them", "each")
    message = (
        f"{len(own):,} of {count(len(rows), 'channel')} of {layer} ({listed(numbers)}) "
        f"{'varies' if one else 'vary'}, and yet no output of the model depends on {them} on "
        f"{count(images, 'image')}: held at its mean, its lowest or its highest value, {each} "
        f"changes no number by more than rounding. {each.capitalize()} matters on at most {bound} "
        "of such images (95 %)."
    )
    if dead:
        message += f" {count(dead, 'channel')} that hold one value are not counted here."
    return Finding(
        "unused-channels",
        message,
        "A map of such a channel says nothing about the answer, however bright it is. Look at the "
        "weights that read it: all 0, by pruning or by weight decay, is the usual cause. It could "
        "be removed without a change on such images.",
        layer=layer,
        channels=numbers,
        effect=Effect("share of channels", len(own) / len(rows)),
        images=images,
    )
