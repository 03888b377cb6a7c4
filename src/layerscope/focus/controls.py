"""The controls of a heatmap: the same method on an untrained twin, edges, and the gate."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from layerscope.errors import ModelError
from layerscope.focus import sanity
from layerscope.focus.contract import Array, Job, Method
from layerscope.focus.gate import (
    CELLS,
    SHARES,
    Gate,
    curves,
    ends,
    judged,
    relevance_gains,
    rivals,
    sobel,
)
from layerscope.focus.heat import Controls, Heat, cleaned, resampled
from layerscope.focus.targets import Indices
from layerscope.leakage.duplicates import find_duplicates
from layerscope.measures.intervals import FEWEST
from layerscope.model.traced import TracedModel
from layerscope.model.twin import Twin, untrained_twin
from layerscope.model.weights import weights_hash
from layerscope.store.cache import cached_arrays, remembered_arrays
from layerscope.vocabulary import Floats

_OF_METHOD = ("method", "parameters", "layer", "twin")
"""What the test of the rivals does not depend on."""
_BESIDE = ("mosaic_focus", "other_class", "twin", "complexity_rise")


@dataclass(frozen=True)
class Beside:
    """What all heatmaps of one question have beside them.

    Attributes:
        method: the method.
        gate: whether its heatmaps can be believed.
        twin: fresh weights for the model; ``None`` where there are none.
        no_twin: why.
    """

    method: Method
    gate: Gate
    twin: Twin | None = field(repr=False)
    no_twin: str = ""

    def of(self, job: Job, heat: Heat) -> Controls:
        """The controls of some heatmaps, given the job that they come from."""
        asked = replace(job, index=heat.classes)  # not what the twin itself would predict
        twin = np.zeros_like(heat.raw)
        if self.twin is not None:
            twin = _maps(self.method, _of_twin(asked, self.twin))
        likeness = sanity.resemblance(heat.raw, twin)
        return Controls(self.gate, twin, likeness, sobel(job.pixels), self.no_twin)


def beside(
    method: Method,
    job: Job,
    named: Mapping[str, Any] | None,
    photos: Sequence[str] | None = None,
    with_twin: bool = True,
) -> Beside:
    """Make a twin and test the method, on at most `layerscope.focus.gate.MOST` images.

    With too few images to test it on there is no verdict, and an earlier test of the same method,
    layer and model on others is told.

    Args:
        method: the method.
        job: the images to test it on; its classes count only where the target is a function.
        named: what the result depends on apart from model, images and parameters, as a JSON
            object; ``None`` if it cannot be named, so that nothing is kept.
        photos: what each image was cut from; by default each is one of its own.
        with_twin: whether there is to be a twin, which takes as long as many heatmaps.
    """
    twin, reason = _twin(job.explained.traced, job) if with_twin else (None, "none was asked for.")
    key = None if named is None else _key(method, job, named)
    groups = groups_of(job.pixels, photos)
    return Beside(method, _gate(method, job, twin, key, groups), twin, reason)


def groups_of(pixels: Array, photos: Sequence[str] | None = None) -> Indices:
    """A number per image, the same for near-duplicates and for parts of one photo.

    Args:
        pixels: (N, H, W, C); see `layerscope.leakage.duplicates` for what is the same picture.
        photos: what each image was cut from; by default each is one of its own.
    """
    names = range(len(pixels)) if photos is None else photos
    found = np.unique(names, return_inverse=True)[1].astype(np.int64)
    for cluster in find_duplicates(pixels).clusters:
        tied = found[list(cluster.images)]
        found[np.isin(found, tied)] = tied.min()
    return found


def _gate(
    method: Method, job: Job, twin: Twin | None, key: Mapping[str, Any] | None, groups: Indices
) -> Gate:
    names = ("gains", "beside", "groups")
    if len(np.unique(groups)) < FEWEST:
        few = judged(np.empty((len(groups), 3)), groups)
        known = remembered_arrays(key, names) if key else None
        if known is None:
            return few
        # Of other images, and so no verdict on these.
        before = _said(known)
        aside = f"an earlier test on {before.images} other images said {before.verdict}"
        return replace(few, reason=f"{few.reason}; {aside}")
    if key is None:
        return _said(_tested(method, job, twin, None) | {"groups": groups})
    seen = {
        **key,
        "inputs": _digest(job.inputs),
        "groups": groups.tolist(),
        "twin": twin is not None,
    }

    def compute() -> dict[str, Array]:
        return _tested(method, job, twin, seen) | {"groups": groups}

    return _said(cached_arrays(seen, names, compute, remember=key))


def _said(found: Mapping[str, Array]) -> Gate:
    values = dict(zip(_BESIDE, found["beside"].tolist(), strict=True))
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    return replace(judged(found["gains"], found["groups"]), beside=known)


def _tested(
    method: Method, job: Job, twin: Twin | None, key: Mapping[str, Any] | None
) -> dict[str, Array]:
    """SRG of the method and its rivals, and the numbers beside them."""
    explained = job.explained
    (chosen,) = job.ask([explained.chosen])
    about = replace(job, index=np.array(chosen, np.int64))
    maps = _maps(method, about)

    def of_rivals() -> dict[str, Array]:
        others = rivals(job.pixels)
        return {"ends": ends(about, about.index), "curves": curves(about, about.index, others)}

    # They are the same for every method.
    shared = {k: v for k, v in (key or {}).items() if k not in _OF_METHOD}
    known = (
        cached_arrays({**shared, "of": "rivals"}, ("ends", "curves"), of_rivals)
        if key
        else of_rivals()
    )
    own = curves(about, about.index, [resampled(maps, job.size)])
    gains = relevance_gains(known["ends"], np.concatenate([own, known["curves"]], 1))
    return {"gains": gains, "beside": _numbers(method, about, about.index, maps, twin)}


def _numbers(method: Method, job: Job, chosen: Indices, maps: Floats, twin: Twin | None) -> Array:
    """Means of what is printed and decides nothing, in the order of `_BESIDE`."""

    def run(other: Job) -> Floats:
        return _maps(method, other)

    few = sanity.few(job)
    of_twin = _maps(method, _of_twin(few, twin)) if twin else np.zeros_like(maps[: len(few.index)])
    own = maps[: len(of_twin)]
    found = (
        sanity.mosaic_focus(job, chosen, run),
        sanity.other_class(few, chosen[: len(own)], own, run),
        sanity.resemblance(own, of_twin),
        sanity.complexity_rise(own, of_twin) if twin else np.empty(0),
    )
    known = [values[np.isfinite(values)] for values in found]
    return np.array([values.mean() if len(values) else np.nan for values in known])


def _maps(method: Method, job: Job) -> Floats:
    found = method.run(job)
    return cleaned(found.raw, found.floor)[0]


def _of_twin(job: Job, twin: Twin) -> Job:
    return replace(job, explained=replace(job.explained, weights=twin.weights))


def _twin(traced: TracedModel, job: Job) -> tuple[Twin | None, str]:
    """One twin for all methods, or why there is none.

    Its BatchNorm statistics come from the first images seen.
    """
    try:
        found: Twin = traced.once(
            ("twin of heatmaps", job.seed), lambda: untrained_twin(traced, job.inputs, job.seed)
        )
    except ModelError as error:
        return None, str(error)
    return found, ""


def _key(method: Method, job: Job, named: Mapping[str, Any]) -> dict[str, Any]:
    traced = job.explained.traced
    return {
        "of": "gate",
        "covering": [CELLS, *SHARES],
        "model": weights_hash(traced.model),
        "method": method.name,
        "parameters": {name: _plain(value) for name, value in sorted(job.parameters.items())},
        "layer": job.tap.path if job.tap else "",
        "output": job.explained.output,
        "scale": job.explained.scale,
        "seed": job.seed,
        **named,
    }


def _plain(value: Any) -> Any:
    """A parameter as JSON takes it."""
    return (
        value
        if isinstance(value, str | int | float | None)
        else json.dumps(np.asarray(value).tolist())
    )


def _digest(inputs: Sequence[Array]) -> str:
    found = hashlib.sha256()
    for x in inputs:
        found.update(str((x.shape, x.dtype)).encode())
        found.update(np.ascontiguousarray(x).tobytes())
    return found.hexdigest()
