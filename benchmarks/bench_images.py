"""Decode and resize JPEG photos: layerscope against the loader of Keras, in one run.

    python benchmarks/bench_images.py [--images 1000] [--repeats 3]

Prints the ratio of the best times, above 1 where layerscope is faster. Both read the same files
from the file cache, in the same order, to batches of 32 of 224x224 on all cores.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from skimage import data

from layerscope.images import read

SIZE = (224, 224)
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")


def write_photos(folder: Path, count: int) -> None:
    """Crops of photos, all different, at about 500x375 as ImageNet has them."""
    rng = np.random.default_rng(0)
    photos = [np.asarray(getattr(data, name)()) for name in PHOTOS]
    for number in range(count):
        photo = photos[number % len(photos)]
        height, width = (int(side * rng.uniform(0.6, 1)) for side in photo.shape[:2])
        top, left = (
            rng.integers(0, photo.shape[0] - height + 1),
            rng.integers(0, photo.shape[1] - width + 1),
        )
        crop = Image.fromarray(photo[top : top + height, left : left + width])
        shape = (500, 375) if number % 4 else (375, 500)
        crop.resize(shape, Image.Resampling.LANCZOS).save(folder / f"{number:05}.jpg", quality=90)


def seconds(batches: Callable[[], Iterable[object]]) -> float:
    start = time.perf_counter()
    for _ in batches():
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_photos(Path(name), options.images)
        theirs = keras.utils.image_dataset_from_directory(
            name, labels=None, image_size=SIZE, shuffle=False, verbose=False
        )
        ours = read(Path(name), size=SIZE)
        seconds(lambda: theirs), seconds(lambda: ours)  # what is loaded and compiled once
        # Taken in turns, so that a busy machine slows both.
        pairs = [(seconds(lambda: theirs), seconds(lambda: ours)) for _ in range(options.repeats)]
    keras_time, own_time = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"Keras loader {keras_time:.2f} s, layerscope {own_time:.2f} s for {options.images} photos"
    )
    print(f"ratio {keras_time / own_time:.2f} (must 1.0, aim 1.5)")


if __name__ == "__main__":
    main()
