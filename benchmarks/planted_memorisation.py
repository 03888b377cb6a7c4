"""Whether signs of memorisation are there where labels leave a net nothing else, and only there.

    python benchmarks/planted_memorisation.py [--rows ...] [--seeds 20] [--first 100] [--keep FILE]
        [--write]

Small nets learn digits until they know at least 95 % of their training images; a share of the
labels is drawn anew, the test labels are true. Lines in `layerscope.audit.memorisation` come from
the design, and nets of the seeds 0 to 2 were looked at; the table is from seeds 100 and above.

Results are kept in a file of lines, a net each, so that a run that was stopped goes on. --write
puts the table into docs/evidence.md.
"""

import argparse
import os

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # such nets are too small for more
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

import evidence
from layerscope.audit.memorisation import Memorised, memorised
from layerscope.audit.performance import performance
from layerscope.measures.intervals import wilson
from layerscope.testing import planted

PLANTED = {
    "600-0": (600, 0.0, 0),
    "600-40": (600, 0.4, 0),
    "600-100": (600, 1.0, 0),
    "5000-0": (5000, 0.0, 0),
    "5000-40": (5000, 0.4, 0),
    "600-0-long": (600, 0.0, 60),
    "200-0": (200, 0.0, 0),
    "100-0": (100, 0.0, 0),
}
"""Name -> training images, share of the labels drawn anew, epochs past the end."""

COLUMNS = {"images": "training images", "noise": "labels drawn anew",
           "beyond": "epochs beyond", "train": "training accuracy",
           "gap": "gap", "auc": "ROC area", "signs": "signs", "low": "from", "high": "to",
           "n": "n"}  # fmt: skip


def of_net(name: str, seed: int) -> dict[str, Any]:
    """What the panel says of one net."""
    images, noise, beyond = PLANTED[name]
    begin = time.perf_counter()
    net = planted.memorising_net(images, noise, seed, beyond=beyond)
    both = [
        (net.model.predict(data.images, 500, verbose=0), data.labels)
        for data in (net.train, net.test)
    ]
    found = memorised(performance(*both[0]), performance(*both[1]), *both)
    keras.backend.clear_session()
    kept = {key: value for key, value in asdict(found).items() if key != "described"}
    return {
        "row": name, "seed": seed, "wrong": net.wrong, "accuracy": net.accuracy,
        "found": kept, "seconds": time.perf_counter() - begin,
    }  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each kind of net."""
    found = []
    for name, (images, noise, beyond) in PLANTED.items():
        own = [row for row in rows if row["row"] == name]
        if own:
            panels = [Memorised(**row["found"]) for row in own]
            signs = sum(panel.signs for panel in panels)
            low, high = wilson(signs, len(own))
            found.append(
                {"images": images, "noise": noise, "beyond": beyond, "n": len(own),
                 "train": min(row["accuracy"] for row in own),
                 "gap": np.mean([panel.gap for panel in panels]),
                 "auc": np.mean([panel.auc for panel in panels]),
                 "signs": signs / len(own), "low": low, "high": high}
            )  # fmt: skip
    return found


def shown(name: str, value: Any) -> str:
    if name in ("images", "beyond", "n"):
        return f"{value:,}"
    if name in ("gap", "auc"):
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", choices=PLANTED, default=list(PLANTED))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--keep", type=Path, default=Path("planted_memorisation.jsonl"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    done = {(row["row"], row["seed"]) for row in evidence.kept(asked.keep)}
    for name in asked.rows:
        for seed in range(asked.first, asked.first + asked.seeds):
            if (name, seed) not in done:
                evidence.keep(asked.keep, [of_net(name, seed)])
    rows = table(evidence.kept(asked.keep))
    print(evidence.markdown(rows, COLUMNS, shown))
    if asked.write:
        evidence.put("planted memorisation", evidence.markdown(rows, COLUMNS, shown))


if __name__ == "__main__":
    main()
