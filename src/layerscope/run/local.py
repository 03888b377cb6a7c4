"""The loop over shards on one machine: compute, add up, save, go on after a kill."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from layerscope.errors import EnvironmentFailure
from layerscope.images import Source
from layerscope.measures.structure import morans_i
from layerscope.run.plan import FINE
from layerscope.run.shards import Shard, ahead, batches, read_shards
from layerscope.statistics.contract import MapBatch, Selective, State, Statistic
from layerscope.store.directory import RunDirectory
from layerscope.store.rows import RowStore
from layerscope.vocabulary import Floats, Skipped

States = dict[str, dict[str, State]]
"""Layer path -> name of the statistic -> its state."""

SAVE_EVERY = 20.0
"""Seconds of work that a kill may cost, beside a shard: only then is the state saved again."""

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
    shards = read_shards(source, first)
    coming = _shards(shards, compute, layers, sampled, size, outcome.states, warn)
    for shard, states, per_image, fit in coming:
        rows.write(shard.start, per_image)
        _merge(outcome.states, states, layers)
        _note(outcome, shard, fit)
        if source.length is None and shard.number == 0:
            outcome.first_images = list(shard.images[:FINE])
        tell(Progress("maps", shard.stop, source.length))
        if time.monotonic() - saved >= SAVE_EVERY:
            _save(directory, outcome)
            saved = time.monotonic()
    outcome.labels = source.settled(np.array(outcome.labels, np.int64)).tolist()
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


def _shards(
    shards: Iterator[Shard],
    compute: Compute,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    size: int,
    before: States,
    warn: Callable[[str], None],
) -> Iterator[tuple[Shard, States, Rows, int]]:
    """Each shard, its states and rows, and the batch size for which there was memory."""
    begun = deque[Shard]()

    def coming() -> Iterator[Shard]:
        yield from tuple(begun)
        for shard in shards:
            begun.append(shard)
            yield shard

    while True:
        try:
            for shard, states, rows in _computed(coming(), compute, layers, sampled, size, before):
                begun.popleft()
                yield shard, states, rows, size
            return
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
    everything = _computed(
        iter([shard]), compute, layers, lambda these: np.ones(len(these), bool), size, {}
    )
    return next(everything)[1:]


@dataclass(frozen=True)
class _Pass:
    """A batch of a shard, the last one or not, and what the model made of it."""

    shard: Shard
    part: slice
    last: bool
    maps: Mapping[str, Floats] = field(default_factory=dict)
    outputs: Floats | None = None


def _passes(shards: Iterator[Shard], compute: Compute, size: int) -> Iterator[_Pass]:
    for shard in shards:
        parts = list(batches(shard.images, size))
        for part in parts:
            yield _Pass(shard, part, part is parts[-1], *compute(shard.stacked(part)))
        if not parts:  # none of its images could be read
            yield _Pass(shard, slice(0), last=True)


def _computed(
    shards: Iterator[Shard],
    compute: Compute,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    size: int,
    before: States,
) -> Iterator[tuple[Shard, States, Rows]]:
    """Each shard with its states and rows; while a batch is added up, the next one is computed.

    What is in ``before`` when a shard begins is what its states will be merged into.
    """
    # Layer by layer in threads, one for each: less is lost by waiting than inside a layer.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        closing(ahead(_passes(shards, compute, size))) as passes,
    ):
        states, rows = _nothing(layers, before)
        for done in passes:
            _add(done, states, rows, layers, sampled, pool)
            if done.last:
                yield done.shard, states, rows
                states, rows = _nothing(layers, before)


def _nothing(layers: Mapping[str, Watched], before: States) -> tuple[States, Rows]:
    """The states and rows of a shard that follows others."""
    states = {path: _empty(layer) for path, layer in layers.items()}
    for path, earlier in before.items():
        for statistic in layers[path].statistics:
            if isinstance(statistic, Selective):
                states[path][statistic.name] = statistic.after(earlier[statistic.name])
    return states, {}


def _add(
    done: _Pass,
    states: States,
    rows: Rows,
    layers: Mapping[str, Watched],
    sampled: Callable[[np.ndarray], np.ndarray],
    pool: ThreadPoolExecutor,
) -> None:
    """Add a batch to the states and the rows of its shard."""
    places = done.shard.places[done.part]
    inside, chosen = places - done.shard.start, sampled(places)

    def of_layer(path: str) -> dict[str, Floats]:
        batch = MapBatch(done.maps[path], places, chosen, layers[path].ceiling, threads=1)
        for statistic in layers[path].statistics:
            name = statistic.name
            states[path][name] = statistic.update(states[path][name], batch)
        return of_images(batch)

    for path, found in zip(done.maps, pool.map(of_layer, done.maps), strict=True):
        for quantity, values in found.items():
            _into(rows, quantity, path, done.shard, inside, values)
    if done.outputs is not None:
        _into(rows, PREDICTION, PREDICTION, done.shard, inside, done.outputs)


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
