"""How far a change of the images moves the numbers of all classes, beyond what controls do.

Several classes are looked at at once, a thousand of ImageNet's, and the one that rises most is
spoken of. So the p value is corrected for all of them: signs are flipped over photos, and each
class is held against the largest of all classes in each flip (max-T, Westfall & Young 1993).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.measures.intervals import FEWEST
from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

DRAWS = 400
FLIPS = 999
LEVEL = 0.05
"""Of the corrected p value."""
_Z = 1.959964


@dataclass(frozen=True)
class Answers:
    """What a model says of N images and K classes.

    Attributes:
        values: (N, K), the explained numbers.
        likely: (N, K), probabilities.
    """

    values: Floats
    likely: Floats

    @property
    def called(self) -> Indices:
        """(N,), the answers."""
        return np.asarray(self.likely.argmax(1), np.int64)


class Limits(NamedTuple):
    """A mean for each of K classes with its 95 % limits, (K,) each."""

    value: Doubles
    low: Doubles
    high: Doubles


def resamples(*names: NDArray[Any], seed: int = 0) -> Doubles:
    """How often each of N outcomes is drawn, (DRAWS, N).

    Args:
        names: one or more arrays (N,): what each outcome was made of, the photo that an image was
            cut from, or the donor of its patch. Each is resampled on its own, and an outcome
            counts by the product (pigeonhole bootstrap, Owen 2007).
        seed: of the draws; the first array is drawn alike for one seed, whatever follows it.
    """
    weights = np.ones((DRAWS, len(names[0])))
    for at, one in enumerate(names):
        random = np.random.default_rng((seed, at))
        members = np.unique(one, return_inverse=True)[1]
        count = int(members.max()) + 1
        weights *= random.multinomial(count, np.full(count, 1 / count), DRAWS)[:, members]
    return weights


def drawn_means(rows: NDArray[Any], weights: Doubles) -> Doubles:
    """The mean of each class over resampled outcomes: (N, K) -> (DRAWS, K); NaN where none is."""
    total = weights.sum(1, keepdims=True)
    return np.asarray((weights @ rows) / np.where(total > 0, total, np.nan))


def limits(value: NDArray[Any], drawn: Doubles, enough: bool = True) -> Limits:
    """Means with the limits that resampled ones give; without limits where there is too little."""
    low, high = np.full((2, len(value)), np.nan)
    if enough:
        low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    return Limits(np.asarray(value, np.float64), low, high)


def share_limits(share: NDArray[Any], count: NDArray[Any]) -> Limits:
    """Shares of so many images with their Wilson intervals (1927), which are not empty at 0."""
    share, weight = np.asarray(share, np.float64), _Z**2 / np.maximum(count, 1e-9)
    middle = (share + weight / 2) / (1 + weight)
    reach = np.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Limits(share, np.maximum(0, middle - reach), np.minimum(1, middle + reach))


def p_of_leads(leads: NDArray[Any], photos: NDArray[Any], seed: int = 0) -> Doubles:
    """One-sided p of each class for a mean above 0, corrected for all classes.

    Args:
        leads: (N, K), how much more each image's number rose than with its control.
        photos: (N,), images of one photo are flipped together.
        seed: of the flips.

    Returns:
        (K,), 1 / (1 + FLIPS) to 1.
    """
    members = np.unique(photos, return_inverse=True)[1]
    sums = np.zeros((members.max() + 1, leads.shape[1]))
    np.add.at(sums, members, leads)
    spread = np.sqrt((sums**2).sum(0))
    scaled = np.divide(sums, spread, out=np.zeros_like(sums), where=spread > 0)
    signs = np.random.default_rng((seed, 5)).choice((-1.0, 1.0), (FLIPS, len(sums)))
    largest = np.sort((signs @ scaled).max(1))
    beaten = FLIPS - np.searchsorted(largest, scaled.sum(0) - 1e-9)
    return np.asarray((1 + beaten) / (1 + FLIPS))


def pushes(
    before: Answers,
    after: Mapping[str, Answers],
    photos: NDArray[Any],
    donors: Mapping[str, NDArray[Any]],
    seed: int = 0,
) -> pd.DataFrame:
    """What a change does to each class, beyond its controls.

    Args:
        before: answers to N images as they are.
        after: answers to them changed; under an empty name the change, under others its controls.
        photos: (N,), what each image was cut from; crops of one photo count as one image.
        donors: by the same names, (N,), the photo that each image's patch came from; empty where
            patches come from no photo.
        seed: of resamples and flips.

    Returns:
        One row per class in the order of the outputs, see `layerscope.probing.Probe.classes`.
    """
    enough = min(len(set(of)) for of in (photos, *donors.values())) >= FEWEST
    columns: dict[str, Any] = {"class": np.arange(before.values.shape[1])}
    drawn: dict[str, dict[str, Doubles]] = {}
    rises: dict[str, dict[str, Floats]] = {}
    for kind, answers in after.items():
        front = f"{kind}_" if kind else ""
        weights = resamples(photos, *([donors[kind]] if donors else []), seed=seed)
        rises[kind] = {
            "rise": answers.values - before.values,
            "probability": answers.likely - before.likely,
        }
        drawn[kind] = {}
        for what, rows in rises[kind].items():
            drawn[kind][what] = drawn_means(rows, weights)
            _put(columns, front + what, limits(rows.mean(0), drawn[kind][what], enough))
        _put(columns, f"{front}moved", _moved(before.called, answers.called, photos, columns))
    p, pushed = np.zeros(len(columns["class"])), columns["rise_low"] > 0
    for kind in filter(None, after):
        for what, rows in rises[kind].items():
            lead = rises[""][what] - rows
            found = limits(lead.mean(0), drawn[""][what] - drawn[kind][what], enough)
            _put(columns, f"{kind}_{what}_lead", found)
        p = np.maximum(p, p_of_leads(rises[""]["rise"] - rises[kind]["rise"], photos, seed))
        pushed = pushed & (columns[f"{kind}_rise_lead_low"] > 0)
    columns["p"] = p if enough else np.full(len(p), np.nan)
    columns["pushed"] = pushed & (p <= LEVEL) & enough
    return pd.DataFrame(columns)


def _put(columns: dict[str, Any], name: str, found: Limits) -> None:
    columns[name], columns[f"{name}_low"], columns[f"{name}_high"] = found


def _moved(
    before: Indices, after: Indices, photos: NDArray[Any], columns: dict[str, Any]
) -> Limits:
    """Share of the images answered otherwise before that are answered as each class after."""
    count = len(columns["class"])
    free = len(before) - np.bincount(before, minlength=count)
    came = np.bincount(after[after != before], minlength=count)
    share = np.divide(came, free, out=np.zeros(count), where=free > 0)
    # Crops of one photo count as one image.
    return share_limits(share, free * len(set(photos)) / len(photos))
