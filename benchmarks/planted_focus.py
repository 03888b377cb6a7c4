"""Whether heatmaps, and the verdicts on them, are right where the evidence is known.

    python benchmarks/planted_focus.py [--rows stamps mosaics gate] [--keep FILE] [--write]

stamps: nets trained on textured images in which one of four stamps decides the class; the share of
the positive part of a heatmap that lies on the stamp. mosaics: EfficientNet-Lite0 on 2 x 2 mosaics
of photos; the share that lies on the photos of the class that is explained (chance 50 %). gate: how
often it says *believable* in 100 runs over those nets, of methods and of heatmaps that know nothing
of the model. The design used nets of the seeds 0, 1 and 20 to 23 and images of seeds below 4,000;
these are others.

Results are kept in a file of lines, so that a run that was stopped goes on. --write puts the table
into docs/evidence.md.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

import evidence
from layerscope import Scope, focusing, zoo
from layerscope.focus import gate, sanity
from layerscope.focus.contract import Found, Job, Method
from layerscope.focus.methods import METHODS
from layerscope.measures.intervals import wilson
from layerscope.testing import planted
from layerscope.vocabulary import Floats

NETS = (30, 31, 32, 33)
RUNS = 100
IMAGES = 32
FEW: dict[str, dict[str, Any]] = {"rise": {"masks": 500}}
COLUMNS = {"of": "heatmap", "what": "measured", "share": "share", "low": "from", "high": "to",
           "n": "n"}  # fmt: skip


@cache
def net(seed: int) -> Scope:
    return Scope(planted.trained_stamp_net(seed), "none")


def passed_off(name: str, heat: Callable[[Job], Floats]) -> Method:
    """A method that shows something else, whatever the model."""

    def run(job: Job) -> Found:
        score, chosen = job.ask([job.explained.score, job.explained.chosen])
        return Found(heat(job), score, chosen)

    return Method(name, "", run, frozenset({"perturbation"}))


def _random(job: Job) -> Floats:
    seed = int(np.abs(job.pixels).sum() * 1e3) % 2**32
    return np.random.default_rng(seed).standard_normal(job.pixels.shape[:3]).astype(np.float32)


PASSED_OFF = (
    passed_off("random numbers", _random),
    passed_off("random, smooth", lambda job: gaussian_filter(_random(job), (0, 3, 3))),
    passed_off("edges (Sobel)", lambda job: gate.sobel(job.pixels)),
    passed_off(
        "a spot in the middle",
        lambda job: np.broadcast_to(gate.centre(job.size), job.pixels.shape[:3]),
    ),
)


def asked_of(method: Method) -> focusing.Question:
    complete = method.complete(FEW.get(method.name, {}))
    asked = focusing.question("gradient", controls=False, batch_size=IMAGES)
    return replace(asked, method=method, parameters=complete)


Rows = Iterator[dict[str, Any]]


def stamps() -> Rows:
    """The share of the positive part on the stamp, which covers 3.5 % of an image."""
    for method in (*METHODS.values(), *PASSED_OFF):
        shares = list[float]()
        for seed in NETS:
            data = planted.stamped(IMAGES, 5000 + seed)
            heat = next(focusing.stream(asked_of(method), net(seed)._intake, data.images))
            positive = np.maximum(heat.full, 0)
            total = positive.sum((1, 2))
            right = (heat.classes == data.labels) & (total > 0)
            shares += ((positive * data.masks).sum((1, 2))[right] / total[right]).tolist()
        yield {"of": method.name, "what": "positive part on the stamp", "share": np.mean(shares),
               "n": len(shares)}  # fmt: skip


def gates() -> Rows:
    for method in (METHODS["occlusion"], METHODS["integrated-gradients"], *PASSED_OFF):
        believed = 0
        for run in range(RUNS):
            images = planted.stamped(IMAGES, 6000 + run).images
            with tempfile.TemporaryDirectory() as folder:
                os.environ["LAYERSCOPE_CACHE"] = folder
                intake = net(NETS[run % len(NETS)])._intake
                found = focusing.controls_of(asked_of(method), intake, [images], IMAGES)
            believed += found.gate.verdict == "believable"
        low, high = wilson(believed, RUNS)
        yield {"of": method.name, "what": "called believable", "share": believed / RUNS,
               "low": low, "high": high, "n": RUNS}  # fmt: skip


def mosaics() -> Rows:
    random = np.random.default_rng(5)
    photos = [zoo.photo(name) for name in zoo.PHOTOS]
    crops = []
    for photo in photos * 4:
        side = int(random.uniform(0.6, 1) * min(photo.shape[:2]))
        y, x = (int(random.integers(0, extent - side + 1)) for extent in photo.shape[:2])
        crop = Image.fromarray(photo[y : y + side, x : x + side]).resize((224, 224))
        crops.append((np.asarray(crop.convert("RGB"), np.float32) - 127) / 128)
    images = np.stack(crops[:IMAGES])
    scope = Scope(zoo.efficientnet_lite0(), "none")
    for name in ("gradient", "gradient-x-input", "grad-cam", "grad-cam++", "hires-cam",
                 "layer-cam", "occlusion"):  # fmt: skip
        found = list[float]()
        asked = focusing.question(name, controls=False, batch_size=IMAGES)
        about = asked.explained(scope.traced)
        (chosen,) = about.ask([images], np.full(IMAGES, -1), [about.chosen])
        classes = np.array(chosen)
        method = METHODS[name]

        def maps(job: Job, method: Method = method) -> Floats:
            return np.asarray(method.run(job).raw, np.float32)

        for seed in range(4):
            job = Job(about, [images], classes, 0, asked.tap(about), IMAGES, seed, asked.parameters)
            found += sanity.mosaic_focus(job, classes, maps).tolist()
        yield {"of": name, "what": "positive part on the right photos of mosaics",
               "share": np.mean(found), "n": len(found)}  # fmt: skip


ROWS: dict[str, Callable[[], Rows]] = {"stamps": stamps, "mosaics": mosaics, "gate": gates}


def shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f} %" if name in ("share", "low", "high") else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--keep", type=Path, default=Path("planted_focus.jsonl"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    done = {row["row"] for row in evidence.kept(asked.keep)}
    for name in asked.rows:
        if name not in done:
            found = [{"row": name} | row for row in ROWS[name]()]
            evidence.keep(asked.keep, found)
            print(evidence.markdown(found, COLUMNS, shown), flush=True)
    if asked.write:
        rows = evidence.kept(asked.keep)
        evidence.put("planted focus", evidence.markdown(rows, COLUMNS, shown))


if __name__ == "__main__":
    main()
