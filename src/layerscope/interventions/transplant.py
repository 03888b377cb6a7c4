"""Patches of one image pasted into others, and what that does to the model's answers.

A heatmap may nominate a region; whether the answer depends on it is settled here, on raw pixels at
the size that the model sees, before preprocessing. Each recipient gets the patch of a donor of the
suspected class, and the same box from an image that has nothing to do with it; what pasting alone
does to the answer is in both and cancels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]
Places = NDArray[np.int64]
Predict: TypeAlias = Callable[[Floats], Floats]
"""Raw images (n, H, W, C) at the size of the model -> probabilities (n, K)."""

FEATHER = 1
"""Pixels over which a patch fades into the recipient, outside its box."""
DRAWS = 2000
_FLIPS = 4999


@dataclass(frozen=True)
class Shift:
    """How far a probability moves.

    Attributes:
        value: mean over recipients, -1 to 1.
        low, high: its 95 % interval over donors and recipients.
        p: one-sided, by flipping signs over recipients.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Transplanted:
    """What the patch of a class does to images of other classes.

    Attributes:
        label: the class that the patch comes from.
        same: rise of its probability, patches at their own places, less that of a control patch.
        anywhere: the same at random places.
        moved: share of the recipients that are called that class afterwards, and of the controls.
        recipients: (n,), positions of the images pasted into.
        donors: (n,), positions of those that the patches come from.
        boxes: (n, 4), x0, y0, x1, y1 of each patch.
        rises: (n,), rise of the probability in each recipient, control not taken off.
    """

    label: int
    same: Shift
    anywhere: Shift
    moved: tuple[float, float]
    recipients: Places = field(repr=False)
    donors: Places = field(repr=False)
    boxes: Places = field(repr=False)
    rises: Floats = field(repr=False)


def pasted(
    recipients: Floats, donors: Floats, boxes: Places, places: Places | None = None
) -> Floats:
    """Copies of images with a patch from others.

    Args:
        recipients: float32 (n, H, W, C).
        donors: (n, H, W, C).
        boxes: (n, 4), x0, y0, x1, y1 of each patch in its donor, at most the image.
        places: (n, 2), y and x of the upper left corner in the recipient; default as in the donor.

    Returns:
        float32 (n, H, W, C).
    """
    made = np.array(recipients, np.float32)
    height, width = made.shape[1:3]
    for at, (image, donor, box) in enumerate(zip(made, donors, boxes.tolist(), strict=True)):
        x0, y0, x1, y1 = box
        to_y, to_x = (y0, x0) if places is None else places[at].tolist()
        # Wider by the feather, as far as both images reach.
        up = min(FEATHER, y0, to_y)
        left = min(FEATHER, x0, to_x)
        down = min(FEATHER, height - y1, height - to_y - (y1 - y0))
        right = min(FEATHER, width - x1, width - to_x - (x1 - x0))
        fade = np.outer(_ramp(y1 - y0, up, down), _ramp(x1 - x0, left, right))[..., None]
        patch = donor[y0 - up : y1 + down, x0 - left : x1 + right]
        under = image[to_y - up : to_y + y1 - y0 + down, to_x - left : to_x + x1 - x0 + right]
        under += fade * (patch - under)
    return made


def _ramp(length: int, before: int, after: int) -> Floats:
    """1 inside, falling to 0 over the feather on either side."""
    rise = np.arange(1, before + 1) / (before + 1)
    fall = np.arange(after, 0, -1) / (after + 1)
    return np.concatenate([rise, np.ones(length), fall]).astype(np.float32)


def transplanted(
    predict: Predict,
    images: Floats,
    label: int,
    recipients: Places,
    donors: Places,
    boxes: Places,
    controls: Places,
    base: Floats,
    seed: int = 0,
) -> Transplanted:
    """Paste the patches of a class into images of others and compare with control patches.

    Args:
        predict: gives probabilities.
        images: (N, H, W, C), raw.
        label: the class of the patches.
        recipients: (n,), positions of images of other classes that are classified rightly.
        donors: (n,), position of the image whose patch each gets.
        boxes: (n, 4), where the patch lies in it.
        controls: (n,), position of an image of a third class for each.
        base: (n,), probability of the class for each recipient as it is.
        seed: of places and resamples.

    Returns:
        The shifts; 4 n images were predicted.
    """
    random = np.random.default_rng((seed, label))
    onto, sides = images[recipients], boxes[:, [3, 2]] - boxes[:, [1, 0]]
    room = np.array(images.shape[1:3]) - sides
    anywhere = np.floor(random.random((len(onto), 2)) * (room + 1)).astype(np.int64)
    answers = [
        predict(pasted(onto, images[source], boxes, places))
        for places in (None, anywhere)
        for source in (donors, controls)
    ]
    rises = [np.asarray(found[:, label] - base, np.float64) for found in answers]
    called = [float((found.argmax(1) == label).mean()) for found in answers[:2]]
    return Transplanted(
        label,
        shift(rises[0], rises[1], recipients, donors, controls, seed),
        shift(rises[2], rises[3], recipients, donors, controls, seed),
        (called[0], called[1]),
        recipients,
        donors,
        boxes,
        rises[0].astype(np.float32),
    )


def shift(
    marked: Doubles, control: Doubles, recipients: Places, donors: Places, controls: Places,
    seed: int = 0,
) -> Shift:  # fmt: skip
    """Mean of what a change does beyond what its control does, with its interval.

    Donors and recipients are both resampled, and an outcome counts by the product of how often its
    two images were drawn (pigeonhole bootstrap, Owen 2007): donors that serve several recipients
    make these alike.

    Args:
        marked: (n,), rises of the probability.
        control: (n,), the same with control patches.
        recipients: (n,), which image each was pasted into.
        donors: (n,), which image the patch came from.
        controls: (n,), which image the control patch came from.
        seed: of the resamples.
    """
    random = np.random.default_rng((seed, 7))
    of_recipient, of_donor, of_control = (
        _weights(names, random) for names in (recipients, donors, controls)
    )
    with np.errstate(invalid="ignore"):
        drawn = _weighted(marked, of_recipient * of_donor)
        drawn -= _weighted(control, of_recipient * of_control)
    low, high = np.clip(np.nanquantile(drawn, (0.025, 0.975)), -1, 1)
    differences = marked - control
    flips = random.choice((-1.0, 1.0), (_FLIPS, len(differences)))
    beaten = (flips @ differences >= differences.sum() - 1e-12).sum()
    return Shift(
        float(np.clip(differences.mean(), -1, 1)),
        float(low),
        float(high),
        float((1 + beaten) / (1 + _FLIPS)),
    )


def rise(predict: Predict, changed: Floats, label: int, base: Floats) -> Doubles:
    """By how much the probability of a class rises in changed images, (n,).

    Args:
        predict: gives probabilities.
        changed: (n, H, W, C), raw.
        label: the class.
        base: (n,), its probability before.
    """
    return np.asarray(predict(changed)[:, label] - base, np.float64)


def _weights(names: Places, random: np.random.Generator) -> Doubles:
    """How often the image of each outcome is drawn, (DRAWS, n)."""
    members = np.unique(names, return_inverse=True)[1]
    count = int(members.max()) + 1
    times = random.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    return np.asarray(times[:, members], np.float64)


def _weighted(values: Doubles, weights: Doubles) -> Doubles:
    return np.asarray((weights @ values) / weights.sum(1))


def necessity(
    predict: Predict, images: Floats, label: int, carriers: Places, boxes: Places, fillers: Places,
    base: Floats,
) -> float:  # fmt: skip
    """Mean fall of the class's probability where its patch is replaced; small if others suffice.

    Args:
        predict: gives probabilities.
        images: (N, H, W, C), raw.
        label: the class.
        carriers: (n,), its images.
        boxes: (n, 4), the patch in each.
        fillers: (n,), images of other classes, whose pixels at the same place are pasted over it.
        base: (n,), probability of the class for each carrier as it is.
    """
    if not len(carriers):
        return float("nan")
    without = predict(pasted(images[carriers], images[fillers], boxes))
    return float((base - without[:, label]).mean())


def paired(random: np.random.Generator, count: int, pool: Sequence[int] | NDArray[Any]) -> Places:
    """``count`` draws from a pool, each member as often as any other."""
    rounds = -(-count // len(pool))
    drawn = np.concatenate([random.permutation(np.asarray(pool)) for _ in range(rounds)])
    return np.asarray(drawn[:count], np.int64)
