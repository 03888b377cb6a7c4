"""Properties of whole images that give a class away, and what they do to the answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.leakage import LIMITS, ClassLeak, WholeLeak, class_verdict, whole_verdict
from layerscope.errors import InputError
from layerscope.interventions.jpeg import QUALITIES
from layerscope.interventions.transplant import Shift, paired, rise, shift
from layerscope.interventions.whole import CHANGES, Change
from layerscope.leakage.properties import (
    Property,
    file_properties,
    frame,
    image_properties,
    telling_properties,
)
from layerscope.leaking.scene import Scene, compared, drawn_recipients, unrelated
from layerscope.vocabulary import Floats

RECIPIENTS = 60
"""Images of other classes that a property is given to."""
MOST = 12
"""Changes that are tried, of the properties that tell best."""
PASSES = 2 * RECIPIENTS
"""Images that go through the model for one change; saving as JPEG takes others."""
SMALLEST = 64
"""Pixels of the shorter side from which images have blocks enough to be saved as JPEG."""
SHOWN = 4
"""Images that are shown before and after a change."""
_SAVED = ("jpeg", "sharpness", "spectrum")
"""Properties that the quality of a JPEG changes."""
_OF_MIDDLE = ("colour", "contrast", "spectrum", "sharpness")
"""Properties that an object in the middle changes."""


def telling(seen: Scene, files: Sequence[str] | None) -> list[Property]:
    """Properties beyond the gate, those that tell best first."""
    values = image_properties(seen.pixels)
    if files is not None:
        values |= file_properties(files)
    try:
        found = telling_properties(values, seen.labels, seen.photos, seen.seed)
        told = _at_the_edges(seen, [one for one in found if one.tells])
    except InputError:  # too few images of two classes
        return []
    return sorted(told, key=lambda one: -one.auc)


def _at_the_edges(seen: Scene, told: Sequence[Property]) -> list[Property]:
    """The same with what their edges tell."""
    names = {one.name for one in told} & set(_OF_MIDDLE)
    if not names:
        return list(told)
    values = image_properties(frame(seen.pixels))
    found = telling_properties(
        {name: values[name] for name in sorted(names)}, seen.labels, seen.photos, seen.seed
    )
    areas = {(one.name, one.label): one.auc for one in found}
    return [
        replace(one, frame=areas.get((one.name, one.label), 0.5)) if one.name in names else one
        for one in told
    ]


def tried(
    seen: Scene, told: Sequence[Property], has_room: Callable[[int], bool]
) -> list[WholeLeak]:
    """The effect of properties that can be given to other images.

    Between two classes what one has the other lacks: of a property of both, only the class stays
    that it moves further.

    Args:
        seen: the images.
        told: properties that tell a class.
        has_room: whether so many more images may go through the model.
    """
    found: list[WholeLeak] = []
    known: dict[tuple[int, Change], WholeLeak] = {}
    for one in told:
        leak, change = WholeLeak(seen.of(one.label), one), CHANGES.get(one.name)
        same = known.get((one.label, change)) if change else None
        if same is not None:  # two properties, one change
            found.append(replace(same, found=one))
            continue
        if len(known) < MOST and has_room(_needs(one.name, seen)):
            leak = _given(seen, leak, change)
        if change:
            known[one.label, change] = leak
        found.append(leak)
    return _of_one_class(found) if len(np.unique(seen.labels)) == 2 else found


def needed(seen: Scene, told: Sequence[Property]) -> int:
    """Images that go through the model at most, for what is tried of some properties."""
    changes: set[tuple[int, Change]] = set()
    images = 0
    for one in told:
        change = CHANGES.get(one.name)
        again = change is not None and (one.label, change) in changes
        images += 0 if again or len(changes) >= MOST else _needs(one.name, seen)
        changes |= {(one.label, change)} if change else set()
    return images


def unsaved(seen: Scene, told: Sequence[Property]) -> str:
    """Why saving as JPEG was not tried, where it might explain a property; empty otherwise."""
    side = min(seen.pixels.shape[1:3])
    if seen.recode is None or side >= SMALLEST or not any(one.name in _SAVED for one in told):
        return ""
    return (
        f"Saving as JPEG of another quality: it needs images of {SMALLEST} pixels and more, and "
        f"the shorter side of these has {side}."
    )


def _needs(name: str, seen: Scene) -> int:
    """Images that go through the model for one property."""
    saved = len(QUALITIES) * RECIPIENTS * _can_be_saved(name, seen)
    return PASSES * (name in CHANGES) + saved


def _can_be_saved(name: str, seen: Scene) -> bool:
    return name in _SAVED and seen.recode is not None and min(seen.pixels.shape[1:3]) >= SMALLEST


def _of_one_class(found: Sequence[WholeLeak]) -> list[WholeLeak]:
    """Each property once, with the class that it moves furthest."""
    furthest: dict[str, WholeLeak] = {}
    for one in found:
        best = furthest.setdefault(one.found.name, one)
        if one.effect and (best.effect is None or one.effect.low > best.effect.low):
            furthest[one.found.name] = one
    return list(furthest.values())


def without_lacks(leaks: Sequence[ClassLeak], looks: Sequence[WholeLeak]) -> list[WholeLeak]:
    """Between two classes, the look of one may be the lack of the other's pattern: left out.

    Args:
        leaks: of the two classes, with p adjusted.
        looks: likewise, as `tried` gives them.
    """
    have = {one.of.index for one in leaks if class_verdict(one) == "confirmed-used"}
    return [
        one
        for one in looks
        if not have or one.of.index in have or whole_verdict(one) == "present-unused"
    ]


def _given(seen: Scene, leak: WholeLeak, change: Change | None) -> WholeLeak:
    label, name = leak.of.index, leak.found.name
    random = np.random.default_rng((seen.seed, label, len(name)))
    chosen = drawn_recipients(seen, [label], RECIPIENTS, random)
    if len(chosen) < LIMITS.fewest:
        return leak
    effects: list[tuple[Shift, str, Floats]] = []
    few = chosen[:SHOWN]
    if change is not None:
        donors = paired(random, len(chosen), np.flatnonzero(seen.labels == label))
        controls = unrelated(seen, chosen, [label], random)
        third = len(np.unique(seen.labels)) > 2
        control = "the same from a third class" if third else "the same from its own class"
        effect = compared(seen, label, chosen, donors, controls, change)
        after = change(seen.pixels[few], seen.pixels[donors[:SHOWN]])
        effects.append((effect, control, after))
    if _can_be_saved(name, seen):
        effect, after = _saved(seen, label, chosen)
        effects.append((effect, "saving as JPEG of another quality", after))
    if not effects:
        return leak
    effect, control, after = max(effects, key=lambda one: one[0].low)
    shown = tuple(zip(seen.pixels[few], after, strict=True))
    return replace(leak, effect=effect, control=control, recipients=len(chosen), shown=shown)


def _saved(seen: Scene, label: int, chosen: NDArray[np.int64]) -> tuple[Shift, Floats]:
    """What saving as JPEG of one quality does, beyond the quality furthest from it.

    The quality is chosen on half of the images and tried on the others.
    """
    assert seen.recode is not None
    rises = np.array(
        [
            rise(seen.predict, seen.recode(chosen, quality), label, seen.answers[chosen, label])
            for quality in QUALITIES
        ]
    )
    half = len(chosen) // 2
    best = int(rises[:, :half].mean(1).argmax())
    furthest = int(np.abs(np.array(QUALITIES) - QUALITIES[best]).argmax())
    places = np.arange(len(chosen) - half)
    effect = shift(rises[best, half:], rises[furthest, half:], places, places, places, seen.seed)
    return effect, seen.recode(chosen[:SHOWN], QUALITIES[best])
