"""What the model answers, without its maps."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.images import Source
from layerscope.run.local import Compute, Progress
from layerscope.run.shards import batches, read_shards
from layerscope.vocabulary import Floats, Skipped


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model for a set of images.

    Attributes:
        predictions: float32 (N, K), NaN where an image was not read; ``None`` where the output is
            no vector.
        labels: int64 (N,), -1 where unknown.
        read: bool (N,), whether each image was read.
        skipped: files that were not.
        several: bool (N, K), which labels each image has; ``None`` where none may have several.
    """

    predictions: Floats | None
    labels: NDArray[np.int64]
    read: NDArray[np.bool_]
    skipped: tuple[Skipped, ...]
    several: NDArray[np.bool_] | None = None


def outputs(
    source: Source,
    compute: Compute,
    size: int,
    stage: str,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Outputs:
    """Compute the outputs for all images.

    Args:
        source: the images.
        compute: a forward pass; its maps are not looked at.
        size: images in one pass.
        stage: what it is done for, for whoever watches.
        tell: hears how far the work is.

    Raises:
        InputError: no image could be read.
    """
    predictions, labels, read = list[Floats](), list[int](), list[bool]()
    skipped = list(source.left_out)
    for shard in read_shards(source):
        places = shard.places - shard.start
        count = shard.stop - shard.start
        known = np.full(count, -1)
        known[places] = -1 if shard.labels is None else shard.labels
        labels.extend(known.tolist())
        read.extend(np.isin(np.arange(count), places).tolist())
        skipped.extend(shard.skipped)
        vectors = list[Floats]()
        for part in batches(shard.images, size):
            found = compute(shard.stacked(part))[1]
            vectors += [] if found is None else [found]
        if vectors:
            rows = np.full((count, vectors[0].shape[1]), np.nan, np.float32)
            rows[places] = np.concatenate(vectors)
            predictions.append(rows)
        tell(Progress(stage, shard.stop, source.length))
    return Outputs(
        np.concatenate(predictions) if predictions else None,
        source.settled(np.array(labels, np.int64)),
        np.array(read, bool),
        tuple(skipped),
        source.several,
    )


def of_profile(images: pd.DataFrame, predictions: Floats | None, source: Source) -> Outputs:
    """The outputs that a profile holds already."""
    lost = images[~images["read"].to_numpy(bool)]
    skipped = [Skipped(str(row.id), str(row.skipped)) for row in lost.itertuples()]
    return Outputs(
        predictions,
        images["label"].to_numpy(np.int64),
        images["read"].to_numpy(bool),
        (*skipped, *source.left_out),
        source.several,
    )
