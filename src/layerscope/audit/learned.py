"""Whether a layer can be told from an untrained one, and what its channels say together.

Three tests, none of them on single maps, which tell trained from untrained hardly: the variance
entropy of the kernels, the dimension of the layer, and how well its channels tell classes apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.audit.figures import count
from layerscope.audit.findings import Effect, Finding
from layerscope.measures.significance import adjusted
from layerscope.measures.table import MEANING
from layerscope.profile import values_of

Learned = Literal["yes", "no", "unsure", "not-tested"]


@dataclass(frozen=True, slots=True)
class LearnedLimits:
    """When a layer differs from its twins, and when it is close enough to them to say so.

    Attributes:
        level: of the corrected p values below which a test tells the layer from its twins, and of
            the plain ones above which it agrees with them.
        random: p value of kernels as orderly by chance, above which they count as random.
        visible: relative change of dimension or class signal that twins must make visible before
            agreement counts as a *no*; about twice their spread.
        redundant: share of the twins' dimension below which a layer is redundant.
        fewest_images: for all but the kernels.
        widespread: share of the tested layers from which being like a twin deserves a warning:
            single ones, the first above all, often do well as they were drawn.
    """

    level: float = 0.05
    random: float = 0.05
    visible: float = 0.25
    redundant: float = 0.5
    fewest_images: int = 8
    widespread: float = 0.5


LIMITS = LearnedLimits()

TESTS = {
    "entropy": ("entropy_low_p", "kernels"),
    "dimension": ("dimension_p", "dimension"),
    "class_signal": ("class_signal_high_p", "class signal"),
}
"""Quantity -> column of its p value, and how a reader meets it."""

_TWICE = 2.1


def learned(layers: pd.DataFrame, images: int, limits: LearnedLimits = LIMITS) -> pd.DataFrame:
    """Answer for every layer whether it was learned.

    *Yes*: a test tells it from its twins (Benjamini-Hochberg over all tests of all layers). *No*:
    all tests agree with the twins, and a difference worth the name would have been seen.

    Args:
        layers: the profile's table of layers.
        images: how many the twins were compared on, at most.
        limits: where the lines are drawn.

    Returns:
        The table with ``learned``, and for each test its ``_adjusted`` p value.
    """
    p = np.column_stack([values_of(layers, column) for column, _ in TESTS.values()])
    if images < limits.fewest_images:
        p[:, 1:] = np.nan
    tested = np.isfinite(p)
    corrected = adjusted(p)
    with np.errstate(invalid="ignore"):
        differs = (corrected <= limits.level).any(1)
        agrees = ~(p <= limits.level).any(1)
    answer = np.select(
        [~tested.any(1), differs, agrees & _visible(layers, tested, limits)],
        ["not-tested", "yes", "no"],
        "unsure",
    )
    columns = {f"{name}_adjusted": corrected[:, at] for at, name in enumerate(TESTS)}
    return layers.assign(learned=answer, **columns)


def _visible(
    layers: pd.DataFrame, tested: NDArray[np.bool_], limits: LearnedLimits
) -> NDArray[np.bool_]:
    """Whether some test would have seen a difference worth the name."""
    found = tested[:, 0].copy()  # kernels that were learned are many deviations away
    for at, name in ((1, "dimension"), (2, "class_signal")):
        mean, spread = values_of(layers, f"twin_{name}"), values_of(layers, f"twin_{name}_sd")
        with np.errstate(invalid="ignore", divide="ignore"):
            found |= tested[:, at] & (_TWICE * spread <= limits.visible * np.abs(mean))
    return found


def learned_findings(
    layers: pd.DataFrame, images: int, limits: LearnedLimits = LIMITS
) -> tuple[Finding, ...]:
    """Findings on layers that cannot be told from untrained ones, or that repeat themselves.

    Args:
        layers: the table of `learned`.
        images: how many the twins were compared on.
        limits: where the lines are drawn.
    """
    found: list[Finding] = []
    tested = layers[layers["learned"] != "not-tested"]
    share = float((tested["learned"] == "no").mean()) if len(tested) else 0.0
    for row in layers.to_dict("records"):
        if _at_least(row.get("entropy_low_p"), limits.random):
            found.append(_random_kernels(row))
        if row["learned"] == "no":
            found.append(_like_twin(row, images, share < limits.widespread))
        ratio, ends = _ratio(row, "dimension")
        if images >= limits.fewest_images and ratio < limits.redundant and ends[1] < 1:
            found.append(_redundant(row, images))
    return tuple(found)


def _at_least(value: object, line: float) -> bool:
    return isinstance(value, float) and value >= line


def _ratio(row: Mapping[Any, Any], name: str) -> tuple[float, tuple[float, float]]:
    """A quantity over that of the twins, and its ends where 95 % of single twins would put it."""
    value, mean = row.get(f"probe_{name}", np.nan), row.get(f"twin_{name}", np.nan)
    around = 1.96 * row.get(f"twin_{name}_sd", np.nan)
    ends = (value / (mean + around), value / (mean - around) if mean > around else np.inf)
    return value / mean if mean else np.nan, ends


def _random_kernels(row: Mapping[Any, Any]) -> Finding:
    ratio, ends = _ratio(row, "entropy")
    also = " Another test does tell it from fresh weights." if row["learned"] == "yes" else ""
    return Finding(
        "random-kernels",
        f"The kernels of {row['layer']} are not distinguishable from random initialisation: their "
        f"variance entropy is {ratio:.3f} of that of fresh kernels.{also}",
        "This is what a layer looks like that was never trained, or put in anew: check that its "
        "weights were loaded, and that it is not frozen. A layer that looks random may still "
        "belong to a good model.",
        layer=str(row["layer"]),
        effect=Effect("variance entropy against fresh kernels", ratio, ends, "number"),
        p=float(row["entropy_adjusted"]),
    )


def _like_twin(row: Mapping[Any, Any], images: int, minor: bool) -> Finding:
    ratio, ends = _ratio(row, "dimension")
    tests = [words for name, (_, words) in TESTS.items() if np.isfinite(row[f"{name}_adjusted"])]
    agree = f"{tests[0]} agrees" if len(tests) == 1 else f"{', '.join(tests)} all agree"
    p = [row[f"{name}_adjusted"] for name in TESTS if np.isfinite(row[f"{name}_adjusted"])]
    return Finding(
        "like-untrained-twin",
        f"{row['layer']} is not distinguishable from the same layer of untrained twins: "
        f"{agree} with them.",
        "Early layers often do well as they were drawn. Where many layers are so, check that the "
        "trained weights were loaded, and whether the training went far enough.",
        layer=str(row["layer"]),
        effect=Effect("dimension against the twins", ratio, ends, "number")
        if np.isfinite(ratio)
        else None,
        p=float(min(p)),
        images=images,
        minor=minor,
    )


def _redundant(row: Mapping[Any, Any], images: int) -> Finding:
    ratio, ends = _ratio(row, "dimension")
    return Finding(
        "redundant-layer",
        f"The {count(int(row['channels']), 'channel')} of {row['layer']} say as much as "
        f"{row['probe_dimension']:.1f} independent ones would, those of untrained twins "
        f"{row['twin_dimension']:.1f}.",
        "Many channels repeat each other. The layer could be narrower, or the training has "
        "collapsed it: a smaller learning rate or less weight decay may keep more of it.",
        layer=str(row["layer"]),
        effect=Effect("dimension against the twins", ratio, ends, "number"),
        p=float(row["dimension_adjusted"]),
        images=images,
    )


def no_class_signal(channels: pd.DataFrame, images: int) -> tuple[Finding, ...]:
    """Findings on middle and late layers of which no channel tells any class from the others.

    Args:
        channels: the table of `layerscope.audit.maps.map_verdicts`.
        images: that carry a label.
    """
    found = []
    for name, rows in channels[channels["regime"].isin(MEANING)].groupby("layer", sort=False):
        known = rows[np.isfinite(rows["class_p"])]
        if known.empty:
            continue
        smallest = float(adjusted(known["class_p"]).min())
        if smallest <= LIMITS.level:
            continue
        best = float(known["class_signal"].max())
        found.append(
            Finding(
                "no-class-signal",
                f"No channel of {name} tells a class from the others better than shuffled labels "
                f"would let it; the best average precision lies {best:.2f} above the share of its "
                "class.",
                "With few images a class this may be lack of data: more images would settle it. In "
                "a late layer of a trained classifier it is unusual.",
                layer=str(name),
                effect=Effect("average precision above prevalence", best, unit="number"),
                p=smallest,
                images=images,
            )
        )
    return tuple(found)
