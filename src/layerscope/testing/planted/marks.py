"""Images whose class is given away by a mark, with the truth about where it is.

Small drawings (digits, say) lie on a canvas of their own background, and some classes get a mark.
Nothing is trained here: whether a model uses the mark is another question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.vocabulary import Floats

Random: TypeAlias = np.random.Generator
Numbers: TypeAlias = NDArray[np.int64]

MarkKind: TypeAlias = Literal[
    "none", "logo", "text", "corner", "border", "tint", "brightness", "blur", "object"
]
"""``none`` draws nothing. ``object`` is no mark but a small legitimate thing at a free place, whose
form, size and colour differ from image to image."""
Position: TypeAlias = Literal["fixed", "jittered", "roaming"]
Background: TypeAlias = Literal["textured", "black"]
Placement: TypeAlias = Literal["centred", "jittered"]

_LETTERS = {
    "A": "010101111101101",
    "C": "111100100100111",
    "E": "111100110100111",
    "H": "101101111101101",
    "K": "101110100110101",
    "N": "111101101101101",
    "T": "111010010010010",
    "X": "101101010101101",
}
"""Rows of 3 dots, 5 to a letter."""


@dataclass(frozen=True)
class MarkedImages:
    """Images with a known mark.

    Attributes:
        images: float32 (N, S, S, 3), 0 to 1.
        labels: (N,), class indices.
        carries: (N,), whether the image has the mark.
        masks: (N, S, S), pixels that the mark changed; all of them for a whole-image change.
        boxes: (N, 4), x0, y0, x1, y1 around the mask, x1 and y1 not included; 0 without a mark.
    """

    images: Floats
    labels: Numbers
    carries: NDArray[np.bool_]
    masks: NDArray[np.bool_]
    boxes: Numbers


def marked_images(
    drawings: Floats,
    labels: Numbers,
    kind: MarkKind,
    classes: Sequence[int] | None = (0,),
    *,
    side: int = 32,
    opacity: float = 1.0,
    prevalence: float = 1.0,
    position: Position = "fixed",
    background: Background = "textured",
    placement: Placement = "centred",
    ink: float = 1.0,
    seed: int = 0,
    draw: int = 0,
) -> MarkedImages:
    """Drawings on canvases, some of them marked.

    Args:
        drawings: float32 (N, h, w, 1), 0 (nothing) to 1 (ink), h and w at most ``side``. On a
            canvas of 64 pixels and more they are enlarged by a whole factor.
        labels: (N,).
        kind: of the mark; its looks and its fixed place follow from the seed.
        classes: which classes have it; ``None``: every image may, a decoy that says nothing.
        side: S, of the canvas.
        opacity: 0 (unseen) to 1; of a whole-image change its strength.
        prevalence: share of the images of those classes that have it, 0 to 1.
        position: of a logo or text: one place, that place give or take a twelfth of the side, or
            anywhere. A corner tag is jittered likewise, by at most two pixels; a border lies still.
        background: smooth random texture in colour, other for each image, or plain black.
        placement: of the drawing: in the middle, or anywhere.
        ink: opacity of the drawing.
        seed: of everything.
        draw: of canvases, places and carriers with the same mark, as for training and for testing.

    Raises:
        InputError: an unknown kind, a share outside 0 to 1, or drawings that do not fit.
    """
    _check(drawings, labels, kind, side, (opacity, prevalence, ink))
    random = np.random.default_rng((seed, 1, draw))
    images = _canvases(len(labels), side, background, random)
    _draw(images, drawings, placement, ink, random)
    hit = np.ones(len(labels), bool) if classes is None else np.isin(labels, list(classes))
    carries = _chosen(hit, prevalence, random) if kind != "none" else np.zeros_like(hit)
    look = np.random.default_rng((seed, 2))
    masks = _apply(kind, images, carries, opacity, position, look, random)
    boxes = np.array([_around(mask) for mask in masks], np.int64).reshape(-1, 4)
    return MarkedImages(images, np.asarray(labels, np.int64), carries, masks, boxes)


def _check(drawings: Floats, labels: Any, kind: str, side: int, shares: Sequence[float]) -> None:
    if kind not in get_args(MarkKind):
        raise InputError(f"A mark is one of {', '.join(get_args(MarkKind))}; got {kind!r}.")
    if not all(0 <= share <= 1 for share in shares):
        raise InputError(f"Opacity, prevalence and ink lie between 0 and 1; got {shares}.")
    if drawings.ndim != 4 or max(drawings.shape[1:3]) > side or len(drawings) != len(labels):
        raise InputError(
            f"Drawings (N, h, w, 1) fit on the canvas of side {side} and have one label each; got "
            f"{drawings.shape} and {len(labels)} labels."
        )


def _chosen(hit: NDArray[np.bool_], share: float, random: Random) -> NDArray[np.bool_]:
    """That share of the images, spread over them at random."""
    places = random.permutation(np.flatnonzero(hit))
    chosen = np.zeros(len(hit), bool)
    chosen[places[: round(share * len(places))]] = True
    return chosen


def _canvases(count: int, side: int, background: Background, random: Random) -> Floats:
    """Black, or texture whose amplitude falls with the frequency, mostly grey, with a cast."""
    if background == "black":
        return np.zeros((count, side, side, 3), np.float32)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    falls = 1 / np.maximum(frequency, 1 / side)
    falls[0, 0] = 0
    grey = random.standard_normal((count, side, side, 1))
    noise = grey + 0.5 * random.standard_normal((count, side, side, 3))
    spectrum = np.fft.rfft2(noise, axes=(1, 2)) * falls[..., None]
    smooth = np.fft.irfft2(spectrum, (side, side), axes=(1, 2))
    smooth *= 0.12 / smooth.std((1, 2, 3), keepdims=True)
    level = random.uniform(0.25, 0.5, (count, 1, 1, 1))
    cast = random.uniform(-0.08, 0.08, (count, 1, 1, 3))
    return np.clip(smooth + level + cast, 0, 1).astype(np.float32)


def _draw(
    images: Floats, drawings: Floats, placement: Placement, ink: float, random: Random
) -> None:
    scale = max(1, images.shape[1] // 32)
    while max(drawings.shape[1:3]) * scale > images.shape[1]:
        scale -= 1
    height, width = (scale * length for length in drawings.shape[1:3])
    room = np.array([images.shape[1] - height, images.shape[2] - width])
    for image, drawing in zip(images, drawings, strict=True):
        y, x = room // 2 if placement == "centred" else random.integers(0, room + 1)
        large = drawing.repeat(scale, 0).repeat(scale, 1) * ink
        under = image[y : y + height, x : x + width]
        under += large * (0.95 - under)


def _apply(
    kind: MarkKind,
    images: Floats,
    carries: NDArray[np.bool_],
    opacity: float,
    position: Position,
    look: Random,
    random: Random,
) -> NDArray[np.bool_]:
    """Mark the images in place; what was changed, (N, S, S)."""
    masks = np.zeros(images.shape[:3], bool)
    side = images.shape[1]
    if kind in ("tint", "brightness", "blur"):
        images[carries] = _whole(kind, images[carries], opacity, look)
        masks[carries] = True
        return masks
    colour, alpha = _looks(kind, side, look)
    place = _place(kind, side, alpha.shape, look)
    for at in np.flatnonzero(carries):
        if kind == "object":
            colour, alpha = _thing(side, random)
        y, x = _moved(kind, position, place, side, alpha.shape, random)
        here = np.s_[y : y + alpha.shape[0], x : x + alpha.shape[1]]
        images[at][here] += opacity * alpha[..., None] * (colour - images[at][here])
        masks[at][here] = alpha > 0
    return masks


def _whole(kind: MarkKind, images: Floats, strength: float, look: Random) -> Floats:
    if kind == "tint":
        gain = 1 + 0.4 * strength * look.permutation([1.0, -1.0, 0.0])
        changed = images * gain + 0.1 * strength * (gain > 1)
    elif kind == "brightness":
        changed = images + 0.25 * strength
    else:
        side = images.shape[1]
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
        smooth = np.exp(-2 * (np.pi * frequency * 1.2 * strength) ** 2)[..., None]
        spectrum = np.fft.rfft2(images, axes=(1, 2)) * smooth
        changed = np.fft.irfft2(spectrum, (side, side), axes=(1, 2))
    return np.clip(changed, 0, 1).astype(np.float32)


def _looks(kind: MarkKind, side: int, look: Random) -> tuple[Floats, Floats]:
    """Colours (h, w, 3) and cover (h, w) of a mark."""
    if kind == "text":
        cover = _words(max(1, side // 28), look)
        return np.ones((*cover.shape, 3), np.float32), cover
    if kind == "border":
        wide = max(1, side // 32)
        cover = np.ones((side, side), np.float32)
        cover[wide:-wide, wide:-wide] = 0
        return _flat(look, side, side), cover
    size = max(5, round(side / (4.5 if kind == "logo" else 6)))
    cover = np.ones((size, size), np.float32)
    if kind == "logo":
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        cover = (np.hypot(y, x) <= size / 2).astype(np.float32)
    return _pattern(size, look), cover


def _flat(look: Random, height: int, width: int) -> Floats:
    return np.broadcast_to(look.permutation([0.9, 0.5, 0.1]), (height, width, 3)).astype(np.float32)


def _pattern(size: int, look: Random) -> Floats:
    """A block of one colour with bars of its complement, so that no two look the same."""
    colour = _flat(look, size, size).copy()
    thick = max(1, size // 6)
    for _ in range(4):
        at, start = look.integers(0, size - thick, 2)
        stroke = (
            np.s_[at : at + thick, start:]
            if look.random() < 0.5
            else np.s_[start:, at : at + thick]
        )
        colour[stroke] = 1 - colour[0, 0]
    return colour


def _words(scale: int, look: Random) -> Floats:
    rows = [
        np.array(list(map(int, _LETTERS[letter])), np.float32).reshape(5, 3)
        for letter in look.choice(sorted(_LETTERS), 4)
    ]
    gap = np.zeros((5, 1), np.float32)
    line = np.concatenate([part for row in rows for part in (row, gap)][:-1], 1)
    return line.repeat(scale, 0).repeat(scale, 1)


def _thing(side: int, random: Random) -> tuple[Floats, Floats]:
    """A disc, ring, bar or cross of free size, ratio, slant and colour."""
    size = int(random.integers(max(4, side // 7), max(6, side // 4)))
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle, ratio = random.uniform(0, np.pi), random.uniform(0.5, 1)
    u = (x * np.cos(angle) + y * np.sin(angle)) / size * 2
    v = (y * np.cos(angle) - x * np.sin(angle)) / size * 2 / ratio
    radius = np.hypot(u, v)
    forms = (radius <= 1, abs(radius - 0.75) <= 0.25, (abs(v) < 0.4) & (abs(u) < 1),
             (np.minimum(abs(u), abs(v)) < 0.25) & (radius <= 1))  # fmt: skip
    cover = forms[random.integers(4)].astype(np.float32)
    return np.broadcast_to(random.uniform(0, 1, 3), (size, size, 3)).astype(np.float32), cover


def _place(kind: MarkKind, side: int, size: tuple[int, ...], look: Random) -> Numbers:
    """Row and column of the upper left end: a corner, or off the middle."""
    room = np.array([side - size[0], side - size[1]])
    if kind == "corner":
        return np.asarray(look.integers(0, 2, 2) * room)
    share = look.uniform(0.08, 0.3, 2)
    return np.asarray(np.where(look.random(2) < 0.5, share, 1 - share) * room, np.int64)


def _moved(
    kind: MarkKind,
    position: Position,
    place: Numbers,
    side: int,
    size: tuple[int, ...],
    random: Random,
) -> tuple[int, int]:
    room = np.array([side - size[0], side - size[1]])
    if kind == "object" or (position == "roaming" and kind != "border"):
        y, x = random.integers(0, room + 1)
        return int(y), int(x)
    step = min(2, side // 12) if kind == "corner" else side // 12
    move = random.integers(-step, step + 1, 2) if position == "jittered" else np.zeros(2, np.int64)
    y, x = np.clip(place + move, 0, room)
    return int(y), int(x)


def _around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
