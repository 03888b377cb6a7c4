"""Attribution of MobileNetV2 against plain passes of the same images in the same run.

    python benchmarks/bench_focus.py [--rounds 7] [--side 128]

grad-cam: time over that of one forward and one backward pass to the layer, as a `tf.function` of
a Keras sub-model. Perturbation methods: images per second over those of a plain forward pass. With
tf-keras-vis installed, its Grad-CAM is timed as well.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from layerscope import Scope

IMAGES = 32


def timed(tasks: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each task; the tasks take turns, since the machine's speed drifts."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for at in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if at:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def plain_passes(model: keras.Model, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    sub = keras.Model(model.inputs, [model.get_layer("out_relu").output, model.output])
    rest = keras.Model(sub.outputs[0], model.layers[-1](model.layers[-2](sub.outputs[0])))

    @tf.function
    def both(x: tf.Tensor) -> Any:
        maps = sub(x, training=False)[0]
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score = tf.reduce_sum(tf.reduce_max(rest(maps), 1))
        return maps, tape.gradient(score, maps)

    forward = tf.function(lambda x: model(x, training=False))
    return {
        "forward": lambda: np.asarray(forward(images)),
        "forward + backward": lambda: [np.asarray(t) for t in both(images)],
    }


def tf_keras_vis(model: keras.Model, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from tf_keras_vis.gradcam import Gradcam
        except ImportError:
            return {}
    theirs = Gradcam(model)
    return {
        "tf-keras-vis": lambda: theirs(
            lambda y: tf.reduce_max(y, 1), images, penultimate_layer="out_relu",
            seek_penultimate_conv_layer=False,
        )
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=128)
    args = parser.parse_args()
    side = args.side
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    images = np.random.default_rng(0).uniform(-1, 1, (IMAGES, side, side, 3)).astype(np.float32)
    scope, one = Scope(model), images[:1]
    tasks = plain_passes(model, images) | tf_keras_vis(model, images)
    tasks["grad-cam"] = lambda: scope.focus(images).full
    versions = {"occlusion": 64, "rise": 64}
    tasks["occlusion"] = lambda: scope.focus(one, method="occlusion", stride=side // 8)
    tasks["rise"] = lambda: scope.focus(one, method="rise", masks=64)
    early = "block_6_expand"
    channels = scope.layers.set_index("path").loc[early, "shape"][2]
    versions["ablation-cam"] = channels
    tasks["ablation-cam"] = lambda: scope.focus(one, method="ablation-cam", layer=early)
    seconds = timed(tasks, args.rounds)
    plain = IMAGES / seconds["forward"]
    print(f"forward pass: {plain:.0f} images/s of {side} x {side}")
    for name in ("tf-keras-vis", "grad-cam"):
        if name in seconds:
            ratio = seconds[name] / seconds["forward + backward"]
            print(f"{name} of {IMAGES} images / forward + backward: {ratio:.2f}")
    for name, count in versions.items():
        share = count / seconds[name] / plain
        print(f"{name}: changed images/s over plain images/s: {share:.2f}")


if __name__ == "__main__":
    main()
