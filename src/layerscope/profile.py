"""The profile: one row per channel, with everything that was measured and where it comes from.

Everything downstream reads the profile, never the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.measures.artefacts import checkerboard, positional_share
from layerscope.measures.classes import class_signal, class_signal_p
from layerscope.measures.coherence import coherence, two_alternative
from layerscope.measures.depth import regime
from layerscope.measures.dimension import effective_dimension
from layerscope.measures.intervals import interval
from layerscope.measures.kernels import kernel_ratio
from layerscope.measures.table import IN_SPACE
from layerscope.measures.vitality import firing_rate, relative_range, saturated_share
from layerscope.store.directory import RunDirectory
from layerscope.vocabulary import Floats, Layer

TOP = 20
"""Images that stand for what excites a channel most, and least."""

Finished = Mapping[str, Mapping[str, NDArray[Any]]]
"""Name of the statistic -> what it says about a layer."""


@dataclass(frozen=True)
class Profile:
    """What is known about every channel.

    Attributes:
        channels: one row per channel; see `layerscope.measures.table` for the columns.
        layers: one row per layer: the figures of `layerscope.vocabulary.Layer` and the measures
            that belong to a whole layer.
        images: one row per image: id, label (-1 unknown), whether it was read, sampled, looked at
            closely, and the reason where it was skipped.
        predictions: float32 (images, K), the outputs, NaN where an image was not read; ``None``
            where the model has several outputs or no vector as its output.
        classes: one name per output, as far as known.
        exemplars: layer path -> what `layerscope.statistics.exemplars.Exemplars` found.
        provenance: model, data, preprocessing, versions and seeds: a JSON object.
    """

    channels: pd.DataFrame
    layers: pd.DataFrame
    images: pd.DataFrame
    predictions: Floats | None = field(repr=False)
    classes: tuple[str, ...]
    exemplars: Mapping[str, Mapping[str, NDArray[Any]]] = field(repr=False)
    provenance: Mapping[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"Profile of {len(self.channels)} channels in {len(self.layers)} layers, "
            f"from {int(self.images['read'].sum())} images"
        )

    def _repr_html_(self) -> str:
        html: str = self.channels._repr_html_()  # type: ignore[operator]
        return html


def values_of(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """The numbers of a column of a profile's table; NaN where it was not measured at all."""
    if name not in table:
        return np.full(len(table), np.nan)
    return table[name].to_numpy(np.float64)


def write_profile(profile: Profile, run: RunDirectory) -> None:
    """Write the tables of a profile as Parquet, with its provenance in each.

    Raises:
        EnvironmentFailure: the disk refuses.
    """
    tables = {"channels": profile.channels, "layers": profile.layers, "images": profile.images}
    tables["exemplars"] = _exemplar_table(profile.exemplars)
    if profile.predictions is not None:
        names = [str(i) for i in range(profile.predictions.shape[1])]
        tables["predictions"] = pd.DataFrame(profile.predictions, columns=names)
    about = {**profile.provenance, "classes": list(profile.classes)}
    for name, table in tables.items():
        run.write_table(name, table, about)


def read_profile(run: RunDirectory) -> Profile:
    """What `write_profile` wrote.

    Raises:
        InputError: a table is missing or damaged.
    """
    (channels, about), (layers, _), (images, _), (exemplars, _) = (
        run.read_table(name) for name in ("channels", "layers", "images", "exemplars")
    )
    has_outputs = (run.path / "predictions.parquet").exists()
    outputs = run.read_table("predictions")[0].to_numpy(np.float32) if has_outputs else None
    classes = tuple(about.pop("classes"))
    lists = {str(path): _exemplar_lists(rows) for path, rows in exemplars.groupby("layer")}
    return Profile(channels, layers, images, outputs, classes, lists, about)


def _exemplar_table(exemplars: Mapping[str, Mapping[str, NDArray[Any]]]) -> pd.DataFrame:
    parts = []
    for path, lists in exemplars.items():
        most, channels = lists["top_score"].shape
        rank, channel = (side.ravel() for side in np.mgrid[:most, :channels])
        columns = {key: values.ravel() for key, values in lists.items()}
        parts.append(pd.DataFrame({"layer": path, "channel": channel, "rank": rank, **columns}))
    return pd.concat(parts, ignore_index=True)


def _exemplar_lists(rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    shape = int(rows["rank"].max()) + 1, int(rows["channel"].max()) + 1
    ordered = rows.sort_values(["rank", "channel"])
    keys = [key for key in rows.columns if key not in ("layer", "channel", "rank")]
    return {key: ordered[key].to_numpy().reshape(shape) for key in keys}


@dataclass(frozen=True)
class Measured:
    """Everything that a run found out about one layer.

    Attributes:
        layer: its row.
        finished: what each statistic says.
        rows: gives the numbers per image and channel by quantity, (images, C); ``None`` for a
            quantity that was not measured.
        kernel: the convolution kernel, as Keras keeps it.
        upsampling: factor of a transposed convolution, else 1.
        labels: class of each image, -1 where unknown.
        alike: places of n images, and how alike each two of them are, cosines (n, n).
        photos: quantity -> for each row of `rows` a number of the photo that the image was cut
            from; ``None`` where each image stands for itself.
    """

    layer: Layer
    finished: Finished
    rows: Callable[[str], Floats | None]
    kernel: NDArray[Any] | None = None
    upsampling: int = 1
    labels: NDArray[np.int64] | None = None
    alike: tuple[NDArray[np.int64], Floats] | None = None
    photos: Callable[[str], NDArray[np.int64] | None] = lambda _: None


def channel_rows(measured: Measured) -> pd.DataFrame:
    """The rows of one layer in the table of channels."""
    layer, vitality = measured.layer, measured.finished["vitality"]
    channels = len(vitality["images"])
    columns: dict[str, Any] = {
        "layer": layer.path,
        "channel": np.arange(channels),
        "pre_activation": layer.pre_activation,
        "images": vitality["images"],
        "finite": vitality["finite"],
        "fired": vitality["fired"],
        "firing_rate": firing_rate(vitality["fired"], vitality["finite"]),
        "minimum": vitality["minimum"],
        "maximum": vitality["maximum"],
        "relative_range": relative_range(vitality["minimum"], vitality["maximum"]),
        "saturated_share": saturated_share(vitality["saturated"], vitality["pixels"]),
    }
    moments = measured.finished["moments"]
    columns |= {"mean": moments["mean"], "variance": moments["variance"]}
    columns |= _artefacts(measured)
    for column, quantity in _AVERAGED.items():
        columns[column] = _average(measured.rows(quantity), channels)
    columns["structure"] = columns["morans_i"] - columns["noise_morans_i"]
    # Of late maps these measures say nothing, so that limits would only cost time.
    read = measured.rows if regime(layer) in IN_SPACE else _nothing
    photos = measured.photos
    columns |= _limits("structure", read("moran"), channels, photos("moran"), read("noise_moran"))
    columns |= _positional(read("kept"), columns["variance"], photos("kept"))
    for column in _LIMITED:
        quantity = _AVERAGED[column]
        columns |= _limits(column, read(quantity), channels, photos(quantity))
    return pd.DataFrame(columns | _classes(measured) | _coherence(measured))


_AVERAGED = {
    "morans_i": "moran",
    "noise_morans_i": "noise_moran",
    "twin_morans_i": "twin_moran",
    "flatness": "flatness",
    "blur": "blur",
    "noise_share": "noise_share",
    "board": "board",
    "specificity": "specificity",
    "repeat_shift": "repeat_shift",
    "repeat_flip": "repeat_flip",
    "repeat_brightness": "repeat_brightness",
    "repeat_jpeg": "repeat_jpeg",
}
"""Column -> quantity whose mean over the images it is."""

_LIMITED = (
    *("blur", "noise_share", "board", "specificity"),
    *("repeat_shift", "repeat_flip", "repeat_brightness", "repeat_jpeg"),
)
"""Columns that decide a verdict, and so have limits."""


def _limits(
    column: str,
    rows: Floats | None,
    channels: int,
    photos: NDArray[np.int64] | None = None,
    against: Floats | None = None,
) -> dict[str, NDArray[Any]]:
    """95 % limits of a mean over images, or of its lead over draws of noise, by resampling."""
    low = high = np.full(channels, np.nan)
    if rows is not None and (column != "structure" or against is not None):
        known = np.asarray(np.isfinite(rows).any(1))
        groups = None if photos is None else photos[known[: len(photos)]]
        low, high = interval(rows[known], against, groups=groups)
    return {f"{column}_low": low, f"{column}_high": high}


def _nothing(_: str) -> None:
    """No numbers of any quantity."""


def _positional(
    rows: Floats | None, variance: NDArray[Any], photos: NDArray[np.int64] | None
) -> dict[str, NDArray[Any]]:
    """The share of the variance that position explains with any input, and its limits."""
    channels = len(variance)
    own = _average(rows, channels)
    limits = _limits("positional_kept", rows, channels, photos)
    over = np.where(variance > 0, variance, np.nan)
    return {name: values / over for name, values in {"positional_kept": own, **limits}.items()}


def _average(rows: Floats | None, channels: int) -> NDArray[np.float64]:
    """The mean over the images for which a value is known; NaN where there is none."""
    if rows is None:
        return np.full(channels, np.nan)
    known = np.isfinite(rows)
    total = np.where(known, rows, 0).sum(0, dtype=np.float64)
    return np.asarray(total / np.where(known.any(0), known.sum(0), np.nan))


def _artefacts(measured: Measured) -> dict[str, NDArray[np.float64]]:
    channels = len(measured.finished["vitality"]["images"])
    unknown = np.full(channels, np.nan)
    if "positions" not in measured.finished:
        return {"checkerboard": unknown, "positional": unknown, "positional_border": unknown}
    mean = measured.finished["positions"]["mean"]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = positional_share(mean, measured.finished["moments"]["variance"])
        board = checkerboard(mean, measured.upsampling) if measured.upsampling > 1 else unknown
    return {"checkerboard": board, "positional": share.whole, "positional_border": share.border}


def _classes(measured: Measured) -> dict[str, NDArray[Any]]:
    """Which class a channel tells from the others, by the images with a known pooled value."""
    channels = len(measured.finished["vitality"]["images"])
    found: dict[str, NDArray[Any]] = {
        "class_signal": np.full(channels, np.nan),
        "class_index": np.full(channels, -1),
        "class_p": np.full(channels, np.nan),
    }
    pooled = measured.rows("mean")
    if measured.labels is None or pooled is None or len(np.unique(measured.labels)) < 2:
        return found
    labels = np.where(np.isnan(pooled).all(1), -1, measured.labels)
    signed = measured.layer.pre_activation
    signal = class_signal(pooled, labels, signed)
    known = np.isfinite(signal).any(1)
    best = np.where(np.isfinite(signal), signal, -np.inf).argmax(1) if known.any() else 0
    found["class_index"] = np.where(known, best, -1)
    found["class_signal"][known] = np.nanmax(signal[known], 1)
    found["class_p"] = class_signal_p(pooled, labels, signed)
    return found


def _coherence(measured: Measured) -> dict[str, NDArray[np.float64]]:
    """How alike the images are that excite a channel most."""
    peaks = measured.rows("maximum")
    channels = len(measured.finished["vitality"]["images"])
    if measured.alike is None or peaks is None or len(measured.alike[0]) < 2 * TOP:
        unknown = np.full(channels, np.nan)
        return {"coherence": unknown, "coherence_p": unknown, "two_alternative": unknown}
    places, cosines = measured.alike
    seen = np.ascontiguousarray(peaks[places].T)
    order = np.argsort(np.where(np.isfinite(seen), -seen, np.inf), axis=1, kind="stable")
    lists = np.isfinite(seen).all(1) & (seen != seen[:, :1]).any(1)
    top, bottom = (np.where(lists[:, None], e, -1) for e in (order[:, :TOP], order[:, -TOP:]))
    found = coherence(cosines, top)
    told = two_alternative(cosines, top, bottom)
    return {"coherence": found.z, "coherence_p": found.p, "two_alternative": told}


def layer_row(measured: Measured) -> dict[str, Any]:
    """Measures of a whole layer."""
    cells = measured.finished.get("cells")
    return {
        "layer": measured.layer.path,
        "channels": len(measured.finished["vitality"]["images"]),
        "kernel_ratio": float("nan") if measured.kernel is None else kernel_ratio(measured.kernel),
        "dimension": float("nan") if cells is None else effective_dimension(cells["covariance"]),
        "cells": 0 if cells is None else int(cells["cells"]),
    }
