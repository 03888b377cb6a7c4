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
from layerscope.measures.dimension import effective_dimension
from layerscope.measures.kernels import kernel_ratio
from layerscope.measures.vitality import firing_rate, relative_range, saturated_share
from layerscope.vocabulary import Floats, Layer

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
        twin_covariance: of the channels in an untrained twin.
    """

    layer: Layer
    finished: Finished
    rows: Callable[[str], Floats | None]
    kernel: NDArray[Any] | None = None
    upsampling: int = 1
    twin_covariance: NDArray[Any] | None = None


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
    return pd.DataFrame(columns)


_AVERAGED = {
    "morans_i": "moran",
    "noise_morans_i": "noise_moran",
    "twin_morans_i": "twin_moran",
    "flatness": "flatness",
    "blur": "blur",
    "specificity": "specificity",
    "repeat_shift": "repeat_shift",
    "repeat_flip": "repeat_flip",
    "repeat_brightness": "repeat_brightness",
    "repeat_jpeg": "repeat_jpeg",
}
"""Column -> quantity whose mean over the images it is."""


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


def layer_row(measured: Measured) -> dict[str, Any]:
    """Measures of a whole layer."""
    cells = measured.finished.get("cells")
    twin = measured.twin_covariance
    return {
        "layer": measured.layer.path,
        "channels": len(measured.finished["vitality"]["images"]),
        "kernel_ratio": float("nan") if measured.kernel is None else kernel_ratio(measured.kernel),
        "dimension": float("nan") if cells is None else effective_dimension(cells["covariance"]),
        "cells": 0 if cells is None else int(cells["cells"]),
        "twin_dimension": float("nan") if twin is None else effective_dimension(twin),
    }
