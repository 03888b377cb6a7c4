"""The sums of all maps against a plain sum over the same memory with numpy, in one run.

    python benchmarks/bench_kernel.py [--repeats 21]

For each shape the GB/s of maps read, and their ratio to `numpy.sum`, which uses one core: for
batches of which all images are sampled (the per-pixel sums as well), a quarter, or none. Medians of
runs taken in turns, so that a busy machine slows all sides.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from layerscope.statistics.kernel import map_sums

SHAPES = (
    *((8, 112, 112, 96), (8, 56, 56, 24), (8, 56, 56, 144), (8, 28, 28, 192)),
    *((8, 14, 14, 576), (8, 7, 7, 1280)),  # of MobileNetV2
    *((8, 56, 56, 256), (8, 14, 14, 1024)),  # of ResNet50
    (8, 224, 224, 64),  # of VGG16
    *((8, 112, 112, 3), (8, 56, 56, 12)),  # fewer channels than vector instructions take
)
MUST, AIM = 0.35, 0.7


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rates(shape: tuple[int, ...], repeats: int) -> list[float]:
    """GB/s of numpy, and of the kernel for all images, a quarter and none of them sampled."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.clip(values, 0, 6, out=values)
    sampled = [np.arange(len(values)) < len(values) * part for part in (1, 0.25, 0)]
    works: list[Callable[[], object]] = [values.sum]
    works += [lambda chosen=chosen: map_sums(values, chosen, 6.0) for chosen in sampled]
    times = [[seconds(work) for work in works] for _ in range(repeats + 2)][2:]
    return [values.nbytes / median(column) / 1e9 for column in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    first = seconds(lambda: map_sums(np.zeros((1, 4, 4, 8), np.float32), np.ones(1, bool)))
    print(f"first call, with the compiled code made or loaded: {first:.2f} s")
    print(f"GB/s, and ratio to numpy (must {MUST}, aim {AIM} with all images sampled)")
    print(f"{'maps':>20} {'numpy':>6} {'all':>12} {'a quarter':>12} {'none':>12}")
    for shape in SHAPES:
        plain, *own = rates(shape, options.repeats)
        columns = "".join(f" {rate:5.1f} ({rate / plain:4.2f})" for rate in own)
        print(f"{'x'.join(map(str, shape)):>20} {plain:6.1f}{columns}")


if __name__ == "__main__":
    main()
