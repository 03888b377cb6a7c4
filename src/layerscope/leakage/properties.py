"""Properties of whole images, and of their files, that give the class away.

Each property is a few numbers per image. A logistic regression on them and their squares predicts
the class of images that it did not learn from. A class can be told by its colours for good reasons:
a property that predicts is *present* in the data, whether or not a model uses it.
"""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from layerscope.errors import InputError
from layerscope.vocabulary import Floats

GATE = 0.95
"""AUC from which on a property gives a class away; clean classes reached .91 (science)."""
FEWEST = 8
"""Images of a class below which it is not judged."""
RINGS = {"ring-1": 1, "ring-2": 2}
"""Pixels of the width of each ring along the edges."""
NAMES = ("colour", "contrast", "spectrum", "sharpness", *RINGS, "aspect", "size", "file-type",
         "exif", "jpeg")  # fmt: skip
"""Of all properties."""
_FOLDS = 4
_DRAWS = 200
_BANDS = 8
_MOST = 4000
"""Images that are looked at."""


@dataclass(frozen=True)
class Property:
    """How well one property tells one class from the others, on images not learned from.

    Attributes:
        name: of the property.
        label: class index.
        auc: area under the ROC curve, .5 (nothing) to 1.
        low, high: ends of its 95 % interval, by bootstrap over images, or groups of them.
        accuracy: share of all images whose class the property predicts.
        accuracy_low, accuracy_high: ends of its 95 % interval.
        majority: share of the commonest class, what constant guessing reaches.
        images: how many were looked at.
        frame: the area where only the edges of the images are looked at (`frame`): a tint or blur
            of the whole image tells the class there as well, an object in the middle does not.
            1 for properties that do not depend on what lies in the middle.
    """

    name: str
    label: int
    auc: float
    low: float
    high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority: float
    images: int
    frame: float = 1.0

    @property
    def tells(self) -> bool:
        """Whether it gives the class away: an AUC of `GATE` and more."""
        return self.auc >= GATE


def image_properties(images: Floats) -> dict[str, Floats]:
    """Properties of pixels.

    Args:
        images: (N, H, W, C), of any range, at least 8 x 8.

    Returns:
        By name, float32 (N, d): ``colour`` the median per channel; ``contrast`` mean and standard
        deviation per channel; ``spectrum`` the mean log amplitude of the grey image in up to 8
        rings of frequency; ``ring-1`` and ``ring-2`` mean and deviation per channel of the outer
        ring that is 1 and 2 pixels wide; ``sharpness`` log of the deviation of the Laplacian over
        that of the pixels.
    """
    pixels = np.asarray(images, np.float32)
    count = len(pixels)
    inner = pixels.reshape(count, -1, pixels.shape[-1])
    found: dict[str, NDArray[Any]] = {
        "colour": np.asarray(np.median(inner, 1)),
        "contrast": np.concatenate([inner.mean(1), inner.std(1)], 1),
        "spectrum": _spectrum(pixels.mean(-1)),
        "sharpness": _sharpness(pixels.mean(-1)),
    }
    for name, wide in RINGS.items():
        ring = np.ones(pixels.shape[1:3], bool)
        ring[wide:-wide, wide:-wide] = False
        outer = pixels[:, ring]
        found[name] = np.concatenate([outer.mean(1), outer.std(1)], 1)
    return {name: values.astype(np.float32) for name, values in found.items()}


def frame(images: Floats) -> Floats:
    """The four edges of images, one below the other: an eighth of the shorter side wide.

    Args:
        images: (N, H, W, C), at least 8 x 8.

    Returns:
        (N, 4 w, min(H, W), C), w at least 4; the left and the right edge lie on their sides.
    """
    short = min(images.shape[1:3])
    wide = max(4, short // 8)
    above, below = images[:, :wide, :short], images[:, -wide:, :short]
    left, right = images[:, :short, :wide], images[:, :short, -wide:]
    return np.concatenate([above, below, left.swapaxes(1, 2), right.swapaxes(1, 2)], 1)


def _spectrum(grey: Floats) -> Floats:
    frequency = np.hypot(np.fft.fftfreq(grey.shape[1])[:, None], np.fft.rfftfreq(grey.shape[2]))
    ring = np.clip(np.ceil(frequency * 2 * _BANDS).astype(int), 0, _BANDS)  # 0: the mean alone
    amplitude = np.abs(np.fft.rfft2(grey)).reshape(len(grey), -1)
    sums = [amplitude[:, (ring == band).ravel()].mean(1) for band in np.unique(ring) if band]
    return _log(np.stack(sums, 1))


def _sharpness(grey: Floats) -> Floats:
    edges = np.stack([laplace(one) for one in grey]).std((1, 2))
    return _log((edges / np.maximum(grey.std((1, 2)), 1e-12))[:, None])


def _log(values: Floats) -> Floats:
    """Logarithm that takes 0 for a little, a millionth of the largest."""
    return np.asarray(np.log(values + 1e-6 * max(float(values.max(initial=0)), 1e-30)))


def file_properties(paths: Sequence[str | Path]) -> dict[str, Floats]:
    """Properties of image files, from their headers; pixels are not decoded.

    Returns:
        By name, float32 (N, d): ``aspect`` width over height; ``size`` width, height and log of
        the bytes per pixel; ``file-type`` one column per format, extension and mode; ``exif`` one
        column per camera and program found, and one for any; ``jpeg`` all quantisation tables,
        sorted within each, and the subsampling, 0 where it is no JPEG. An unreadable file has
        zeros.
    """
    with ThreadPoolExecutor(4) as pool:
        heads = list(pool.map(_head, map(Path, paths)))
    sizes: Floats = np.array([head["size"] for head in heads], np.float32).reshape(-1, 3)
    return {
        "aspect": (sizes[:, :1] / np.maximum(sizes[:, 1:2], 1)).astype(np.float32),
        "size": sizes,
        "file-type": _one_hot([head["type"] for head in heads]),
        "exif": _one_hot([head["exif"] for head in heads]),
        "jpeg": np.array([head["jpeg"] for head in heads], np.float32),
    }


_TABLE = 64


def _head(path: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = {"size": (0, 0, 0), "type": (), "exif": (), "jpeg": [0.0] * 2 * _TABLE}
    try:
        with Image.open(path) as image:
            bytes_per_pixel = path.stat().st_size / max(1, image.width * image.height)
            found["size"] = (image.width, image.height, np.log(max(bytes_per_pixel, 1e-6)))
            found["type"] = (f"format {image.format}", f"ends {path.suffix}", f"mode {image.mode}")
            exif = image.getexif()
            tags = [f"{tag} {str(exif[tag])[:64]}" for tag in (271, 272, 305) if tag in exif]
            found["exif"] = (*tags, *(["any"] if len(exif) else []))
            tables = list(getattr(image, "quantization", {}).values())[:2]
            for at, table in enumerate(tables):
                found["jpeg"][at * _TABLE : (at + 1) * _TABLE] = sorted(table)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass  # the decoder names unreadable files; here they have no properties
    return found


def _one_hot(values: Sequence[Sequence[str]]) -> Floats:
    """One column per value that at least two images, and not all, have."""
    counts: dict[str, int] = {}
    for value in (one for own in values for one in own):
        counts[value] = counts.get(value, 0) + 1
    names = [name for name in sorted(counts) if 1 < counts[name] < len(values)][:64]
    return np.array([[name in own for name in names] for own in values], np.float32)


def telling_properties(
    properties: Mapping[str, Floats], labels: Any, groups: NDArray[Any] | None = None, seed: int = 0
) -> tuple[Property, ...]:
    """How well each property tells each class, cross-validated.

    Args:
        properties: by name, (N, d); columns that do not vary say nothing.
        labels: (N,), from 0; -1 where unknown.
        groups: (N,), images of one group (crops of one photo) stay together.
        seed: of the folds and of the bootstrap.

    Returns:
        By property, then by class with at least `FEWEST` images.

    Raises:
        InputError: labels that do not fit, or fewer than two such classes.
    """
    labels = np.asarray(labels, np.int64)
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    names = names[counts >= FEWEST]
    if any(len(values) != len(labels) for values in properties.values()) or len(names) < 2:
        raise InputError(
            f"Properties tell at least two classes of {FEWEST} images each apart, with one row per "
            f"image; got {len(labels)} labels, {len(names)} such classes."
        )
    random = np.random.default_rng(seed)
    kept = np.sort(random.permutation(np.flatnonzero(np.isin(labels, names)))[:_MOST])
    own = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    found: list[Property] = []
    for name, values in properties.items():
        rows = values[kept][:, np.ptp(values[kept], 0) > 0] if values.size else values[kept]
        if rows.shape[1]:
            scores = _predicted(rows, labels[kept], own[kept], groups is not None, seed)
            found += _judged(name, scores, labels[kept], own[kept], random)
    return tuple(found)


def _predicted(
    rows: Floats, labels: NDArray[Any], groups: NDArray[Any], grouped: bool, seed: int
) -> NDArray[np.float64]:
    """Probability of each class for each image, from images of other folds, (N, K)."""
    names = np.unique(labels)
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    folds = kind(_FOLDS, shuffle=True, random_state=seed)
    found = np.zeros((len(rows), len(names)))
    for learned, judged in folds.split(rows, labels, groups if grouped else None):
        model = make_pipeline(
            StandardScaler(),
            FunctionTransformer(_with_squares),
            StandardScaler(),
            LogisticRegression(C=10, max_iter=100, tol=1e-3),
        )
        with warnings.catch_warnings():
            # A property that tells all classes apart has no best weights.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows[learned].astype(np.float64), labels[learned])
        columns = np.searchsorted(names, model.classes_)
        found[np.ix_(judged, columns)] = model.predict_proba(rows[judged].astype(np.float64))
    return found


def _with_squares(rows: NDArray[Any]) -> NDArray[Any]:
    """So that a class between two others can be told; far outliers are cut."""
    cut = np.clip(rows, -8, 8)
    return np.concatenate([cut, cut**2], 1)


def _judged(
    name: str,
    scores: NDArray[Any],
    labels: NDArray[Any],
    groups: NDArray[Any],
    random: np.random.Generator,
) -> list[Property]:
    names, counts = np.unique(labels, return_counts=True)
    member = np.unique(groups, return_inverse=True)[1]
    count = int(member.max()) + 1
    weights = random.multinomial(count, np.full(count, 1 / count), size=_DRAWS)[:, member]
    right = names[scores.argmax(1)] == labels
    accuracies = (weights @ right) / weights.sum(1)
    low, high = np.quantile(accuracies, (0.025, 0.975)).tolist()
    accuracy = (float(right.mean()), low, high)
    majority = float(counts.max() / counts.sum())
    found = []
    for at, label in enumerate(names.tolist()):
        own = labels == label
        value, drawn = _areas(scores[:, at], own, weights)
        low, high = np.nanquantile(drawn, (0.025, 0.975)).tolist()
        found.append(Property(name, label, value, low, high, *accuracy, majority, len(labels)))
    return found


def _areas(
    scores: NDArray[Any], own: NDArray[np.bool_], weights: NDArray[Any]
) -> tuple[float, NDArray[np.float64]]:
    """Area under the ROC curve, and that of each resample: the share of pairs in order."""
    above = scores[own][:, None] > scores[~own]
    order = above + 0.5 * (scores[own][:, None] == scores[~own])
    inside, outside = weights[:, own].astype(float), weights[:, ~own].astype(float)
    pairs = inside.sum(1) * outside.sum(1)
    sums = ((inside @ order) * outside).sum(1)
    return float(order.mean()), sums / np.where(pairs > 0, pairs, np.nan)
