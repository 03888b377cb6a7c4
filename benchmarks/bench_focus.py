"""Attribution against plain passes of the same images in the same run.

    python benchmarks/bench_focus.py [--net MobileNetV2|ResNet50] [--rounds 7] [--side 128]

grad-cam: time over that of one forward and one backward pass to the layer, as a `tf.function` of
a Keras sub-model. Perturbation methods: images per second over those of a plain forward pass. With
tf-keras-vis installed, its Grad-CAM is timed as well. Controls: time of a method with its controls
over that without, for 32 images whose gate was not measured before, and for which it was.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from layerscope import Scope

IMAGES = 32
LAST = {"MobileNetV2": "out_relu", "ResNet50": "conv5_block3_out"}
EARLY = {"MobileNetV2": "block_6_expand", "ResNet50": "conv3_block2_1_conv"}
CONTROLLED = {"grad-cam": {}, "integrated-gradients": {"steps": 16}, "occlusion": {"stride": 16}}


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


def plain_passes(model: keras.Model, last: str, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    sub = keras.Model(model.inputs, [model.get_layer(last).output, model.output])
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


def tf_keras_vis(model: keras.Model, last: str, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from tf_keras_vis.gradcam import Gradcam
        except ImportError:
            return {}
    theirs = Gradcam(model)
    return {
        "tf-keras-vis": lambda: theirs(
            lambda y: tf.reduce_max(y, 1), images, penultimate_layer=last,
            seek_penultimate_conv_layer=False,
        )
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=LAST, default="MobileNetV2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=128)
    args = parser.parse_args()
    side = args.side
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, args.net)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    images = np.random.default_rng(0).uniform(-1, 1, (IMAGES, side, side, 3)).astype(np.float32)
    scope, one = Scope(model), images[:1]
    last = LAST[args.net]
    tasks = plain_passes(model, last, images) | tf_keras_vis(model, last, images)
    tasks["grad-cam"] = lambda: scope.focus(images, controls=False).full
    versions = {"occlusion": 64, "rise": 64}
    tasks["occlusion"] = lambda: scope.focus(
        one, method="occlusion", stride=side // 8, controls=False
    )
    tasks["rise"] = lambda: scope.focus(one, method="rise", masks=64, controls=False)
    early = EARLY[args.net]
    channels = scope.layers.set_index("path").loc[early, "shape"][2]
    versions["ablation-cam"] = channels
    tasks["ablation-cam"] = lambda: scope.focus(
        one, method="ablation-cam", layer=early, controls=False
    )
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
    for name, parameters in CONTROLLED.items():
        cold, warm = controlled(scope, images, name, parameters, max(2, args.rounds // 2))
        print(f"{name} of {IMAGES} images with controls / without: {cold:.1f}, again {warm:.1f}")


def controlled(
    scope: Scope, images: np.ndarray, name: str, parameters: dict[str, Any], rounds: int
) -> tuple[float, float]:
    """Time with controls over that without: gate to be measured, and gate known."""

    def focus(controls: bool) -> Any:
        return scope.focus(images, method=name, controls=controls, **parameters).full

    def cold() -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["LAYERSCOPE_CACHE"] = folder
            focus(True)

    seconds = timed({"cold": cold, "without": lambda: focus(False)}, rounds)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAYERSCOPE_CACHE"] = folder
        focus(True)
        seconds |= timed({"warm": lambda: focus(True)}, rounds)
    return seconds["cold"] / seconds["without"], seconds["warm"] / seconds["without"]


if __name__ == "__main__":
    main()
