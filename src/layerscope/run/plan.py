"""What a run does, fixed before it begins: two runs of equal plans give equal numbers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.images import Source

SHARD = 64
"""Images whose sums are added up on their own before they join the others."""

SAMPLE, FINE = 512, 64
"""Images that the per-pixel statistics see, and those that spectra and repeatability see."""


@dataclass(frozen=True)
class Plan:
    """Everything that the numbers of a run depend on, except the batch size.

    The batch size changes the last bits only; it is recorded with each finished shard.

    Attributes:
        model: sha256 over the weights, in order.
        data: sha256 over the ids and the contents of the images; empty for a stream.
        preprocessing: name of what is done to the images; empty where they are used as given.
        resize: how files come to the model's size.
        layers: paths of the layers.
        images: how many there are, unreadable ones included; ``None`` for a stream.
        sample: places of the images that the per-pixel statistics see; ``None`` for all.
        fine: places of the images that spectra and repeatability see.
        nulls: what the maps are compared with: ``noise``, ``twin``.
        encoder: name of what tells which images look alike.
        seed: of everything random.
        versions: of what computes: package -> version.
    """

    model: str
    data: str
    preprocessing: str
    resize: str
    layers: tuple[str, ...]
    images: int | None
    sample: tuple[int, ...] | None
    fine: tuple[int, ...]
    nulls: tuple[str, ...]
    encoder: str
    seed: int
    versions: Mapping[str, str]

    @property
    def described(self) -> dict[str, Any]:
        """The plan as a JSON object."""
        described: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return described

    @property
    def hash(self) -> str:
        """Equal for equal plans."""
        text = json.dumps(self.described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def planned(
    source: Source,
    model: str,
    prepared: tuple[str, str],
    layers: tuple[str, ...],
    sample: int | None,
    nulls: Sequence[str],
    encoder: str,
    seed: int,
    versions: Mapping[str, str],
) -> Plan:
    """Choose the images that are looked at more closely, and write down the rest.

    Args:
        source: the images.
        model: sha256 over its weights.
        prepared: the names of the preprocessing and of the resizing.
        layers: their paths.
        sample: how many images the per-pixel statistics see; ``None`` for all.
        nulls: see `Plan`.
        encoder: see `Plan`.
        seed: see `Plan`.
        versions: see `Plan`.
    """
    count = source.length
    places: tuple[int, ...] | None = None if sample is None else ()
    if count is not None and sample is not None:
        places = stratified(count, sample, source.labels, seed)
    among = places if count is not None and places is not None else range(count or 0)
    labels = None if source.labels is None else source.labels[list(among)]
    few = stratified(len(among), FINE, labels, seed)
    fine = tuple(among[i] for i in few)
    return Plan(
        model,
        source.digest(),
        *prepared,
        layers,
        count,
        places,
        fine,
        tuple(nulls),
        encoder,
        seed,
        versions,
    )


def stratified(
    count: int, most: int, labels: NDArray[np.int64] | None, seed: int
) -> tuple[int, ...]:
    """Places of a random sample in which every class has its share.

    Args:
        count: how many images there are.
        most: how many to choose; all, if there are no more.
        labels: class per image; images with -1 are a class of their own. ``None`` for one class.
        seed: of the choice.

    Returns:
        Ascending places.
    """
    if count <= most:
        return tuple(range(count))
    random = np.random.default_rng(seed)
    groups = np.zeros(count, np.int64) if labels is None else np.asarray(labels)
    # In random order within each class, the place of an image in its class, relative to the size
    # of the class, says when its turn comes: taking the first ones gives every class its share.
    turn = np.empty(count)
    for group in np.unique(groups):
        members = random.permutation(np.flatnonzero(groups == group))
        turn[members] = (np.arange(len(members)) + random.uniform()) / len(members)
    return tuple(sorted(int(place) for place in np.argsort(turn, kind="stable")[:most]))
