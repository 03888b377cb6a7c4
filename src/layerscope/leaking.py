"""The search for leaks: which patterns give a class away, and what they do to the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.leakage import (
    LIMITS,
    ClassLeak,
    Leaks,
    Repeated,
    WholeLeak,
)
from layerscope.errors import InputError
from layerscope.images import Source
from layerscope.interventions.answers import are_probabilities, probabilities
from layerscope.interventions.transplant import (
    Predict,
    Shift,
    Transplanted,
    necessity,
    paired,
    pasted,
    rise,
    shift,
    transplanted,
)
from layerscope.interventions.whole import CHANGES
from layerscope.leakage.copies import Copies, find_copies
from layerscope.leakage.duplicates import Cluster, find_duplicates
from layerscope.leakage.expected import Expected, is_expected
from layerscope.leakage.pool import FEWEST, Pool, pooled
from layerscope.leakage.power import Power, search_power
from layerscope.leakage.properties import (
    Property,
    file_properties,
    image_properties,
    telling_properties,
)
from layerscope.measures.significance import adjusted
from layerscope.run.crops import pixels_at
from layerscope.run.local import Compute, Progress
from layerscope.vocabulary import Class, Floats

MOST_BYTES = 2**30
"""Of the images that are looked at."""
MOST_PER_CLASS = 200
RECIPIENTS = 120
"""Images of other classes that a pattern is pasted into; up to 200 make the interval narrower."""
NECESSARY = 40
"""Images of the class that are tried without the pattern."""
WINDOWS, PAIRS = 5, 6
"""Windows along a side, and images each is tried in, where no copies were found."""
SHOWN = 4
MOST_WHOLE = 12
"""Properties beyond the gate whose effect is tried."""
TRIALS = 5


@dataclass(frozen=True)
class Scene:
    """The images that are looked at, and what the model says of them.

    Attributes:
        pixels: (N, H, W, C), raw.
        labels: (N,), output index.
        answers: (N, K), probabilities.
        names: of the images.
        classes: names in output order; may be fewer than there are.
        predict: raw images -> probabilities.
        seed: of everything random.
    """

    pixels: Floats = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    answers: Floats = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    classes: tuple[str, ...]
    predict: Predict = field(repr=False)
    seed: int = 0

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each image is classified rightly."""
        return np.asarray(self.answers.argmax(1) == self.labels)

    def of(self, label: int) -> Class:
        """A class by its index."""
        name = self.classes[label] if label < len(self.classes) else str(label)
        return Class(int(label), name)

    def only(self, places: NDArray[np.int64]) -> "Scene":
        """Some of the images."""
        return replace(
            self,
            pixels=self.pixels[places],
            labels=self.labels[places],
            answers=self.answers[places],
            names=tuple(self.names[at] for at in places),
        )


def scene(
    source: Source,
    compute: Compute,
    predictions: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    rows: int,
    seed: int,
) -> Scene:
    """Load the images to look at: of each class as many as memory allows, evenly spread.

    Args:
        source: the images.
        compute: a forward pass from raw images.
        predictions: (N, K) of all images, NaN where one was not read.
        labels: (N,), -1 where unknown.
        classes: names in output order.
        rows: images in one pass.
        seed: of everything random.

    Raises:
        InputError: it is a stream, or fewer than two classes have enough images.
    """
    known = np.flatnonzero((labels >= 0) & np.isfinite(predictions).all(1))
    counts = np.bincount(labels[known], minlength=1)
    usable = np.flatnonzero(counts >= FEWEST)
    if len(usable) < 2:
        raise InputError(
            f"Leaks are sought between at least two classes with {FEWEST} labelled images each, "
            f"and {len(usable)} of the classes of these images have so many."
        )
    (_, first), *_ = pixels_at(source, known[:1].tolist())
    each = int(max(20, min(MOST_PER_CLASS, MOST_BYTES // (4 * first.size * len(usable)))))
    places: list[int] = []
    for label in usable:
        own = known[labels[known] == label]
        spread = np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int)
        places += own[spread].tolist()
    found = [(at, x) for at, x in pixels_at(source, sorted(places)) if x.shape == first.shape]
    at = np.array([place for place, _ in found])
    ids = source.ids or ()

    likely = are_probabilities(predictions[known])

    def predict(images: Floats) -> Floats:
        parts = [compute(images[start : start + rows])[1] for start in range(0, len(images), rows)]
        found = np.concatenate([part for part in parts if part is not None])
        return probabilities(found, likely)

    return Scene(
        np.stack([image for _, image in found]).astype(np.float32),
        labels[at],
        probabilities(predictions[at], likely),
        tuple(ids[place] for place in at),
        tuple(classes),
        predict,
        seed,
    )


def search(
    seen: Scene,
    files: Sequence[str] | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    budget: int | None = None,
    declared: Sequence[Expected] = (),
) -> Leaks:
    """Search all classes of some images.

    Args:
        seen: the images.
        files: their paths, if they are files.
        tell: hears how far it is.
        budget: most images that go through the model; default what it takes.
        declared: patterns that belong to a class.
    """
    tell(Progress("leaks in the images", 0, None))
    repeats = find_duplicates(seen.pixels, seen.labels)
    alone = seen.only(repeats.kept)
    pool = pooled(alone.pixels, alone.labels, seen.seed)
    found = find_copies(alone.pixels, alone.labels, seed=seen.seed, pool=pool)
    copies = {one.label: one for one in found}
    counter = _Counted(alone.predict, budget)
    alone = replace(alone, predict=counter)
    labels = sorted(copies, key=lambda label: -copies[label].score.value)
    leaks: list[ClassLeak] = []
    unsearched: list[str] = []
    for at, label in enumerate(labels):
        tell(Progress("leaks in the answers", at, len(labels)))
        if counter.spent:
            unsearched.append(alone.of(label).name)
        else:
            leaks.append(_of_class(alone, copies[label]))
    tell(Progress("leaks in the answers", len(labels), len(labels)))
    kept = None if files is None else [files[at] for at in repeats.kept]
    whole = _whole(alone, kept)
    leaks, whole = _corrected(leaks, whole)
    questions = (
        [f"{', '.join(unsearched)}: the budget of {budget:,} images through the model was used up."]
        if unsearched
        else []
    )
    size = alone.pixels.shape[1], alone.pixels.shape[2]
    leaks = [
        replace(one, expected=one.copies is not None and is_expected(one.copies, size, declared))
        for one in leaks
    ]
    power = () if any(one.found for one in found) else _power(pool, leaks, seen.seed)
    return Leaks(
        size, tuple(leaks), tuple(whole), _repeated(repeats.clusters, seen.names), power,
        counter.passes, tuple(questions),
    )  # fmt: skip


class _Counted:
    """Predictions that are counted."""

    def __init__(self, predict: Predict, budget: int | None) -> None:
        self.predict, self.budget, self.passes = predict, budget, 0

    def __call__(self, images: Floats) -> Floats:
        self.passes += len(images)
        return self.predict(images)

    @property
    def spent(self) -> bool:
        return self.budget is not None and self.passes >= self.budget


def _of_class(seen: Scene, copies: Copies) -> ClassLeak:
    """What the pattern of one class does in images of others."""
    label, right = copies.label, seen.right
    own = seen.labels == label
    leak = ClassLeak(seen.of(label), int(own.sum()), int((own & right).sum()), copies)
    height, width = seen.pixels.shape[1:3]
    x0, y0, x1, y1 = copies.box
    leak = replace(leak, covers=(x1 - x0) * (y1 - y0) / (height * width))
    sharing = [label, *copies.shared]
    recipients = np.flatnonzero(right & ~np.isin(seen.labels, sharing))
    if leak.right < LIMITS.fewest or len(recipients) < LIMITS.fewest:
        return leak
    random = np.random.default_rng((seen.seed, label))
    chosen = np.sort(random.permutation(recipients)[:RECIPIENTS])
    if not copies.found:
        return _scanned(seen, leak, chosen, random)
    carriers = np.flatnonzero(copies.carries)
    # The last of the images took no part in choosing the pattern.
    judges = carriers[carriers >= len(copies.images) - copies.judged[0]]
    judges = judges if len(judges) >= FEWEST else carriers
    drawn = paired(random, len(chosen), judges)
    controls = _unrelated(seen, chosen, sharing, random)
    effect = transplanted(
        seen.predict, seen.pixels, label, chosen, copies.images[drawn], copies.places[drawn],
        controls, seen.answers[chosen, label], seen.seed,
    )  # fmt: skip
    some = judges[:NECESSARY]
    fillers = paired(random, len(some), recipients)
    lost = necessity(
        seen.predict, seen.pixels, label, copies.images[some], copies.places[some], fillers,
        seen.answers[copies.images[some], label],
    )  # fmt: skip
    return replace(leak, effect=effect, necessity=lost, shown=_shown(seen, effect))


def _shown(seen: Scene, effect: Transplanted) -> tuple[tuple[Floats, Floats], ...]:
    """Recipients before and after, spread over how far they moved."""
    order = np.argsort(-effect.rises)
    at = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
    before = seen.pixels[effect.recipients[at]]
    after = pasted(before, seen.pixels[effect.donors[at]], effect.boxes[at])
    return tuple(zip(before, after, strict=True))


def _unrelated(
    seen: Scene, recipients: NDArray[np.int64], sharing: Sequence[int], random: np.random.Generator
) -> NDArray[np.int64]:
    """For each recipient an image of a third class; with two classes another of its own."""
    found = np.empty(len(recipients), np.int64)
    for label in np.unique(seen.labels[recipients]):
        third = np.flatnonzero(~np.isin(seen.labels, [label, *sharing]))
        pool = third if len(third) else np.flatnonzero(seen.labels == label)
        here = np.flatnonzero(seen.labels[recipients] == label)
        found[here] = paired(random, len(here), pool)
    return found


def _scanned(
    seen: Scene, leak: ClassLeak, recipients: NDArray[np.int64], random: np.random.Generator
) -> ClassLeak:
    """Where nothing repeats: the window whose patches raise the probability most, tried anew."""
    label = leak.of.index
    height, width = seen.pixels.shape[1:3]
    side = max(2, round(min(height, width) / 3))
    tops, lefts = (np.linspace(0, n - side, WINDOWS).round().astype(int) for n in (height, width))
    boxes = np.array([(x, y, x + side, y + side) for y in tops for x in lefts])
    donors = np.flatnonzero((seen.labels == label) & seen.right)
    few = paired(random, PAIRS, recipients[: len(recipients) // 2])
    givers = paired(random, PAIRS, donors[: max(1, len(donors) // 2)])
    made = np.concatenate(
        [pasted(seen.pixels[few], seen.pixels[givers], np.repeat(box[None], PAIRS, 0))
         for box in boxes]
    )  # fmt: skip
    odds = _log_odds(seen.predict(made)[:, label]).reshape(len(boxes), PAIRS)
    best = boxes[(odds - _log_odds(seen.answers[few, label])).mean(1).argmax()]
    others = recipients[len(recipients) // 2 :]
    givers = paired(random, len(others), donors[len(donors) // 2 :])
    controls = _unrelated(seen, others, [label], random)
    rows = np.repeat(best[None], len(others), 0)
    onto, base = seen.pixels[others], seen.answers[others, label]
    rises = [
        rise(seen.predict, pasted(onto, seen.pixels[from_], rows), label, base)
        for from_ in (givers, controls)
    ]
    found = shift(rises[0], rises[1], others, givers, controls, seen.seed)
    x0, y0, x1, y1 = best.tolist()
    region = (x0 / width, y0 / height, x1 / width, y1 / height)
    return replace(leak, region=region, region_effect=found)


def _log_odds(p: Floats) -> Floats:
    safe = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(safe / (1 - safe)))


def _whole(seen: Scene, files: Sequence[str] | None) -> list[WholeLeak]:
    """Properties beyond the gate, and the effect of those that can be transplanted."""
    values = image_properties(seen.pixels)
    if files is not None:
        values |= file_properties(files)
    try:
        told = [one for one in telling_properties(values, seen.labels, seed=seen.seed) if one.tells]
    except InputError:  # too few images of two classes once near-duplicates are out
        return []
    told.sort(key=lambda one: -one.auc)
    return [_of_property(seen, one, at < MOST_WHOLE) for at, one in enumerate(told)]


def _of_property(seen: Scene, told: Property, tried: bool) -> WholeLeak:
    change = CHANGES.get(told.name)
    leak = WholeLeak(seen.of(told.label), told)
    recipients = np.flatnonzero(seen.right & (seen.labels != told.label))
    donors = np.flatnonzero(seen.labels == told.label)
    if change is None or not tried or len(recipients) < LIMITS.fewest:
        return leak
    random = np.random.default_rng((seen.seed, told.label, len(told.name)))
    chosen = np.sort(random.permutation(recipients)[: RECIPIENTS // 2])
    givers = paired(random, len(chosen), donors)
    controls = _unrelated(seen, chosen, [told.label], random)
    onto, base = seen.pixels[chosen], seen.answers[chosen, told.label]
    rises = [
        rise(seen.predict, change(onto, seen.pixels[from_]), told.label, base)
        for from_ in (givers, controls)
    ]
    effect: Shift = shift(rises[0], rises[1], chosen, givers, controls, seen.seed)
    return replace(leak, effect=effect, recipients=len(chosen))


def _corrected(
    leaks: list[ClassLeak], whole: list[WholeLeak]
) -> tuple[list[ClassLeak], list[WholeLeak]]:
    """P adjusted over all effects that were tried."""
    raw = [one.effect.same.p if one.effect else np.nan for one in leaks]
    raw += [one.effect.p if one.effect else np.nan for one in whole]
    p = adjusted(raw).tolist()
    first = [replace(one, p=value) for one, value in zip(leaks, p, strict=False)]
    return first, [replace(one, p=value) for one, value in zip(whole, p[len(leaks) :], strict=True)]


def _power(pool: Pool, leaks: Sequence[ClassLeak], seed: int) -> tuple[Power, ...]:
    """How often planted marks are found in the class with the middle number of images."""
    usable = sorted(
        (one for one in leaks if one.right >= LIMITS.fewest), key=lambda one: one.images
    )
    if not usable:
        return ()
    label = usable[len(usable) // 2].of.index
    return tuple(
        search_power(pool, label, size=0.15, opacity=opacity, trials=TRIALS, seed=seed)
        for opacity in (1.0, 0.5)
    )


def _repeated(clusters: Sequence[Cluster], names: Sequence[str]) -> tuple[Repeated, ...]:
    across = [one for one in clusters if one.across_classes]
    groups = tuple(tuple(names[at] for at in one.images) for one in across)
    return (Repeated("classes", groups),) if groups else ()
