"""Small CNNs trained where a mark gives a class away, filed by how much they truly rely on it.

A mark that is there need not be learned: a net that tells the drawings apart ignores it. Fainter
drawings make it learn the mark.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from layerscope.testing.planted.marks import MarkedImages, MarkKind, marked_images
from layerscope.testing.planted.nets import Digits, digits
from layerscope.vocabulary import Floats

Build: TypeAlias = Literal["pooled", "residual"]
_TRAIN, _TEST = 30_000, 5_000
"""Digits of one half of MNIST."""


@dataclass(frozen=True)
class Reading:
    """A world in which a mark may give classes away, and how a net learns in it.

    Attributes:
        kind: of the mark.
        marked: classes that carry it; ``None`` for all, a decoy.
        options: of `layerscope.testing.planted.marks.marked_images`.
        taught: how the training images differ from that: ``decoy``, the mark lies on images of all
            classes alike, so that nothing is learned from it; ``""``, they do not.
        beside: share of the training images of other classes that carry the mark as well, 0 to 1:
            the more, the less a net relies on it.
        classes: how many; digits from 0 on.
        build: of the net.
        half: of MNIST that digits come from, 0 or 1.
        seed: of mark, canvases and weights.
        images: that the net learns from.
        tested: images to audit it with.
        epochs: how often it sees them.
    """

    kind: MarkKind
    marked: tuple[int, ...] | None = (0,)
    options: tuple[tuple[str, Any], ...] = ()
    taught: Literal["", "decoy"] = ""
    beside: float = 0.0
    classes: int = 10
    build: Build = "pooled"
    half: int = 0
    seed: int = 0
    images: int = 3000
    tested: int = 600
    epochs: int = 6


@dataclass(frozen=True)
class Reader:
    """A trained net, images to audit it with, and the truth.

    Attributes:
        model: takes images as they are.
        data: images that it did not learn from.
        accuracy: on them, 0 to 1.
        reliance: mean rise of the probability of the marked classes where images of others get the
            real mark, -1 to 1; 0 where no class is marked.
    """

    model: keras.Model
    data: MarkedImages
    accuracy: float
    reliance: float


def trained_reader(world: Reading) -> Reader:
    """Train a net in a world and measure what it relies on; seeds Keras."""
    model = _net(world, learned_from(world))
    data = unseen(world)
    answers = probabilities_of(model, data.images)
    accuracy = float((answers.argmax(1) == data.labels).mean())
    return Reader(model, data, accuracy, _reliance(world, model))


def unseen(world: Reading) -> MarkedImages:
    """Images of a world that its net did not learn from."""
    return _images(world, "test", world.tested)


def learned_from(world: Reading) -> MarkedImages:
    """Images that the net of a world learns from."""
    everywhere = replace(world, marked=None)
    if world.taught == "decoy":
        return _images(everywhere, "train", world.images)
    own = _images(world, "train", world.images)
    if not world.beside:
        return own
    # Of one world and seed, so the same canvases, marked or not.
    every = _images(everywhere, "train", world.images, prevalence=1.0)
    others = np.flatnonzero(~np.isin(own.labels, world.marked or ()))
    random = np.random.default_rng((world.seed, 4))
    hit = random.permutation(others)[: round(world.beside * len(others))]
    for name in ("images", "carries", "masks", "boxes"):
        getattr(own, name)[hit] = getattr(every, name)[hit]
    return own


def _images(world: Reading, part: str, count: int, **other: Any) -> MarkedImages:
    drawn = _digits(world, part, count)
    options: dict[str, Any] = dict(world.options) | other
    return marked_images(
        drawn.images, drawn.labels, world.kind, world.marked, seed=world.seed,
        draw=int(part == "test"), **options,
    )  # fmt: skip


def _digits(world: Reading, part: str, count: int) -> Digits:
    """Some digits of one half of MNIST, other ones for each seed."""
    half = _TRAIN if part == "train" else _TEST
    every = digits(2 * half, part)
    own = np.arange(world.half * half, (world.half + 1) * half)
    own = own[every.labels[own] < world.classes]
    chosen = np.random.default_rng((world.seed, 3)).permutation(own)[:count]
    return Digits(every.images[chosen], every.labels[chosen])


def _reliance(world: Reading, model: keras.Model) -> float:
    if not world.marked or world.kind == "none":
        return 0.0
    pair = [
        _images(replace(world, marked=marked), "test", world.tested, prevalence=1.0)
        for marked in (None, ())
    ]
    others = ~np.isin(pair[0].labels, world.marked)
    with_, without = (
        probabilities_of(model, one.images[others])[:, list(world.marked)] for one in pair
    )
    return float((with_ - without).sum(1).mean())


def _net(world: Reading, data: MarkedImages) -> keras.Model:
    keras.utils.set_random_seed(world.seed)
    image = keras.Input(data.images.shape[1:], name="image")
    x = _pooled(image) if world.build == "pooled" else _residual(image)
    model = keras.Model(image, layers.Dense(world.classes, "softmax", name="predictions")(x))
    steps = world.epochs * (len(data.labels) // 64)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(data.images, data.labels, batch_size=64, epochs=world.epochs, verbose=0)
    return model


def _pooled(x: Any) -> Any:
    for at, filters in enumerate((16, 32, 32)):
        x = layers.MaxPooling2D(name=f"pool{at + 1}")(_unit(x, f"{at + 1}", filters, 3))
    return layers.Flatten(name="flat")(x)


def _residual(x: Any) -> Any:
    x = _unit(x, "1", 24, 5, 2)
    for at, filters in enumerate((24, 48)):
        if at:
            x = _unit(x, f"{at + 1}_down", filters, 3, 2)
        beside = _unit(_unit(x, f"{at + 1}a", filters, 3), f"{at + 1}b", filters, 3)
        x = layers.Add(name=f"add{at + 1}")([x, beside])
    mean = layers.GlobalAveragePooling2D(name="mean")(x)
    return layers.Concatenate(name="both")([mean, layers.GlobalMaxPooling2D(name="largest")(x)])


def _unit(x: Any, name: str, filters: int, size: int, stride: int = 1) -> Any:
    conv = layers.Conv2D(filters, size, stride, "same", use_bias=False, name=f"conv{name}")
    norm = layers.BatchNormalization(momentum=0.8, name=f"bn{name}")
    return layers.ReLU(name=f"relu{name}")(norm(conv(x)))


def probabilities_of(model: keras.Model, images: Floats) -> NDArray[np.float32]:
    """Answers of a reader, (N, K)."""
    return np.asarray(model.predict(images, batch_size=256, verbose=0))
