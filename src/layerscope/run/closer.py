"""A closer look at a few images: spectra, likeness to the image, and what small changes do."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from layerscope.measures.artefacts import checkerboard, kept_on_noise
from layerscope.measures.depth import regime
from layerscope.measures.noise import noise_share
from layerscope.measures.repeatability import TRANSFORMS, Transform, repeatability
from layerscope.measures.specificity import (
    area_average,
    full_references,
    luminance,
    specificity,
    unit_references,
)
from layerscope.measures.structure import blur_ratio, spectrum
from layerscope.measures.table import IN_SPACE
from layerscope.run.local import Compute, Progress, Rows
from layerscope.run.shards import batches
from layerscope.vocabulary import Floats, Layer

QUANTITIES = (
    *("flatness", "blur", "noise_share", "kept", "board", "specificity"),
    *(f"repeat_{t.name}" for t in TRANSFORMS),
)
"""What is kept per image and channel."""


@dataclass(frozen=True, slots=True)
class Tones:
    """How pixel values as given become the grey levels 0..255 that photos have, and back.

    Attributes:
        low: the value that is black.
        step: how much of a value one grey level is.
    """

    low: float
    step: float

    @classmethod
    def of(cls, images: Sequence[Floats]) -> "Tones":
        """The scale of some images: 0..255, 0..1, -1..1, or else from their lowest to highest."""
        low = min(float(image.min()) for image in images)
        high = max(float(image.max()) for image in images)
        if low >= 0 and high <= 1:
            return cls(0, 1 / 255)
        if low >= 0 and high <= 255:
            return cls(0, 1)
        if low >= -1 and high <= 1:
            return cls(-1, 2 / 255)
        return cls(low, (high - low) / 255 or 1.0)

    def photos(self, images: Floats) -> Floats:
        """Images (N, H, W, C) in grey levels 0..255."""
        return np.asarray((images - np.float32(self.low)) / np.float32(self.step))

    def values(self, photos: Floats) -> Floats:
        """The values again."""
        return np.asarray(photos * np.float32(self.step) + np.float32(self.low))


def coloured(photos: Floats) -> Floats:
    """Photos of any number of channels as (N, H, W, 3); other than 3 channels become grey."""
    if photos.shape[3] == 3:
        return photos
    return np.repeat(photos.mean(3, keepdims=True), 3, axis=3)


def look_closer(
    images: Sequence[Floats],
    compute: Compute,
    layers: Mapping[str, Layer],
    size: int,
    tell: Callable[[Progress], None] = lambda _: None,
    noise_means: Mapping[str, Floats] | None = None,
    upsampling: Mapping[str, int] | None = None,
) -> Rows:
    """Measure the maps of a few images, and of the same images slightly changed.

    Args:
        images: float32 (H, W, C) each, before preprocessing; the other image, with which a map is
            compared on purpose, is the one half the list away.
        compute: gives the maps of a batch.
        layers: the layers to look at.
        size: most images in one pass.
        tell: hears how far the work is.
        noise_means: path -> (H, W, C), the mean map on noise input, where it is known.
        upsampling: path -> factor of a transposed convolution; others have 1.

    Returns:
        For each of `QUANTITIES` and each layer float32 (images, C); NaN where a measure is not
        defined, or means nothing: the likeness to the image in all but early layers, all but
        repeatability in late ones.
    """
    tones, count = Tones.of(images), len(images)
    rows: Rows = {
        quantity: {
            path: np.full((count, layer.shape[2] or 0), np.nan, np.float32)
            for path, layer in layers.items()
        }
        for quantity in QUANTITIES
    }
    measured = [path for path, layer in layers.items() if regime(layer) in IN_SPACE]
    early = [path for path in measured if regime(layers[path]) == "early"]
    likeness = _Likeness(images, tones)
    # Layer by layer in threads of our own: those of BLAS lose more by waiting for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for part in batches(images, size):
            photos = tones.photos(now := np.stack(images[part]))
            maps = dict(compute(now)[0])
            light = _light(photos, {maps[path].shape[1:3] for path in measured})
            alike = likeness.of(part, {maps[path].shape[1:3] for path in early})

            def still(
                path: str, maps: Any = maps, light: Any = light, alike: Any = alike
            ) -> dict[str, Any]:
                mean, factor = (noise_means or {}).get(path), (upsampling or {}).get(path, 1)
                found = _still(maps[path], light, alike if path in early else {})
                return found | _artefacts(maps[path], mean, factor)

            for path, found in zip(measured, pool.map(still, measured), strict=True):
                for quantity, values in found.items():
                    rows[quantity][path][part] = values
            for name, path, values in _repeated(photos, tones, maps, compute, layers, pool):
                rows[f"repeat_{name}"][path][part] = values
            tell(Progress("closer look", part.stop, count))
    return rows


def _repeated(
    photos: Floats,
    tones: Tones,
    maps: Mapping[str, Floats],
    compute: Compute,
    layers: Mapping[str, Layer],
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[str, str, Floats]]:
    """Name of a small change, layer, and how much of each map it leaves, (N, C)."""
    for transform in TRANSFORMS:
        if transform.name == "jpeg" and photos.shape[3] not in (1, 3):
            continue
        changed = transform.photos(coloured(photos))[..., : photos.shape[3]]
        moved = compute(tones.values(changed))[0]

        def left(path: str, moved: Any = moved, transform: Transform = transform) -> Floats:
            return repeatability(maps[path], moved[path], transform, layers[path].stride or 1)

        for path, values in zip(layers, pool.map(left, layers), strict=True):
            yield transform.name, path, values


_Size = tuple[int, int]


def _light(photos: Floats, sizes: Iterable[_Size]) -> dict[_Size, Floats]:
    """Luminance of photos at some sizes, (N, H, W)."""
    luma = luminance(coloured(photos))[..., None]
    return {size: area_average(luma, size)[..., 0] for size in sizes}


def _still(
    values: Floats,
    light: Mapping[_Size, Floats],
    alike: Mapping[_Size, tuple[Floats, Floats]],
) -> dict[str, Any]:
    """Measures of the maps of unchanged images, (N, C) by quantity."""
    size, found = values.shape[1:3], spectrum(values)
    measured: dict[str, Any] = {
        "flatness": found.flatness,
        "blur": blur_ratio(found.high, light[size]),
        "noise_share": noise_share(values),
    }
    if size in alike:
        measured["specificity"] = specificity(values, *alike[size]).value
    return measured


@dataclass(frozen=True)
class _Likeness:
    """What maps are compared with; each image is asked for twice, and prepared once."""

    images: Sequence[Floats]
    tones: Tones
    ready: dict[int, dict[_Size, Floats]] = field(default_factory=dict)

    def of(self, part: slice, sizes: Collection[_Size]) -> dict[_Size, tuple[Floats, Floats]]:
        """By size, the references of some images and, for each, of another one."""
        own, others = range(part.start, part.stop), self._others(part)
        new = [at for at in {*own, *others} if self.ready.get(at, {}).keys() != set(sizes)]
        if new and sizes:
            photos = self.tones.photos(np.stack([self.images[at] for at in new]))
            full = full_references(coloured(photos))
            by_size = {size: unit_references(area_average(full, size)) for size in sizes}
            for place, at in enumerate(new):
                self.ready[at] = {size: units[place] for size, units in by_size.items()}
        return {size: (self._at(own, size), self._at(others, size)) for size in sizes}

    def _at(self, places: Iterable[int], size: _Size) -> Floats:
        return np.stack([self.ready[at][size] for at in places])

    def _others(self, part: slice) -> list[int]:
        """For each image of a batch another one of its shape, of another class where there are."""
        shape = self.images[part.start].shape
        fitting = [i for i, image in enumerate(self.images) if image.shape == shape]
        half = max(1, len(fitting) // 2)
        return [
            fitting[(fitting.index(at) + half) % len(fitting)]
            for at in range(part.start, part.stop)
        ]


def _artefacts(values: Floats, noise_mean: Floats | None, factor: int) -> dict[str, Any]:
    """What position alone does to the maps, (N, C) by quantity."""
    found: dict[str, Any] = {}
    if noise_mean is not None:
        found["kept"] = kept_on_noise(values, noise_mean)
    if factor > 1:
        found["board"] = [checkerboard(one, factor) for one in values]
    return found


def noise_like(images: Sequence[Floats], count: int, seed: int) -> list[Floats]:
    """Gaussian noise with the mean and deviation that each channel of the images has.

    Args:
        images: float32 (H, W, C) each, before preprocessing.
        count: how many to draw, each of the size of the first image.
        seed: of the noise.
    """
    cells = [image.reshape(-1, image.shape[2]).astype(np.float64) for image in images]
    mean = np.mean([c.mean(0) for c in cells], axis=0)
    square = np.mean([(c**2).mean(0) for c in cells], axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    random = np.random.default_rng(seed)
    shape = (count, *images[0].shape)
    drawn = random.standard_normal(shape, np.float32) * deviation.astype(np.float32)
    return list(drawn + mean.astype(np.float32))
