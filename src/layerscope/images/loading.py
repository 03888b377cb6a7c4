"""Decode and resize files by a few threads that run ahead of the reader by a bounded amount.

Pillow, simplejpeg, numpy and the compiled resize let other threads run while they work, so
threads are enough. Files are handed over in handfuls and written straight into the batch: passing
single images about cost a third of the time.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from layerscope.images.decode import Channels, Decoded, UnreadableImage, decode
from layerscope.images.resize import resize
from layerscope.vocabulary import Floats, Skipped

MANY = 1000
"""Files from which on compiled code is worth loading."""

HANDFUL = 8
"""Files that a thread takes at a time."""

Outcome = str | Skipped
"""A note, mostly empty, or why there are no pixels."""

T = TypeVar("T")
R = TypeVar("R")


def load_batches(
    paths: Sequence[Path], size: tuple[int, int], channels: Channels, how: str, batch_size: int
) -> Iterator[tuple[Floats, list[Outcome]]]:
    """Load files at one size.

    Yields:
        For each ``batch_size`` files in turn float32 (n, *size, channels) and the outcome per
        file; where that is `Skipped`, the pixels mean nothing.
    """
    compiled = len(paths) >= MANY or "numba" in sys.modules

    def load(handful: tuple[Sequence[Path], Floats]) -> list[Outcome]:
        few, places = handful
        outcomes: list[Outcome] = []
        for path, place in zip(few, places, strict=True):
            decoded = _decoded(path, channels)
            if isinstance(decoded, Decoded):
                resize(decoded.pixels, size, how, out=place, compiled=compiled)
            outcomes.append(decoded.note if isinstance(decoded, Decoded) else decoded)
        return outcomes

    spans = [paths[at : at + batch_size] for at in range(0, len(paths), batch_size)]
    batches: deque[Floats] = deque()

    def handfuls() -> Iterator[tuple[Sequence[Path], Floats]]:
        for span in spans:
            batches.append(np.empty((len(span), *size, channels), np.float32))
            for at in range(0, len(span), HANDFUL):
                yield span[at : at + HANDFUL], batches[-1][at : at + HANDFUL]

    done = _ahead(load, handfuls(), batch_size // HANDFUL + 1)
    for span in spans:
        outcomes = list(chain.from_iterable(islice(done, -(-len(span) // HANDFUL))))
        yield batches.popleft(), outcomes


def load_each(paths: Sequence[Path], channels: Channels) -> Iterator[Decoded | Skipped]:
    """Load files at their own sizes; photos are large, so only a few wait in memory."""
    return _ahead(lambda path: _decoded(path, channels), paths, 0)


def _decoded(path: Path, channels: Channels) -> Decoded | Skipped:
    try:
        return decode(path, channels)
    except UnreadableImage as error:
        # Not the error itself: its traceback holds on to the image that could not be finished.
        return Skipped(str(path), error.reason)


def _ahead(work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """Work on items in order, by threads that may be ``most`` and a few items ahead."""
    workers = min(os.cpu_count() or 1, 8)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="layerscope-images")
    try:
        rest = (pool.submit(work, item) for item in items)
        begun = deque(islice(rest, most + 2 * workers))
        while begun:
            done = begun.popleft().result()
            begun.extend(islice(rest, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
