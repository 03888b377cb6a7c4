"""What profiling costs beside the forward pass alone, as ratios measured in one run.

    python benchmarks/bench_profile.py [--nets MobileNetV2 ...] [--images 96] [--rounds 3]
        [--plan 2000] [--closer] [--memory]

The pass: all one-pass sums on every image (sample=None, nulls=()), without the closer look and the
tables, against a plain forward pass over the same images that fetches the output alone; medians of
rounds taken in turns. --plan N: the default plan over N images, nulls apart, against the plain pass
over them. --closer: spectra and repeatability on 64 images of EfficientNet-Lite0. --memory: peak
memory of 2,000 images against 200, each in a process of its own.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np

import layerscope
from layerscope import zoo
from layerscope.images import Source, read
from layerscope.model.traced import TracedModel, view
from layerscope.run import local, profiling
from layerscope.run.plan import SHARD, planned
from layerscope.run.subject import subject_of, versions
from layerscope.store.directory import open_run

BATCH = 16
SIDE = 224


def images(count: int) -> np.ndarray:
    """Photo-like images: blurred noise."""
    random = np.random.default_rng(0)
    coarse = random.uniform(-1, 1, (count, SIDE // 8, SIDE // 8, 3)).astype(np.float32)
    return coarse.repeat(8, 1).repeat(8, 2)


def plain(traced: TracedModel, source: Source) -> float:
    output = list(traced.outputs.values())
    start = time.perf_counter()
    for batch in source:
        view(traced.run([batch.pixels], output)[0])
    return time.perf_counter() - start


def one_pass(scope: layerscope.Scope, source: Source) -> float:
    """The pass that adds everything up, for every image."""
    taps = scope.traced.resolve(None)
    paths = tuple(tap.path for tap in taps)
    plan = planned(source, "", ("", ""), paths, None, (), "", 0, versions())
    subject = subject_of(scope.traced, taps, None, 1000)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(f"{folder}/run", plan.described, plan.hash) as run,
    ):
        rows = run.rows(profiling._quantities(subject, plan), SHARD, plan.images or 0)
        watched = profiling._watched(subject, plan)
        start = time.perf_counter()
        local.run(source, subject.compute, watched, profiling._sampled(plan), run, rows, BATCH)
        return time.perf_counter() - start


def in_turns(rounds: int, *runs: Callable[[], float]) -> list[float]:
    for run in runs:
        run()  # compiles
    found = [[run() for run in runs] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*found, strict=True)]


def passes(names: list[str], count: int, rounds: int) -> None:
    print(f"{'net':14} {'plain img/s':>12} {'sums/plain':>11}")
    for name in names:
        scope = layerscope.Scope(getattr(keras.applications, name)(weights=None))
        source = read(images(count), size=(SIDE, SIDE), batch_size=BATCH)
        alone, summed = in_turns(
            rounds,
            lambda s=scope, x=source: plain(s.traced, x),
            lambda s=scope, x=source: one_pass(s, x),
        )
        print(f"{name:14} {count / alone:12.1f} {summed / alone:11.2f}", flush=True)


def default_plan(names: list[str], count: int) -> None:
    print(f"{'net':14} {'plain s':>9} {'plan s':>9} {'ratio':>6}")
    for name in names:
        scope = layerscope.Scope(getattr(keras.applications, name)(weights=None))
        data = images(count)
        source = read(data, size=(SIDE, SIDE), batch_size=BATCH)
        plain(scope.traced, source.part(range(2 * BATCH)))
        scope.profile(data[: 2 * BATCH], nulls=(), batch_size=BATCH)
        alone = plain(scope.traced, source)
        start = time.perf_counter()
        scope.profile(data, nulls=(), batch_size=BATCH)
        whole = time.perf_counter() - start
        print(f"{name:14} {alone:9.1f} {whole:9.1f} {whole / alone:6.2f}", flush=True)


def closer_look() -> None:
    scope = layerscope.Scope(zoo.efficientnet_lite0())
    taps = scope.traced.resolve(None)
    subject = subject_of(scope.traced, taps, None, 1000)
    few = list(images(64))
    from layerscope.run.closer import look_closer

    look_closer(few[:BATCH], subject.compute, subject.layers, BATCH)
    start = time.perf_counter()
    look_closer(few, subject.compute, subject.layers, BATCH)
    print(f"spectra and repeatability, 64 images: {time.perf_counter() - start:.1f} s")


def memory() -> None:
    peaks = {}
    for count in (200, 2000):
        code = f"import bench_profile as b; b.peak({count})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=__file__.rpartition("/")[0] or ".",
        )
        peaks[count] = int(done.stdout.split()[-1])
    print(f"peak memory, 2,000 images / 200: {peaks[2000] / peaks[200]:.3f}  {peaks}")


def peak(count: int) -> None:
    """Print the peak memory in KiB of a profile whose images come from a file."""
    with tempfile.TemporaryDirectory() as folder:
        data = np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), np.uint8)
        np.savez(f"{folder}/x.npz", x=data)
        del data
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        model = keras.applications.MobileNetV2((96, 96, 3), weights=None)
        scope = layerscope.Scope(model, "-1..1")
        scope.profile(f"{folder}/x.npz", nulls=(), batch_size=BATCH)
        print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nets", nargs="*", default=["MobileNetV2", "ResNet50", "VGG16"])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plan", type=int, default=0)
    parser.add_argument("--closer", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.plan:
        default_plan(options.nets, options.plan)
    elif options.closer:
        closer_look()
    elif options.memory:
        memory()
    else:
        passes(options.nets, options.images, options.rounds)
