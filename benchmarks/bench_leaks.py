"""The search for leaks: its forward part against plain passes, and all of it for ten classes.

    python benchmarks/bench_leaks.py [--rounds 5] [--net MobileNetV2] [--side 224]

Forward part: images per second while patches are transplanted, over those of a plain forward pass
of as many images in the same batches. The whole search: seconds for ten classes of 60 images at 32
and at 64 pixels, the search for copies included, on a net that has learned nothing.
"""

import argparse
import time
from typing import Any

import keras
import numpy as np

from bench_focus import timed
from layerscope.interventions.transplant import transplanted
from layerscope.leaking.scene import Scene
from layerscope.leaking.search import search
from layerscope.testing.planted.readers import Reading, trained_reader, unseen

RECIPIENTS, ROWS = 60, 32


def batched(model: keras.Model) -> Any:
    """Answers in batches, as an audit asks for them."""

    def predict(images: Any) -> Any:
        parts = range(0, len(images), ROWS)
        return np.concatenate([model.predict_on_batch(images[at : at + ROWS]) for at in parts])

    return predict


def forward_part(net: str, side: int, rounds: int) -> float:
    model = getattr(keras.applications, net)(weights=None, input_shape=(side, side, 3))
    random = np.random.default_rng(0)
    images = random.random((2 * RECIPIENTS, side, side, 3)).astype(np.float32)
    predict, recipients = batched(model), np.arange(RECIPIENTS)
    donors = recipients + RECIPIENTS
    boxes = np.tile([10, 10, 10 + side // 7, 10 + side // 7], (RECIPIENTS, 1))
    base = np.zeros(RECIPIENTS, np.float32)
    plain = np.concatenate([images, images])  # as many as are transplanted
    times = timed(
        {
            "plain": lambda: predict(plain),
            "transplanted": lambda: transplanted(
                predict, images, 0, recipients, donors, boxes, donors, base
            ),
        },
        rounds,
    )
    return times["plain"] / times["transplanted"]


def whole_search(side: int) -> float:
    world = Reading("none", (), (("side", side),), images=640, epochs=1)
    model, data = trained_reader(world).model, unseen(world)
    predict = batched(model)
    files, names = tuple(map(str, range(len(data.images)))), tuple(map(str, range(10)))
    # What it says is no matter here, and an unlearned net has too few right answers to be asked.
    answers = np.eye(10, dtype=np.float32)[data.labels]
    start = time.perf_counter()
    search(Scene(data.images, data.labels, answers, files, names, predict))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", default="MobileNetV2")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    ratio = forward_part(asked.net, asked.side, asked.rounds)
    print(f"{asked.net}, images per second transplanted / plain: {ratio:.2f} (must .8)")
    for side in (32, 64):
        seconds = whole_search(side)
        print(f"search of 10 classes of 60 images at {side} px: {seconds:.0f} s (must 120, aim 30)")


if __name__ == "__main__":
    main()
