"""The loop over shards on one machine: compute, add up, save, go on after a kill."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from layerscope.errors import EnvironmentFailure
from layerscope.images import Source
from layerscope.measures.structure import morans_i
from layerscope.run.plan import FINE
from layerscope.run.shards import Shard, batches, read_shards
from layerscope.statistics.contract import MapBatch, State, Statistic
from layerscope.store.directory import RunDirectory
from layerscope.store.rows import RowStore
from layerscope.vocabulary import Floats, Skipped

States = dict[str, dict[str, State]]
"""Layer path -> name of the statistic -> its state."""

SAVE_EVERY = 20.0
"""Seconds between two savings of the state, as far as whole shards allow."""

PREDICTION = "prediction"
"""Quantity and layer under which the outputs of the model are kept."""


class Compute(Protocol):
    """One forward pass."""

    def __call__(self, pixels: Floats) -> tuple[Mapping[str, Floats], Floats | None]:
        """Maps by layer path, and the outputs (N, K) if they are such, of unprepared images.

        Raises:
            MemoryError: the batch does not fit.
        """


@dataclass(frozen=True)
class Watched:
    """A layer with what is known about its maps, and what is added up for it.

    Attributes:
        statistics: what is added up.
        shape: height, width and channels; sides of 0 where they depend on the image.
        ceiling: see `layerscope.statistics.contract.MapBatch`.
    """

    statistics: tuple[Statistic, ...]
    shape: tuple[int, int, int]
    ceiling: float


@dataclass
class Progress:
    """How far a run is, for whoever watches; called after every batch.

    Attributes:
        stage: what is being done.
        done: images of it that are finished.
        total: all of them, ``None`` if unknown.
    """

    stage: str
    done: int
    total: int | None


@dataclass
class Outcome:
    """What a pass over all images gave.

    Attributes:
        states: of every statistic of every layer.
        ids, labels: name and class (-1 where unknown) of each image, in order; empty and -1 for
            one that could not be read.
        skipped: images that could not be read.
        batch_sizes: of each shard.
        resumed: how many shards had been done by an earlier process.
        first_images: the first images of a stream, which cannot be read again.
    """

    states: States
    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    resumed: int = 0
    first_images: list[Floats] = field(default_factory=list)


def run(
    source: Source,
    compute: Compute,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    directory: RunDirectory,
    rows: RowStore,
    batch_size: int,
    tell: Callable[[Progress], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Pass once over all images, going on where an earlier process was stopped.

    Args:
        source: the images.
        compute: gives maps and outputs of a batch.
        layers: what is added up for each layer.
        sampled: which places the per-pixel statistics see: int64 (N,) -> bool (N,).
        directory: where the state is saved.
        rows: where the numbers per image go: ``mean``, ``maximum``, ``moran`` and the outputs.
        batch_size: images in one forward pass; halved where memory does not suffice. A run that
            goes on keeps the size with which it stopped.
        tell: hears how far the run is.
        warn: hears what went otherwise than asked for.

    Raises:
        InputError: no image could be read.
        EnvironmentFailure: not even one image fits into memory, or the disk refuses.
    """
    outcome = _resumed(directory, layers)
    size = outcome.batch_sizes[-1] if outcome.batch_sizes else batch_size
    saved, first = time.monotonic(), len(outcome.batch_sizes)
    outcome.resumed = first
    for shard in read_shards(source, first):
        states, per_image, size = _shard(shard, compute, layers, sampled, size, warn)
        rows.write(shard.start, per_image)
        _merge(outcome.states, states, layers)
        _note(outcome, shard, size)
        if source.length is None and shard.number == 0:
            outcome.first_images = list(shard.images[:FINE])
        tell(Progress("maps", shard.stop, source.length))
        if time.monotonic() - saved >= SAVE_EVERY:
            _save(directory, outcome)
            saved = time.monotonic()
    _save(directory, outcome)
    return outcome


def _resumed(directory: RunDirectory, layers: Mapping[str, Watched]) -> Outcome:
    """What an earlier process saved, or the beginning."""
    saved = directory.load_state()
    if saved.next_shard == 0:
        return Outcome({path: _empty(layer) for path, layer in layers.items()})
    info = saved.info
    return Outcome(
        saved.states,
        list(info["ids"]),
        list(info["labels"]),
        [Skipped(**item) for item in info["skipped"]],
        list(info["batch_sizes"]),
    )


def _save(directory: RunDirectory, outcome: Outcome) -> None:
    info: dict[str, Any] = {
        "ids": outcome.ids,
        "labels": outcome.labels,
        "skipped": [asdict(item) for item in outcome.skipped],
        "batch_sizes": outcome.batch_sizes,
    }
    directory.save_state(len(outcome.batch_sizes), outcome.states, info)


def _empty(layer: Watched) -> dict[str, State]:
    return {statistic.name: statistic.empty(layer.shape) for statistic in layer.statistics}


def _merge(total: States, shard: States, layers: Mapping[str, Watched]) -> None:
    for path, layer in layers.items():
        for statistic in layer.statistics:
            name = statistic.name
            total[path][name] = statistic.merge(total[path][name], shard[path][name])


def _note(outcome: Outcome, shard: Shard, size: int) -> None:
    known = dict(zip(shard.places.tolist(), range(len(shard.places)), strict=True))
    for place in range(shard.start, shard.stop):
        at = known.get(place)
        outcome.ids.append("" if at is None else shard.ids[at])
        outcome.labels.append(-1 if at is None or shard.labels is None else int(shard.labels[at]))
    outcome.skipped.extend(shard.skipped)
    outcome.batch_sizes.append(size)


Rows = dict[str, dict[str, Floats]]
"""Quantity -> layer path -> float32 (images, channels)."""


def _shard(
    shard: Shard,
    compute: Compute,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    size: int,
    warn: Callable[[str], None],
) -> tuple[States, Rows, int]:
    """The states and rows of a shard, and the batch size for which there was memory."""
    while True:
        try:
            return *_computed(shard, compute, layers, sampled, size), size
        except MemoryError as error:
            if size == 1:
                raise EnvironmentFailure(
                    "One image at a time must fit into memory, and it does not: name fewer layers."
                ) from error
            size //= 2
            warn(f"Memory did not suffice; going on with {size} images in one pass.")


def add_up(
    images: Sequence[Floats], compute: Compute, layers: Mapping[str, Watched], size: int
) -> tuple[States, Rows]:
    """The states and rows of some images, all of them sampled.

    Args:
        images: float32 (H, W, C) each, before preprocessing.
        compute: gives the maps of a batch.
        layers: what is added up for each layer.
        size: most images in one pass.
    """
    places = np.arange(len(images))
    shard = Shard(0, 0, len(images), images, tuple(map(str, places)), None, places)
    return _computed(shard, compute, layers, lambda these: np.ones(len(these), bool), size)


def _computed(
    shard: Shard,
    compute: Compute,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    size: int,
) -> tuple[States, Rows]:
    states = {path: _empty(layer) for path, layer in layers.items()}
    rows: Rows = {}
    # Layer by layer in threads, one for each: less is lost by waiting than inside a layer.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for part in batches(shard.images, size):
            maps, outputs = compute(shard.stacked(part))
            places = shard.places[part]
            inside, chosen = places - shard.start, sampled(places)

            def of_layer(
                path: str,
                maps: Mapping[str, Floats] = maps,
                places: np.ndarray = places,
                chosen: np.ndarray = chosen,
            ) -> dict[str, Floats]:
                batch = MapBatch(maps[path], places, chosen, layers[path].ceiling, threads=1)
                for statistic in layers[path].statistics:
                    name = statistic.name
                    states[path][name] = statistic.update(states[path][name], batch)
                return of_images(batch)

            for path, found in zip(layers, pool.map(of_layer, layers), strict=True):
                for quantity, values in found.items():
                    _into(rows, quantity, path, shard, inside, values)
            if outputs is not None:
                _into(rows, PREDICTION, PREDICTION, shard, inside, outputs)
    return states, rows


def of_images(batch: MapBatch) -> dict[str, Floats]:
    """What is kept per image and channel, (N, C): the pooled maps, and Moran's I where sampled."""
    sums = batch.sums
    height, width, _ = batch.values.shape[1:]
    return {
        "mean": sums.mean.astype(np.float32),
        "maximum": sums.maximum,
        "moran": morans_i(sums.m2, sums.rook, height, width, sums.mean).astype(np.float32),
    }


def _into(
    rows: Rows, quantity: str, path: str, shard: Shard, inside: np.ndarray, values: Floats
) -> None:
    layers = rows.setdefault(quantity, {})
    if path not in layers:
        size = (shard.stop - shard.start, values.shape[1])
        layers[path] = np.full(size, np.nan, np.float32)
    layers[path][inside] = values
