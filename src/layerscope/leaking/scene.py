"""The images in which leaks are sought, in memory, and what the model says of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images import Source
from layerscope.images.decode import Channels, decode
from layerscope.images.resize import resize
from layerscope.interventions.answers import are_probabilities, probabilities
from layerscope.interventions.jpeg import reencoded
from layerscope.interventions.transplant import Predict, Shift, paired, rise, shift
from layerscope.leakage.pool import FEWEST
from layerscope.run.crops import pixels_at
from layerscope.run.local import Compute
from layerscope.vocabulary import Class, Floats

MOST_BYTES = 2**30
"""Of the images that are looked at."""
MOST_PER_CLASS = 200


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
        photos: (N,), equal for images that were cut from one photo; ``None`` where each is alone.
        recode: some images and a quality -> the same images as if their files had been saved as
            JPEG of that quality; ``None`` where they are no files.
    """

    pixels: Floats = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    answers: Floats = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    classes: tuple[str, ...]
    predict: Predict = field(repr=False)
    seed: int = 0
    photos: NDArray[np.int64] | None = field(default=None, repr=False)
    recode: Callable[[NDArray[np.int64], int], Floats] | None = field(default=None, repr=False)

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
        recode = self.recode
        return replace(
            self,
            pixels=self.pixels[places],
            labels=self.labels[places],
            answers=self.answers[places],
            names=tuple(self.names[at] for at in places),
            photos=None if self.photos is None else self.photos[places],
            recode=recode and (lambda at, quality: recode(places[at], quality)),
        )


def scene(
    source: Source,
    compute: Compute,
    predictions: Floats,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    rows: int,
    seed: int,
    how: str = "stretch",
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
        how: files came to their size, see `layerscope.images.resize.resize`.

    Raises:
        InputError: it is a stream, or fewer than two classes have enough images.
    """
    known = np.flatnonzero((labels >= 0) & np.isfinite(predictions).all(1))
    if not len(known):
        raise InputError("Leaks are sought in labelled images, and none of these has a label.")
    (_, first), *_ = pixels_at(source, known[:1].tolist())
    places = _spread(labels, known, 4 * first.size)
    found = [(at, x) for at, x in pixels_at(source, places) if x.shape == first.shape]
    at = np.array([place for place, _ in found])
    ids = source.ids or ()
    photos = _photos(source, at)
    likely = are_probabilities(predictions[known])
    return Scene(
        np.stack([image for _, image in found]).astype(np.float32),
        labels[at],
        probabilities(predictions[at], likely),
        tuple(ids[place] for place in at),
        tuple(classes),
        _predicting(compute, rows, likely),
        seed,
        photos,
        _recoding(source, at, first.shape, how),
    )


def _photos(source: Source, at: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """A number per image, where any two were cut from one photo."""
    if source.photos is None:
        return None
    names, of = np.unique([source.photos[place] for place in at], return_inverse=True)
    return None if len(names) == len(at) else of.astype(np.int64)


def _spread(labels: NDArray[np.int64], known: NDArray[np.int64], size: int) -> list[int]:
    """Places of images of each class, evenly spread, as many as memory allows."""
    usable = np.flatnonzero(np.bincount(labels[known], minlength=1) >= FEWEST)
    if len(usable) < 2:
        raise InputError(
            f"Leaks are sought between at least two classes with {FEWEST} labelled images each, "
            f"and {len(usable)} of the classes of these images have so many."
        )
    each = int(max(20, min(MOST_PER_CLASS, MOST_BYTES // (size * len(usable)))))
    places: list[int] = []
    for label in usable:
        own = known[labels[known] == label]
        even = np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int)
        places += own[even].tolist()
    return sorted(places)


def _predicting(compute: Compute, rows: int, likely: bool) -> Predict:
    def predict(images: Floats) -> Floats:
        parts = [compute(images[start : start + rows])[1] for start in range(0, len(images), rows)]
        found = np.concatenate([part for part in parts if part is not None])
        return probabilities(found, likely)

    return predict


def _recoding(
    source: Source, at: NDArray[np.int64], shape: tuple[int, ...], how: str
) -> Callable[[NDArray[np.int64], int], Floats] | None:
    """A way to save the files of some images again."""
    files = source.files
    if files is None:
        return None
    channels: Channels = 1 if shape[2] == 1 else 3

    def recode(some: NDArray[np.int64], quality: int) -> Floats:
        saved = [reencoded(decode(files[at[one]], channels).pixels, quality) for one in some]
        return np.stack([resize(pixels, (shape[0], shape[1]), how) for pixels in saved])

    return recode


def compared(
    seen: Scene,
    label: int,
    recipients: NDArray[np.int64],
    donors: NDArray[np.int64],
    controls: NDArray[np.int64],
    change: Callable[[Floats, Floats], Floats],
) -> Shift:
    """What changing recipients by donors does to a class, beyond the same by controls.

    Args:
        seen: the images.
        label: whose probability is looked at.
        recipients: (n,), places of the images that are changed.
        donors: (n,), of those that they are changed by.
        controls: (n,), of images that have nothing to do with the class.
        change: recipients and donors, (n, H, W, C) each -> changed recipients.
    """
    onto, base = seen.pixels[recipients], seen.answers[recipients, label]
    marked, control = (
        rise(seen.predict, change(onto, seen.pixels[from_]), label, base)
        for from_ in (donors, controls)
    )
    return shift(marked, control, recipients, donors, controls, seen.seed)


def drawn_recipients(
    seen: Scene, sharing: Sequence[int], most: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Places of rightly classified images that something is given to, in order, ``most`` at most.

    Args:
        seen: the images.
        sharing: classes that have it already.
        most: how many.
        random: draws them.
    """
    others = np.flatnonzero(seen.right & ~np.isin(seen.labels, sharing))
    return np.sort(random.permutation(others)[:most])


def unrelated(
    seen: Scene, recipients: NDArray[np.int64], sharing: Sequence[int], random: np.random.Generator
) -> NDArray[np.int64]:
    """For each recipient an image of a third class; with two classes another of its own.

    Args:
        seen: the images.
        recipients: (n,), places of images.
        sharing: classes that controls must not come from.
        random: draws them.
    """
    found = np.empty(len(recipients), np.int64)
    for label in np.unique(seen.labels[recipients]):
        third = np.flatnonzero(~np.isin(seen.labels, [label, *sharing]))
        pool = third if len(third) else np.flatnonzero(seen.labels == label)
        here = np.flatnonzero(seen.labels[recipients] == label)
        found[here] = paired(random, len(here), pool)
    return found
