"""From images and a model to a profile: the passes that are needed, in order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from layerscope.errors import InputError, ModelError
from layerscope.images import Source
from layerscope.measures.coherence import Encoder, Hog, cosines_of
from layerscope.profile import (
    Measured,
    Profile,
    channel_rows,
    layer_row,
    read_profile,
    write_profile,
)
from layerscope.run.closer import QUANTITIES, Tones, coloured, look_closer, noise_like
from layerscope.run.local import (
    PREDICTION,
    Compute,
    Outcome,
    Progress,
    Watched,
    add_up,
    run,
)
from layerscope.run.nulls import NOISE, PROBE, Probe, against_twins
from layerscope.run.plan import SAMPLE, SHARD, Plan
from layerscope.statistics.cells import Cells
from layerscope.statistics.exemplars import Exemplars
from layerscope.statistics.moments import Moments, Positions
from layerscope.statistics.vitality import Vitality
from layerscope.store.directory import RunDirectory
from layerscope.store.rows import RowStore
from layerscope.vocabulary import Floats, Layer


@dataclass(frozen=True)
class Subject:
    """A model, as far as a run needs it.

    Attributes:
        layers: the layers to profile, by path.
        ceilings: bound of the activation at each.
        kernels: convolution kernels of those that have one.
        upsampling: factors of the transposed convolutions among them.
        outputs: length of the output vector; ``None`` if the output is no vector.
        compute: a forward pass.
        twin: a forward pass of an untrained twin, fitted to some images, for a seed.
        probe: what many twins say, in few numbers.
    """

    layers: Mapping[str, Layer]
    ceilings: Mapping[str, float]
    kernels: Mapping[str, NDArray[Any]]
    upsampling: Mapping[str, int]
    outputs: int | None
    compute: Compute
    twin: Callable[[Sequence[Floats], int], Compute]
    probe: Probe


def profile(
    subject: Subject,
    source: Source,
    plan: Plan,
    directory: RunDirectory,
    batch_size: int,
    encoder: Encoder | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Measure every channel.

    Args:
        subject: the model.
        source: the images.
        plan: what to do; it must belong to both.
        directory: keeps the numbers per image, the state, and in the end the tables.
        batch_size: images in one forward pass.
        encoder: tells which images look alike; default `Hog`.
        tell: hears how far the work is.
        warn: hears what went otherwise than asked for.

    Raises:
        InputError: no image could be read.
    """
    if directory.manifest.complete:
        return read_profile(directory)
    watched = _watched(subject, plan)
    rows = directory.rows(_quantities(subject, plan), SHARD, plan.images or 0)
    outcome = run(
        source, subject.compute, watched, _sampled(plan), directory, rows, batch_size, tell, warn
    )
    size = outcome.batch_sizes[-1]
    images, places = _few(source, plan, outcome)
    labels = np.array(outcome.labels, np.int64)[places]
    # Many small products: threads of BLAS would mostly wait for each other and for TensorFlow's.
    with threadpool_limits(1, "blas"):
        noise = _on_noise(subject, plan, images, rows, size, tell)
        closer = look_closer(
            images, subject.compute, subject.layers, size, tell, noise, subject.upsampling
        )
        rows.write(0, closer)
        twins = _on_twins(subject, plan, images, labels, rows, size, tell, warn)
        tell(Progress("tables", 0, len(plan.layers)))
        alike = None if plan.images is None else _alike(source, plan, encoder or Hog())
        photos = _photos(source, places, rows.read(plan.layers[0], "mean"))
        found = _assembled(subject, plan, source, outcome, rows, twins, alike, photos)
    write_profile(found, directory)
    directory.finish()
    return found


def _watched(subject: Subject, plan: Plan) -> dict[str, Watched]:
    found = {}
    for path in plan.layers:
        layer = subject.layers[path]
        height, width, channels = layer.shape
        fixed = height is not None and width is not None
        statistics = (Vitality(), Moments(), Cells(), Exemplars())
        found[path] = Watched(
            (*statistics, Positions()) if fixed else statistics,
            (height or 0, width or 0, channels or 0),
            subject.ceilings[path],
        )
    return found


def _quantities(subject: Subject, plan: Plan) -> dict[str, dict[str, int]]:
    channels = {path: subject.layers[path].shape[2] or 0 for path in plan.layers}
    names = ["mean", "maximum", "moran", *QUANTITIES]
    names += ["noise_moran"] if "noise" in plan.nulls else []
    names += ["twin_moran"] if "twin" in plan.nulls else []
    found = dict.fromkeys(names, channels)
    return found | ({PREDICTION: {PREDICTION: subject.outputs}} if subject.outputs else {})


def _sampled(plan: Plan) -> Callable[[np.ndarray], np.ndarray]:
    if plan.images is None:
        # The length of a stream is not known, so its first images are the sample.
        most = SAMPLE if plan.sample is not None else None
        return lambda places: places < most if most else np.ones(len(places), bool)
    if plan.sample is None:
        return lambda places: np.ones(len(places), bool)
    inside = np.zeros(plan.images, bool)
    inside[list(plan.sample)] = True
    return lambda places: inside[places]


def _few(source: Source, plan: Plan, outcome: Outcome) -> tuple[list[Floats], NDArray[np.int64]]:
    """The images to look at closely, those of them that can be read, and their places."""
    if plan.images is None:
        return outcome.first_images, np.arange(len(outcome.first_images))
    part = source.part(plan.fine)
    known = dict(zip(part.ids or (), plan.fine, strict=True))
    images, places = list[Floats](), list[int]()
    for batch in part:
        images.extend(batch.pixels)
        places.extend(known[name] for name in batch.ids)
    if not images:
        raise InputError("None of the images chosen for a closer look can be read any more.")
    return images, np.array(places, np.int64)


def _photos(
    source: Source, places: NDArray[np.int64], pooled: Floats
) -> Callable[[str], NDArray[np.int64] | None]:
    """For each quantity the photo that each image of its rows was cut from, as a number.

    Copies of an image are one, by what the first layer says of them.
    """
    names = list(source.photos or map(str, range(len(pooled))))
    for first, again in _repeated(pooled[: len(names)]):
        names[again] = names[first]
    if len(set(names)) == len(names):
        return lambda _: None
    every = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return lambda quantity: every[places] if quantity in QUANTITIES else every


def _repeated(pooled: Floats) -> Iterator[tuple[int, int]]:
    """Pairs of an image and one before it that has the same pooled maps (N, C)."""
    largest = np.nanmax(np.abs(pooled), initial=0) or 1.0
    seen: dict[bytes, int] = {}
    for place, row in enumerate(np.round(pooled / largest, 5)):
        if np.isfinite(row).all():
            first = seen.setdefault(row.tobytes(), place)
            if first != place:
                yield first, place


def _on_noise(
    subject: Subject,
    plan: Plan,
    images: Sequence[Floats],
    rows: RowStore,
    size: int,
    tell: Callable[[Progress], None],
) -> dict[str, Floats]:
    """The mean map of each layer on noise input, where its maps have one size."""
    if "noise" not in plan.nulls:
        return {}
    tell(Progress("noise input", 0, NOISE))
    layers = {
        path: replace(layer, statistics=(Positions(),) if all(layer.shape[:2]) else ())
        for path, layer in _watched(subject, plan).items()
    }
    noise = noise_like(images, NOISE, plan.seed)
    if all((one == one[:1, :1]).all() for one in noise):
        return {}  # images without any contrast: noise like them is none
    states, found = add_up(noise, subject.compute, layers, size)
    rows.write(0, {"noise_moran": found["moran"]})
    return {
        path: np.asarray(Positions().finish(state["positions"])["mean"], np.float32)
        for path, state in states.items()
        if state
    }


def _on_twins(
    subject: Subject,
    plan: Plan,
    images: Sequence[Floats],
    labels: NDArray[np.int64],
    rows: RowStore,
    size: int,
    tell: Callable[[Progress], None],
    warn: Callable[[str], None],
) -> pd.DataFrame | None:
    """Compare every layer with untrained twins, where there are any."""
    if "twin" not in plan.nulls:
        return None
    layers = {
        path: replace(layer, statistics=()) for path, layer in _watched(subject, plan).items()
    }
    tell(Progress("untrained twin", 0, PROBE))
    try:
        twin = subject.twin(images, plan.seed)
    except ModelError as error:
        warn(f"Nothing was compared with untrained twins. {error}")
        return None
    found = add_up(images[:PROBE], twin, layers, size)[1]
    rows.write(0, {"twin_moran": found["moran"]})
    signed = {path: subject.layers[path].pre_activation for path in plan.layers}
    kernels = subject.kernels
    return against_twins(subject.probe, kernels, signed, images, labels, plan, tell)


def _alike(source: Source, plan: Plan, encoder: Encoder) -> tuple[NDArray[np.int64], Floats]:
    """Places of the sampled images that can be read, and how alike the encoder finds them."""
    places = plan.sample if plan.sample is not None else range(min(SAMPLE, plan.images or 0))
    part = source.part(places)
    at = dict(zip(part.ids or (), places, strict=True))
    found, vectors = list[int](), list[Floats]()
    for batch in part:
        tones = Tones.of(list(batch.pixels))
        photos = coloured(tones.photos(batch.pixels))
        vectors.append(encoder(np.clip(np.rint(photos), 0, 255).astype(np.uint8)))
        found.extend(at[name] for name in batch.ids)
    return np.array(found, np.int64), cosines_of(np.concatenate(vectors))


def _assembled(
    subject: Subject,
    plan: Plan,
    source: Source,
    outcome: Outcome,
    rows: RowStore,
    twins: pd.DataFrame | None,
    alike: tuple[NDArray[np.int64], Floats] | None,
    photos: Callable[[str], NDArray[np.int64] | None],
) -> Profile:
    channels, layers, exemplars = [], [], {}
    rows_of = rows.in_order()
    for path, watched in _watched(subject, plan).items():
        finished = {
            statistic.name: statistic.finish(outcome.states[path][statistic.name])
            for statistic in watched.statistics
        }

        def read(quantity: str, path: str = path) -> Floats | None:
            return rows_of(path, quantity) if quantity in rows.arrays else None

        measured = Measured(
            subject.layers[path],
            finished,
            read,
            subject.kernels.get(path),
            subject.upsampling.get(path, 1),
            np.where(_sampled(plan)(np.arange(len(outcome.labels))), outcome.labels, -1),
            alike,
            photos,
        )
        channels.append(channel_rows(measured))
        layers.append(layer_row(measured))
        exemplars[path] = finished["exemplars"]
    has_outputs = PREDICTION in rows.arrays
    return Profile(
        pd.concat(channels, ignore_index=True),
        pd.DataFrame(layers) if twins is None else pd.DataFrame(layers).merge(twins, "left"),
        _images(plan, source, outcome),
        rows.read(PREDICTION, PREDICTION) if has_outputs else None,
        source.class_names,
        exemplars,
        _provenance(plan, outcome),
    )


def _provenance(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    described = plan.described
    sample, closer = described.pop("sample"), described.pop("fine")
    return described | {
        "sampled_images": plan.images if sample is None else len(sample),
        "closer_images": len(closer),
        "batch_sizes": outcome.batch_sizes,
        "resumed": outcome.resumed,
    }


def _images(plan: Plan, source: Source, outcome: Outcome) -> pd.DataFrame:
    count = len(outcome.ids)
    places = np.arange(count)
    ids = source.ids or tuple(outcome.ids)
    reasons = {item.file: item.reason for item in (*outcome.skipped, *source.left_out)}
    fine = set(plan.fine)
    return pd.DataFrame(
        {
            "id": list(ids[:count]),
            "label": outcome.labels,
            "read": [name != "" for name in outcome.ids],
            "sampled": _sampled(plan)(places),
            "closer": [place in fine for place in places],
            "skipped": [reasons.get(name, "") for name in ids[:count]],
        }
    )
