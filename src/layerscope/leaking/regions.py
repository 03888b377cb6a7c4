"""Regions whose patches raise the probability of a class, whether or not anything repeats there.

Windows of a class are pasted into images of other classes, coarse ones first and smaller ones
within the best; half of the images choose, the other half confirm. By the rise and not by the fall
in the class's own images: where the object suffices, taking the mark away changes nothing.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from layerscope.audit.leakage import ClassLeak
from layerscope.images.region import shares
from layerscope.interventions.transplant import paired, pasted
from layerscope.leaking.patterns import RECIPIENTS
from layerscope.leaking.scene import Scene, compared, unrelated
from layerscope.vocabulary import Floats

Boxes = NDArray[np.int64]

COARSE, FINE = 5, 3
"""Windows along a side of the image, a third of it long, and of the best of them, half as long."""
PAIRS = 6
"""Images that each window is tried in."""
PASSES = (COARSE**2 + FINE**2) * PAIRS + RECIPIENTS
"""Images that go through the model for one class at most."""
_HELD = 0.8
"""Share of the rise of the coarse window that a smaller one must keep to be taken instead."""


def scanned(seen: Scene, leak: ClassLeak, recipients: NDArray[np.int64]) -> ClassLeak:
    """The window that raises the probability of a class most, confirmed on other images."""
    label, random = leak.of.index, np.random.default_rng((seen.seed, leak.of.index, 2))
    height, width = seen.pixels.shape[1:3]
    donors = np.flatnonzero((seen.labels == label) & seen.right)
    half = len(recipients) // 2
    few = paired(random, PAIRS, recipients[:half])
    givers = paired(random, PAIRS, donors[: max(1, len(donors) // 2)])
    side = max(2, round(min(height, width) / 3))
    coarse = _windows((0, 0, width, height), side, COARSE)
    rises = _rises(seen, label, few, givers, coarse)
    best, most = coarse[rises.argmax()], rises.max()
    fine = _windows(best.tolist(), max(2, side // 2), FINE)
    rises = _rises(seen, label, few, givers, fine)
    if rises.max() >= _HELD * most:
        best = fine[rises.argmax()]
    others = recipients[half:]
    givers = paired(random, len(others), donors[len(donors) // 2 :])
    controls = unrelated(seen, others, [label], random)
    boxes = np.repeat(best[None], len(others), 0)
    found = compared(
        seen, label, others, givers, controls, lambda onto, by: pasted(onto, by, boxes)
    )
    return replace(leak, region=shares(best.tolist(), (height, width)), region_effect=found)


def _windows(within: tuple[int, int, int, int] | list[int], side: int, count: int) -> Boxes:
    """Squares spread evenly over a part of the image."""
    x0, y0, x1, y1 = within
    tops, lefts = (
        np.linspace(low, max(low, high - side), count).round().astype(int)
        for low, high in ((y0, y1), (x0, x1))
    )
    return np.array([(x, y, x + side, y + side) for y in tops for x in lefts], np.int64)


def _rises(
    seen: Scene, label: int, onto: NDArray[np.int64], givers: NDArray[np.int64], boxes: Boxes
) -> NDArray[np.float64]:
    """Mean rise of the log-odds by each window; probabilities near 0 or 1 hide what helps."""
    made = np.concatenate(
        [
            pasted(seen.pixels[onto], seen.pixels[givers], np.repeat(box[None], len(onto), 0))
            for box in boxes
        ]
    )
    odds = _log_odds(seen.predict(made)[:, label]).reshape(len(boxes), len(onto))
    return np.asarray((odds - _log_odds(seen.answers[onto, label])).mean(1), np.float64)


def _log_odds(p: Floats) -> Floats:
    safe = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(safe / (1 - safe)))
