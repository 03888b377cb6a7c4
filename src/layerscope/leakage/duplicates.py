"""Images that are the same picture, saved twice.

A grey thumbnail of 16 x 16 pixels, less its mean and of length 1, nominates pairs; every part of
the picture has to confirm. A repeated photo makes all its patches copies, so these go first.

How alike two copies have to be depends on how alike other images of the set are: two different
handwritten ones correlate at .98, two photos at .3. A pair has to lie much closer together than
either lies to its tenth neighbour, or be equal but for rounding.

Neither a change of brightness or contrast matters, nor saving again as JPEG, nor a slight change of
size. A crop, a turn or a mirror image is another picture here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from layerscope.errors import InputError
from layerscope.leakage.windows import faintest
from layerscope.vocabulary import Floats

_SIDE = 16
"""Of a thumbnail."""
_NOMINATED = 0.9
"""Correlation of thumbnails."""
_LARGEST = 64
"""Side at which pairs are confirmed."""
_NEIGHBOUR = 10
"""Which neighbour a pair is compared with."""
_CLOSER = 0.2
"""Distance within a pair, 1 - correlation, over that of the neighbour."""
_EQUAL = 0.997
"""Correlation from which on neighbours do not matter: a photo may be there many times."""
_CELLS = 3
"""Cells in a row of the grid that confirms."""
_CELL, _EQUAL_CELL = 0.85, 0.985
"""Correlation of nine cells in ten, and of each cell of pictures that are equal."""
_SHARE = 0.9
_LIVE = 2.5
"""Contrast of a cell that shows something, in contrasts that mean nothing."""
_BLOCK = 1024
_PAIRS = 4096


@dataclass(frozen=True)
class Cluster:
    """One picture that is there more than once.

    Attributes:
        images: positions, in increasing order; the first stands for all.
        labels: the classes that it is in, in increasing order; -1, an unknown one, is left out.
        parts: the parts that it is in, such as ``train`` and ``test``, sorted.
    """

    images: tuple[int, ...]
    labels: tuple[int, ...]
    parts: tuple[str, ...]

    @property
    def across_classes(self) -> bool:
        """Whether copies of the picture have different labels."""
        return len(self.labels) > 1

    @property
    def across_parts(self) -> bool:
        """Whether copies of the picture lie in different parts."""
        return len(self.parts) > 1


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates among some images.

    Attributes:
        clusters: pictures that are there more than once.
        kept: positions of one image per picture, in increasing order.
    """

    clusters: tuple[Cluster, ...]
    kept: NDArray[np.int64]


def find_duplicates(
    images: Floats, labels: Any = None, parts: NDArray[Any] | None = None
) -> Duplicates:
    """Group the images that are the same picture.

    Args:
        images: (N, H, W, C), of any range, at one size.
        labels: (N,), class indices, -1 where unknown.
        parts: (N,), the name of the part that each image is in, such as ``train`` or ``test``.

    Raises:
        InputError: another shape, or labels or parts that do not fit.
    """
    count = len(images)
    for values in (labels, parts):
        if images.ndim != 4 or (values is not None and len(values) != count):
            raise InputError(
                "Duplicates are sought among images (N, H, W, C) with one label and one part "
                f"each; got shape {images.shape} and {'nothing' if values is None else len(values)}"
                " of them."
            )
    pairs = [(np.zeros(0, np.int64), np.zeros(0, np.int64)), *_pairs(images)]
    rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), (count, count))
    member = connected_components(graph, directed=False)[1]
    first = np.sort(np.unique(member, return_index=True)[1])
    clusters = []
    for at in np.flatnonzero(np.bincount(member, minlength=1) > 1):
        places = np.flatnonzero(member == at)
        of_class = () if labels is None else sorted(set(np.asarray(labels)[places].tolist()) - {-1})
        of_part = () if parts is None else sorted(set(map(str, parts[places].tolist())))
        clusters.append(Cluster(tuple(places.tolist()), tuple(of_class), tuple(of_part)))
    clusters.sort(key=lambda cluster: cluster.images)
    return Duplicates(tuple(clusters), first)


def _pairs(images: Floats) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Confirmed pairs, block by block."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    _, first, same = np.unique(_fingerprints(flat), return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[same] != np.arange(len(images)))
    yield first[same][repeated], repeated
    alone = np.sort(first)
    if len(alone) < 3:  # no neighbour to compare with
        return
    small = _smooth(images[alone])
    thumbnails = _unit(_resized(small, _SIDE, _SIDE).reshape(len(small), -1))
    near = _neighbours(thumbnails)
    faint = _LIVE * faintest(small)
    for start in range(0, len(alone), _BLOCK):
        alike = thumbnails[start : start + _BLOCK] @ thumbnails.T
        rows, columns = np.nonzero(alike > _NOMINATED)
        later = columns > rows + start
        rows, columns, alike = rows[later] + start, columns[later], alike[rows, columns][later]
        usual = 1 - np.maximum(near[rows], near[columns])
        likely = (1 - alike <= _CLOSER * usual) | (alike > _EQUAL)
        rows, columns, usual = rows[likely], columns[likely], usual[likely]
        for at in range(0, len(rows), _PAIRS):
            one, other = rows[at : at + _PAIRS], columns[at : at + _PAIRS]
            fits = _confirmed(small[one], small[other], usual[at : at + _PAIRS], faint)
            yield alone[one[fits]], alone[other[fits]]


def _neighbours(thumbnails: Floats) -> Floats:
    """Correlation of each image with its tenth neighbour; a nearer one in a small set."""
    rank = min(_NEIGHBOUR, max(1, len(thumbnails) // 3)) + 1  # the first is the image itself
    return np.concatenate(
        [
            np.partition(thumbnails[at : at + _BLOCK] @ thumbnails.T, -rank, 1)[:, -rank]
            for at in range(0, len(thumbnails), _BLOCK)
        ]
    )


def _fingerprints(flat: NDArray[Any]) -> NDArray[Any]:
    """Equal for equal pixels: every image as one value."""
    return np.array([hash(row.tobytes()) for row in flat])


def _smooth(images: Floats) -> Floats:
    """Grey, at most `_LARGEST` pixels a side, less of the finest detail, which JPEG changes."""
    grey = np.asarray(images.mean(-1, keepdims=True), np.float32)
    height, width = (min(side, _LARGEST) for side in images.shape[1:3])
    small = _resized(grey, height, width)
    return np.asarray(gaussian_filter(small, (0, 0.5, 0.5, 0), mode="nearest"))


def _resized(images: Floats, height: int, width: int) -> Floats:
    """Means over the area of each new pixel."""
    down, across = _areas(images.shape[1], height), _areas(images.shape[2], width)
    return np.asarray(np.einsum("ah,nhwc,bw->nabc", down, images, across, optimize=True))


def _areas(old: int, new: int) -> Floats:
    """Share of each old pixel in each new one, (new, old); rows sum to 1."""
    edges = np.arange(new + 1) * old / new
    overlap = np.minimum(edges[1:, None], np.arange(1, old + 1)) - np.maximum(
        edges[:-1, None], np.arange(old)
    )
    return np.asarray(np.maximum(overlap, 0) * new / old, np.float32)


def _unit(rows: Floats) -> Floats:
    rows = rows - rows.mean(1, keepdims=True)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _confirmed(one: Floats, other: Floats, usual: NDArray[Any], faint: float) -> NDArray[np.bool_]:
    """Whether the pictures agree as a whole and in nearly every cell where either shows anything.

    Two images with the same mark on plain ground correlate highly as a whole; their objects differ.
    """
    whole = (_unit(_flat(one)) * _unit(_flat(other))).sum(1)
    shows, alike = np.zeros((2, len(one), _CELLS**2))
    for at, cell in enumerate(_grid(*one.shape[1:3])):
        a, b = _flat(one[cell]), _flat(other[cell])
        shows[:, at] = np.maximum(a.std(1), b.std(1)) > faint
        alike[:, at] = (_unit(a) * _unit(b)).sum(1)
    live = shows.sum(1)
    close = (1 - whole <= _CLOSER * usual) & ((shows * (alike >= _CELL)).sum(1) >= _SHARE * live)
    equal = (whole > _EQUAL) & ((shows * (alike >= _EQUAL_CELL)).sum(1) == live)
    return np.asarray((live > 0) & (close | equal))


def _grid(height: int, width: int) -> Iterator[tuple[slice, slice, slice]]:
    rows, columns = (
        np.linspace(0, side, _CELLS + 1).round().astype(int).tolist() for side in (height, width)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(None), slice(top, bottom), slice(left, right)


def _flat(images: Floats) -> Floats:
    return images.reshape(len(images), -1)
