"""What capturing maps costs, as ratios against a plain forward pass measured in the same run.

    python benchmarks/bench_capture.py [MobileNetV2 ResNet50 VGG16] [--rounds 7]

Every round times all variants in turn, so that a machine whose speed drifts slows them alike; the
ratio is the median over rounds of (variant / plain) within a round. The last column is the
spread (quartiles). Memory is measured in processes of their own.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

IMAGES = 8


def time_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def capture(name: str, rounds: int) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    from layerscope import Scope

    model = getattr(keras.applications, name)(weights=None)
    images = np.random.default_rng(0).random((IMAGES, 224, 224, 3), np.float32)
    plain = tf.function(lambda x: model(x, training=False))
    scope = Scope(model)
    fixed = tf.constant(images)

    def views() -> None:
        for maps in scope.stream(images, "conv", batch_size=IMAGES):
            for array in maps.values():
                array[0, 0, 0, 0]

    variants: dict[str, Callable[[], object]] = {
        "plain forward pass": lambda: np.asarray(plain(fixed)),
        "all maps, read without a copy": views,
        "all maps, owned by the caller": lambda: scope.maps(images, "conv", batch_size=IMAGES),
    }
    for run in variants.values():
        run()
        run()
    times: dict[str, list[float]] = {key: [] for key in variants}
    for _ in range(rounds):
        for key, run in variants.items():
            times[key].append(time_of(run))
    base = times["plain forward pass"]
    for key, taken in times.items():
        ratios = sorted(t / b for t, b in zip(taken, base, strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        print(
            f"{name:14} {key:32} {statistics.median(taken):7.3f} s  "
            f"x {statistics.median(ratios):5.2f}  ({low:.2f} to {high:.2f})"
        )
    later = [
        t / times["all maps, read without a copy"][0]
        for t in times["all maps, read without a copy"][1:]
    ]
    what = "later batches / first steady one"
    print(f"{name:14} {what:43}  x {statistics.median(later):5.2f}")


def starting() -> None:
    for what, command in {
        "layerscope --help": ["-m", "layerscope", "--help"],
        "import layerscope": ["-c", "import layerscope"],
        "python alone": ["-c", "pass"],
    }.items():
        taken = [
            time_of(lambda c=command: subprocess.run([sys.executable, *c], capture_output=True))
            for _ in range(7)
        ]
        print(f"{what:47} {statistics.median(taken):7.3f} s")


def resident(what: str) -> float:
    """MiB of memory of this process: ``VmRSS`` now, ``VmHWM`` at its highest. Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def memory(count: int) -> None:
    """In a process of its own: peak memory on top of the model, streaming one layer."""
    import keras
    import numpy as np

    from layerscope import Scope

    scope = Scope(keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3)))
    random = np.random.default_rng(0)
    batch = random.random((32, 96, 96, 3), np.float32)

    def batches(total: int):
        for _ in range(total // len(batch)):
            yield batch

    for _ in scope.stream(batches(64), "block_3_expand"):
        pass
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading and tracing
    seen = sum(len(maps.ids) for maps in scope.stream(batches(count), "block_3_expand"))
    peak = resident("VmHWM")
    print(f"stream of one layer, {seen:4} images: peak {peak:.0f} MiB, {peak - before:.1f} on top")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["MobileNetV2", "ResNet50", "VGG16"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=int)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory)
        return
    for name in options.models:
        capture(name, options.rounds)
    starting()
    for count in (192, 1984):
        subprocess.run([sys.executable, __file__, "--memory", str(count)], check=True)


if __name__ == "__main__":
    main()
