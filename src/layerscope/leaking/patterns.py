"""What the pattern of a class does in images of other classes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.leakage import LIMITS, ClassLeak
from layerscope.interventions.transplant import (
    Transplanted,
    necessity,
    paired,
    pasted,
    transplanted,
)
from layerscope.leakage.copies import Copies
from layerscope.leakage.pool import FEWEST
from layerscope.leaking.scene import Scene, drawn_recipients, unrelated
from layerscope.vocabulary import Floats

RECIPIENTS = 120
"""Images of other classes that a pattern is pasted into; up to 200 make the interval narrower."""
NECESSARY = 40
"""Images of the class that are tried without the pattern."""
PASSES = 4 * RECIPIENTS + NECESSARY
"""Images that go through the model for one class at most."""
SHOWN = 4
COPIES = 6
"""Images of the class whose copy is shown."""


def described(seen: Scene, copies: Copies) -> ClassLeak:
    """What is known of a class before the model is asked."""
    own = seen.labels == copies.label
    height, width = seen.pixels.shape[1:3]
    x0, y0, x1, y1 = copies.box
    covers = (x1 - x0) * (y1 - y0) / (height * width)
    right = int((own & seen.right).sum())
    return ClassLeak(seen.of(copies.label), int(own.sum()), right, copies, covers)


def recipients_of(seen: Scene, copies: Copies) -> NDArray[np.int64]:
    """Rightly classified images of classes that do not share the pattern, at most `RECIPIENTS`."""
    random = np.random.default_rng((seen.seed, copies.label))
    return drawn_recipients(seen, [copies.label, *copies.shared], RECIPIENTS, random)


def tried(seen: Scene, leak: ClassLeak, recipients: NDArray[np.int64]) -> ClassLeak:
    """Paste the copies of a class into other images, and take them out of its own."""
    copies, random = leak.copies, np.random.default_rng((seen.seed, leak.of.index, 1))
    assert copies is not None
    label = copies.label
    carriers = np.flatnonzero(copies.carries)
    # The last of the images took no part in choosing the pattern.
    judges = carriers[carriers >= len(copies.images) - copies.judged[0]]
    judges = judges if len(judges) >= FEWEST else carriers
    drawn = paired(random, len(recipients), judges)
    controls = unrelated(seen, recipients, [label, *copies.shared], random)
    effect = transplanted(
        seen.predict, seen.pixels, label, recipients, copies.images[drawn], copies.places[drawn],
        controls, seen.answers[recipients, label], seen.seed,
    )  # fmt: skip
    some = judges[:NECESSARY]
    fillers = paired(random, len(some), recipients)
    lost = necessity(
        seen.predict, seen.pixels, label, copies.images[some], copies.places[some], fillers,
        seen.answers[copies.images[some], label],
    )  # fmt: skip
    return replace(
        leak,
        effect=effect,
        necessity=lost,
        shown=_shown(seen, effect),
        montage=_montage(seen, copies, judges),
    )


def testable(leak: ClassLeak, recipients: NDArray[np.int64]) -> bool:
    """Whether there are images enough to say anything."""
    return min(leak.right, len(recipients)) >= LIMITS.fewest


def _montage(seen: Scene, copies: Copies, carriers: NDArray[np.int64]) -> tuple[Floats, ...]:
    """The pattern as some images have it, those first that the edge does not cut off."""
    boxes = copies.places[carriers]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    some = carriers[np.argsort(-areas, kind="stable")][:COPIES]
    return tuple(
        seen.pixels[copies.images[at]][y0:y1, x0:x1]
        for at, (x0, y0, x1, y1) in zip(some, copies.places[some].tolist(), strict=True)
    )


def _shown(seen: Scene, effect: Transplanted) -> tuple[tuple[Floats, Floats], ...]:
    """Recipients before and after, spread over how far they moved."""
    order = np.argsort(-effect.rises)
    at = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
    before = seen.pixels[effect.recipients[at]]
    after = pasted(before, seen.pixels[effect.donors[at]], effect.boxes[at])
    return tuple(zip(before, after, strict=True))
