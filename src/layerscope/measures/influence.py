"""What a channel does to the answer (measure 11), from what the model said without it.

A channel is compared with the other channels of its layer. Where all of them were measured nothing
has to be drawn: the expected effect of a random other channel is their mean. Sizes are compared,
not signed changes, since those of random channels cancel and every channel would beat them; and
image by image, so that an image on which the answer hangs by a thread counts the same on both
sides. The interval is over images; the percentile beside it says how unusual the channel is in its
layer, which a lead over a mean that few strong channels lift does not. Channels that hold one value
are no rivals, as ablating them changes nothing by definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.measures.intervals import interval
from layerscope.vocabulary import Floats

_Doubles = NDArray[np.float64]
UNKNOWN = -1


@dataclass(frozen=True)
class Counts:
    """Right and wrong answers to N images, with all channels and without each of M.

    Attributes:
        of_what: what they are held against: ``labels``, the model's own ``predictions`` with all
            channels where no label is known, or nothing (empty) where there are no classes.
        truth: (N,), class per image, `UNKNOWN` where none is known.
        hits: (N, M), 1 for a right answer, 0 for a wrong one, NaN where that is not known.
        before: (N,), the same with all channels.
    """

    of_what: str
    truth: NDArray[np.int64]
    hits: Floats
    before: Floats

    @property
    def accuracy(self) -> float:
        """With all channels; NaN where nothing is known."""
        known = self.before[np.isfinite(self.before)]
        return float(known.mean()) if len(known) else float("nan")


def counts(
    labels: Sequence[NDArray[np.int64] | None],
    answers: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    classes: bool,
) -> Counts:
    """Hold answers against the labels, or where there are none against the answers before.

    Args:
        labels: for each batch of images class per image, `UNKNOWN` or ``None`` where not known.
        answers: for each batch the classes with all channels, (n,), and without each, (n, M).
        classes: whether the output is a decision between classes at all.
    """
    first = np.concatenate([before for before, _ in answers])
    after = np.concatenate([found for _, found in answers])
    known = [
        np.full(len(before), UNKNOWN) if own is None else own
        for own, (before, _) in zip(labels, answers, strict=True)
    ]
    truth = np.concatenate(known).astype(np.int64)
    labelled = bool((truth != UNKNOWN).any())
    if not classes:
        truth = np.full_like(truth, UNKNOWN)
    elif not labelled:
        truth = first
    counted = truth != UNKNOWN
    return Counts(
        ("labels" if labelled else "predictions") if classes else "",
        truth,
        np.where(counted[:, None], after == truth[:, None], np.nan).astype(np.float32),
        np.where(counted, first == truth, np.nan).astype(np.float32),
    )


def leads(changes: Floats, own: NDArray[np.intp], rivals: NDArray[np.intp]) -> _Doubles:
    """By how much the effect of channels is larger than that of random others, per image.

    Args:
        changes: (N, M), the change of the explained number per image and measured channel.
        own: places of the channels of interest among the M.
        rivals: places of the channels that they are compared with; itself never counts.

    Returns:
        (N, len(own)); NaN where there is no rival.
    """
    size = np.abs(changes).astype(np.float64)
    total, count = size[:, rivals].sum(1, keepdims=True), len(rivals)
    among = np.isin(own, rivals)
    others = count - among
    rest = total - np.where(among, size[:, own], 0)
    return np.asarray(size[:, own] - rest / np.where(others > 0, others, np.nan))


def percentiles(sizes: _Doubles, own: NDArray[np.intp], rivals: NDArray[np.intp]) -> _Doubles:
    """The share of other channels whose mean effect is smaller, 0 to 1; equal ones count half.

    Args:
        sizes: (M,), the mean size of the effect of each measured channel.
        own: see `leads`.
        rivals: see `leads`.

    Returns:
        (len(own),); NaN where there is no rival.
    """
    found = np.full(len(own), np.nan)
    for place, channel in enumerate(own):
        others = sizes[rivals[rivals != channel]]
        if len(others):
            below, equal = others < sizes[channel], others == sizes[channel]
            found[place] = float((below + 0.5 * equal).mean())
    return found


def influence(
    changes: Floats,
    own: NDArray[np.intp],
    rivals: NDArray[np.intp],
    hits: Floats,
    hits_before: Floats,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> dict[str, NDArray[Any]]:
    """The columns that say what channels do.

    Args:
        changes: (N, M), see `leads`.
        own: see `leads`.
        rivals: see `leads`.
        hits: (N, M), 1 where the answer without a channel is right, 0 where not, NaN where that is
            not known.
        hits_before: (N,), the same with all channels.
        seed: of the bootstrap.
        groups: (N,), images of one group (crops of one photo) are drawn together.

    Returns:
        ``change`` (below 0: the channel speaks for the target), ``size``, ``lead`` and
        ``accuracy_change`` with their 95 % limits as ``_low`` and ``_high``, and ``percentile``.
    """
    quantities = {
        "change": changes[:, own],
        "size": np.abs(changes[:, own]),
        "lead": leads(changes, own, rivals),
        "accuracy_change": hits[:, own] - hits_before[:, None],
    }
    columns: dict[str, NDArray[Any]] = {}
    for name, rows in quantities.items():
        columns[name] = _mean(rows)
        columns[f"{name}_low"], columns[f"{name}_high"] = interval(rows, seed=seed, groups=groups)
    sizes = np.abs(changes).mean(0, dtype=np.float64)
    return columns | {"percentile": percentiles(sizes, own, rivals)}


def per_class(
    hits: Floats, hits_before: Floats, truth: NDArray[np.int64], channels: NDArray[np.intp]
) -> pd.DataFrame:
    """How the accuracy on each class changes without each channel.

    Args:
        hits: (N, C), see `influence`.
        hits_before: (N,), see `influence`.
        truth: (N,), the class of each image; `UNKNOWN` where it is not known.
        channels: (C,), their numbers.

    Returns:
        One row per channel and class that has images: ``channel``, ``class``, ``images``,
        ``accuracy`` with all channels, and ``change``.
    """
    tables = []
    for one in np.unique(truth[truth != UNKNOWN]):
        members = truth == one
        before = float(hits_before[members].mean())
        tables.append(
            pd.DataFrame(
                {
                    "channel": channels,
                    "class": int(one),
                    "images": int(members.sum()),
                    "accuracy": before,
                    "change": hits[members].mean(0, dtype=np.float64) - before,
                }
            )
        )
    if not tables:
        return pd.DataFrame(columns=["channel", "class", "images", "accuracy", "change"])
    return pd.concat(tables).sort_values(["channel", "class"], ignore_index=True)


def _mean(rows: NDArray[Any]) -> _Doubles:
    """The mean over the images with a value; NaN where there is none."""
    known = np.isfinite(rows)
    total = np.where(known, rows, 0).sum(0, dtype=np.float64)
    return np.asarray(total / np.where(known.any(0), known.sum(0), np.nan))
