"""Pictures of all layers of EfficientNet-Lite0 for one photo, the model loaded and traced.

    python benchmarks/bench_show.py [--rounds 5]

Seconds, and the same as a ratio to a plain forward pass of 8 images in the same run, since the
machine's own speed drifts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from layerscope import Scope, zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    scope = Scope(zoo.efficientnet_lite0(), zoo.PREPROCESSING, "imagenet", resize="crop")
    photo = zoo.photo_path("chelsea")
    images = tf.constant(np.random.default_rng(0).random((8, 224, 224, 3), np.float32))
    plain = tf.function(lambda x: scope.model(x, training=False))
    plain(images)
    scope.show(photo)
    parts: dict[str, list[float]] = {"plain": [], "maps": [], "show": [], "save": []}
    with tempfile.TemporaryDirectory() as folder:
        for at in range(rounds):
            start = time.perf_counter()
            np.asarray(plain(images))
            parts["plain"].append(time.perf_counter() - start)
            start = time.perf_counter()
            scope.maps(photo)
            parts["maps"].append(time.perf_counter() - start)
            start = time.perf_counter()
            shown = scope.show(photo)
            parts["show"].append(time.perf_counter() - start)
            start = time.perf_counter()
            files = shown.save(Path(folder) / str(at))
            parts["save"].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in parts.items()}
    total = median["show"] + median["save"]
    print(f"plain forward pass of 8 images  {median['plain']:6.3f} s")
    print(f"maps of one photo               {median['maps']:6.3f} s")
    print(f"choice, grids, overview         {median['show'] - median['maps']:6.3f} s")
    print(f"{len(files)} files written               {median['save']:6.3f} s")
    print(f"in all                          {total:6.3f} s  x {total / median['plain']:.1f}")


if __name__ == "__main__":
    main()
