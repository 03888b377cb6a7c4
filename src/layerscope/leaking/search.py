"""All classes of some images, one after the other."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from layerscope.audit.figures import count
from layerscope.audit.leakage import (
    LIMITS,
    ClassLeak,
    Leaks,
    Repeated,
    WholeLeak,
    is_used,
)
from layerscope.images.region import Region, shares
from layerscope.interventions.transplant import Predict
from layerscope.leakage.copies import Copies, find_copies
from layerscope.leakage.duplicates import Cluster, find_duplicates
from layerscope.leakage.expected import Expected, is_expected
from layerscope.leakage.pool import Pool, pooled
from layerscope.leakage.power import Power, search_power
from layerscope.leakage.same_place import same_place
from layerscope.leaking import patterns, regions, whole
from layerscope.leaking.scene import Scene
from layerscope.measures.significance import adjusted
from layerscope.run.local import Progress
from layerscope.vocabulary import Floats

TRIALS = 5
"""Marks of each opacity that are planted to see what would have been found."""
_TIMED = 32
"""Images from whose answers the time is estimated."""

Tell = Callable[[Progress], None]


def search(
    seen: Scene,
    files: Sequence[str] | None = None,
    tell: Tell = lambda _: None,
    budget: int | None = None,
    declared: Sequence[Expected] = (),
    places: Mapping[int, Sequence[Region]] | None = None,
    trials: int = TRIALS,
) -> Leaks:
    """Search all classes of some images.

    Args:
        seen: the images.
        files: their paths, if they are files.
        tell: hears how far it is, and beforehand what it will take.
        budget: most images that go through the model; default what it takes.
        declared: patterns that belong to a class.
        places: by class, where something else suggests a mark.
        trials: marks of each opacity that are planted where nothing was found; 0 for no power.
    """
    tell(Progress("leaks in the images", 0, None))
    repeats = find_duplicates(seen.pixels, seen.labels)
    kept = _one_per_photo(seen, repeats.kept)
    alone = seen.only(kept)
    names = None if files is None else [files[at] for at in kept]
    pool = pooled(alone.pixels, alone.labels, seen.seed)
    copies = _copies(alone, pool, places or {})
    told = whole.telling(alone, names)
    stage = _announced(alone, copies, whole.needed(alone, told))
    counter = _Counted(alone.predict, budget)
    alone = replace(alone, predict=counter)
    leaks: list[ClassLeak] = []
    unsearched: list[str] = []
    for at, one in enumerate(copies):
        tell(Progress(stage, at, len(copies)))
        if counter.has_room(_needs(one)):
            leaks.append(_of_class(alone, pool, one, counter))
        else:
            unsearched.append(alone.of(one.label).name)
    tell(Progress(stage, len(copies), len(copies)))
    leaks, properties = _corrected(leaks, whole.tried(alone, told, counter.has_room))
    if len(np.unique(alone.labels)) == 2:
        properties = whole.without_lacks(leaks, properties)
    size = alone.pixels.shape[1], alone.pixels.shape[2]
    leaks = [
        replace(one, expected=one.copies is not None and is_expected(one.copies, size, declared))
        for one in leaks
    ]
    looks = {one.look for one in declared}
    properties = [replace(one, expected=one.found.name in looks) for one in properties]
    found = any(
        one.copies is not None and one.copies.found and not (one.expected or one.may_be_object)
        for one in leaks
    )
    return Leaks(
        size, tuple(leaks), tuple(properties), _across_classes(repeats.clusters, seen.names),
        () if found or not trials else _power(pool, leaks, trials, seen.seed), counter.passes,
        _left(unsearched, budget, len(repeats.kept) - len(kept), whole.unsaved(alone, told)),
    )  # fmt: skip


def _one_per_photo(seen: Scene, kept: np.ndarray) -> np.ndarray:
    """One image of each photo: what two crops share is no mark."""
    if seen.photos is None:
        return kept
    return np.sort(kept[np.unique(seen.photos[kept], return_index=True)[1]])


def _copies(seen: Scene, pool: Pool, places: Mapping[int, Sequence[Region]]) -> list[Copies]:
    """The pattern of each class, the most suspicious first."""
    size = seen.pixels.shape[1], seen.pixels.shape[2]
    alike = {one.label: [shares(one.box, size)] for one in same_place(seen.pixels, seen.labels)}
    every = {label: [*alike.get(label, []), *places.get(label, [])] for label in pool.choosing}
    found = find_copies(seen.pixels, seen.labels, seed=seen.seed, pool=pool, places=every)
    return sorted(found, key=lambda one: -one.score.value)


def _needs(copies: Copies) -> int:
    """Images that go through the model for one class."""
    return patterns.PASSES if copies.found else regions.PASSES


def _of_class(seen: Scene, pool: Pool, copies: Copies, counter: "_Counted") -> ClassLeak:
    """What the model makes of one class."""
    leak, recipients = patterns.described(seen, copies), patterns.recipients_of(seen, copies)
    if not patterns.testable(leak, recipients):
        return leak
    if not copies.found:
        leak = regions.scanned(seen, leak, recipients)
        if leak.region is None or not is_used(leak.region_effect):
            return leak
        # What decides may repeat after all, fainter than what else recurs.
        (there,) = find_copies(
            seen.pixels, seen.labels, [copies.label], seen.seed, pool,
            {copies.label: [leak.region]}, everywhere=False,
        )  # fmt: skip
        if not (there.found and counter.has_room(patterns.PASSES)):
            return leak
        leak, recipients = patterns.described(seen, there), patterns.recipients_of(seen, there)
    return patterns.tried(seen, leak, recipients)


def _announced(seen: Scene, copies: Sequence[Copies], for_looks: int) -> str:
    """What is going to be done, with how many images and for how long."""
    passes = sum(map(_needs, copies)) + for_looks
    some = seen.pixels[:_TIMED]
    seen.predict(some)  # the first pass may take longer
    start = time.perf_counter()
    seen.predict(some)
    seconds = passes * (time.perf_counter() - start) / len(some)
    return f"leaks in the answers (up to {count(passes, 'image')}, about {max(1, seconds):.0f} s)"


class _Counted:
    """Predictions that are counted."""

    def __init__(self, predict: Predict, budget: int | None) -> None:
        self.predict, self.budget, self.passes = predict, budget, 0

    def __call__(self, images: Floats) -> Floats:
        self.passes += len(images)
        return self.predict(images)

    def has_room(self, images: int) -> bool:
        """Whether so many more images may go through the model."""
        return self.budget is None or self.passes + images <= self.budget


def _corrected(
    leaks: list[ClassLeak], properties: list[WholeLeak]
) -> tuple[list[ClassLeak], list[WholeLeak]]:
    """P adjusted over all effects that were tried."""
    raw = [one.effect.same.p if one.effect else np.nan for one in leaks]
    raw += [one.effect.p if one.effect else np.nan for one in properties]
    p = adjusted(raw).tolist()
    return (
        [replace(one, p=value) for one, value in zip(leaks, p, strict=False)],
        [replace(one, p=value) for one, value in zip(properties, p[len(leaks) :], strict=True)],
    )


def _power(pool: Pool, leaks: Sequence[ClassLeak], trials: int, seed: int) -> tuple[Power, ...]:
    """How often planted marks are found in the class with the middle number of images."""
    usable = sorted(
        (one for one in leaks if one.right >= LIMITS.fewest), key=lambda one: one.images
    )
    if not usable:
        return ()
    label = usable[len(usable) // 2].of.index
    return tuple(
        search_power(pool, label, size=0.15, opacity=opacity, trials=trials, seed=seed)
        for opacity in (1.0, 0.5)
    )


def _across_classes(clusters: Sequence[Cluster], names: Sequence[str]) -> tuple[Repeated, ...]:
    groups = tuple(tuple(names[at] for at in one.images) for one in clusters if one.across_classes)
    return (Repeated("classes", groups),) if groups else ()


def _left(
    unsearched: Sequence[str], budget: int | None, crops: int, unsaved: str
) -> tuple[str, ...]:
    """What was not searched and why."""
    said = []
    if unsearched:
        said.append(
            f"{', '.join(unsearched)}: the budget of {budget:,} images through the model left no "
            "room."
        )
    if crops:
        said.append(f"{count(crops, 'crop')} of photos that another image stands for.")
    return (*said, unsaved) if unsaved else tuple(said)
