"""How often the search for leaks is right, on nets whose true reliance on a mark is known.

    python benchmarks/planted_leaks.py [--half 0|1] [--rows clean fixed ...] [--most N]
        [--keep FILE] [--write]

Each net is trained from scratch on digits on canvases of their own. A planted mark is often not
learned, so nets are filed by what they truly rely on: the mean rise of the probability of the
marked class where the real mark is drawn onto images of others. Limits were chosen on half 0 (one
half of MNIST, logos, borders and tints, pooled nets); the table reports half 1 (the other digits,
text, corner tags, brightness and blur, residual nets).

Results are kept in a file of lines, so that a run that was stopped goes on. --write puts the table
into docs/evidence.md.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import evidence
from layerscope.audit.leakage import class_verdict, whole_verdict
from layerscope.leaking.scene import Scene
from layerscope.leaking.search import search
from layerscope.measures.intervals import wilson
from layerscope.testing.planted.readers import Reader, Reading, probabilities_of, trained_reader

BUILDS = ("pooled", "residual")
SIZES = {"clean": (16, 40), "fixed": (24, 60), "moving": (10, 24), "whole": (12, 28),
         "unused": (6, 14), "object": (6, 14), "decoy": (3, 12), "shared": (3, 12),
         "two": (3, 12), "weak": (8, 60)}  # fmt: skip
"""Nets in each half. *weak* has fixed marks that images of other classes carry as well in training,
so that nets rely on them in part; those that rely on them by `PART` are searched, others counted.
"""
PART = (0.15, 0.5)
ROWS = sorted(SIZES, key=lambda row: (row == "weak", row))
"""Their places are part of the seeds, so that a new row comes last."""
SMALL = (("text", "corner"), ("logo", "logo"))
WHOLE = (("tint", "border"), ("brightness", "blur"))


def worlds(row: str, half: int) -> Iterator[Reading]:
    """The worlds of one row."""
    for at in range(SIZES[row][half]):
        random = np.random.default_rng((half, ROWS.index(row), at))
        yield _world(row, half, at, random)


BESIDE = (0.03, 0.06, 0.1, 0.15)
"""Shares of the training images of other classes that carry a weak mark."""


def _world(row: str, half: int, at: int, random: np.random.Generator) -> Reading:
    small = SMALL[1 - half][at % 2]
    label = int(random.integers(10))
    seed = 10_000 * half + 100 * ROWS.index(row) + at
    options: dict[str, Any] = {
        "ink": float(random.choice((0.25, 0.35, 0.5, 0.8))),
        "background": "black" if at % 4 == 3 else "textured",
        "placement": ("centred", "jittered")[at // 2 % 2],
    }
    kind: Any = small
    marked: tuple[int, ...] | None = (label,)
    if row == "clean":
        kind, marked, options["ink"] = "none", (), float(random.choice((0.5, 1.0)))
    elif row == "fixed":
        options["opacity"] = float(random.choice((1.0, 0.5, 0.3)))
        options["prevalence"] = float(random.choice((1.0, 0.5, 0.25)))
    elif row == "moving":
        roams = at % 3 == 2
        kind = ("text" if half else "logo") if roams else small
        options["position"] = "roaming" if roams else "jittered"
    elif row == "whole":
        kind = WHOLE[half][at % 2]
        options["opacity"] = float(random.choice((1.0, 0.6)))
        options["background"] = "textured"
    elif row == "object":
        kind = "object"
    elif row == "decoy":
        marked = None
    elif row == "shared":
        marked = (label, (label + 3) % 10)
    elif row == "two":
        marked = (label % 2,)
    elif row == "weak":
        options["ink"] = float(random.choice((0.25, 0.35)))
        options["background"] = "textured"
    beside = float(random.choice(BESIDE)) if row == "weak" else 0.0
    return Reading(
        kind, marked, tuple(sorted(options.items())), "decoy" if row == "unused" else "",
        beside, 2 if row == "two" else 10, BUILDS[half], half, seed,
        tested=200 if row == "two" else 600,
    )  # fmt: skip


def measured(world: Reading) -> dict[str, Any]:
    """Train, search, and set what was found beside the truth."""
    start = time.perf_counter()
    reader = trained_reader(world)
    trained = time.perf_counter() - start
    names = tuple(map(str, range(world.classes)))
    about = {
        "kind": world.kind, "marked": world.marked, **dict(world.options), "taught": world.taught,
        "beside": world.beside, "accuracy": reader.accuracy, "reliance": reader.reliance,
        "trained": trained,
    }  # fmt: skip
    if world.beside and not PART[0] <= reader.reliance < PART[1]:
        return about | {"seconds": 0.0, "passes": 0, "found": [], "whole": [], "searched": False}
    images = reader.data.images

    def predict(some: Any) -> Any:
        return probabilities_of(reader.model, some)

    files = tuple(map(str, range(len(images))))
    seen = Scene(images, reader.data.labels, predict(images), files, names, predict, world.seed)
    start = time.perf_counter()
    leaks = search(seen, trials=0)
    return about | {
        "seconds": time.perf_counter() - start, "passes": leaks.passes,
        "found": [_class(one, reader) for one in leaks.classes],
        "whole": [_whole(one) for one in leaks.whole],
    }  # fmt: skip


def _class(leak: Any, reader: Reader) -> dict[str, Any]:
    copies, effect = leak.copies, leak.effect
    found: dict[str, Any] = {
        "label": leak.of.index, "verdict": class_verdict(leak), "right": leak.right, "p": leak.p,
        "score": copies.score.value, "low": copies.score.low, "shared": list(copies.shared),
        "covers": leak.covers, "inside": copies.inside, "outside": copies.outside,
        "fixed": copies.fixed,
    }  # fmt: skip
    if effect:
        found["effect"] = [effect.same.value, effect.same.low, effect.same.high]
        truth = reader.data.boxes[copies.images]
        both = copies.carries & reader.data.carries[copies.images]
        overlaps = [_overlap(a, b) for a, b in zip(copies.places[both], truth[both], strict=True)]
        found["iou"] = float(np.median(overlaps)) if overlaps else 0.0
    if leak.region_effect:
        found["region"] = [leak.region_effect.value, leak.region_effect.low]
    return found


def _whole(leak: Any) -> dict[str, Any]:
    effect = leak.effect
    return {
        "label": leak.of.index, "name": leak.found.name, "auc": leak.found.auc, "p": leak.p,
        "frame": leak.found.frame,
        "verdict": whole_verdict(leak),
        "effect": [effect.value, effect.low, effect.high] if effect else None,
    }  # fmt: skip


def _overlap(one: Any, other: Any) -> float:
    """Intersection of two boxes over their union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return common / (sum(areas) - common)


Row = dict[str, Any]


def called(row: Row, verdict: str) -> set[int]:
    """Classes with that verdict; a look that is not used is no leak."""
    whole = [] if verdict == "present-unused" else row["whole"]
    return {one["label"] for one in row["found"] + whole if one["verdict"] == verdict}


def confirmed(row: Row) -> bool:
    """Whether a marked class, and no other, is confirmed."""
    named = called(row, "confirmed-used")
    return bool(named) and named <= set(row["marked"])


def _effects(row: Row) -> Iterator[Sequence[float]]:
    """The largest effect of each marked class: a look may carry only part of its mark."""
    for label in called(row, "confirmed-used") & set(row["marked"] or ()):
        yield max(
            (one["effect"] for one in row["found"] + row["whole"]
             if one["label"] == label and one["verdict"] == "confirmed-used"),
            key=lambda effect: effect[1],
        )  # fmt: skip


def _between(low: float, high: float = 2.0) -> Callable[[Row], bool]:
    return lambda row: low <= row["reliance"] < high


def _share(name: str, must: str, rows: Sequence[Row], good: Callable[[Row], bool]) -> Row:
    hits = sum(map(good, rows))
    low, high = wilson(hits, len(rows)) if rows else (float("nan"), float("nan"))
    value = f"{hits} of {len(rows)}" if rows else "0 of 0"
    return {"condition": name, "must": must, "measured": value,
            "interval": f"{100 * low:.0f} to {100 * high:.0f} %" if rows else ""}  # fmt: skip


def table(rows: Sequence[Row]) -> list[Row]:
    """The conditions of the search, measured."""
    of = {name: [row for row in rows if row["row"] == name] for name in SIZES}
    weak = [row for row in of["weak"] if row.get("searched", True)]
    fixed, moving, whole = of["fixed"] + weak, of["moving"], of["whole"]
    lines = [
        _share("false alarm on a clean net", "<= 5 %", of["clean"], _alarmed),
        _share("clean net: no leak, suspect or present one either", "", of["clean"], _quiet),
        _share("false alarm, decoy on all classes", "", of["decoy"], _alarmed),
    ]
    for low, high, must in ((0.5, 2, ">= 90 %"), (0.3, 0.5, ">= 80 %"), (0.15, 0.3, "reported")):
        some = [row for row in fixed if _between(low, high)(row)]
        span = f"{low:g} and more" if high == 2 else f"{low:g} to {high:g}"
        lines.append(
            _share(f"fixed mark, reliance {span}: found, right class", must, some, confirmed)
        )
    for name, some, must in (
        ("jittered or roaming", moving, ">= 80 %"), ("whole image", whole, ">= 80 %"),
        ("two classes share a mark", of["shared"], ""), ("two classes in all", of["two"], ""),
    ):  # fmt: skip
        some = list(filter(_between(0.5), some))
        lines.append(_share(f"{name}, reliance .5 and more", must, some, confirmed))
    unused = [row for row in fixed + moving + of["unused"] if row["reliance"] < 0.05]
    lines += [
        _share("present, reliance below .05: not called used", ">= 95 %", unused,
               lambda row: not called(row, "confirmed-used")),
        _share("the same, called present", ">= 80 %", unused,
               lambda row: bool(called(row, "present-unused") & set(row["marked"]))),
        _share("small legitimate objects: no leak", ">= 90 %", of["object"], _quiet),
    ]  # fmt: skip
    return lines + _figures(fixed + moving, fixed + moving + whole)


def _alarmed(row: Row) -> bool:
    return bool(called(row, "confirmed-used"))


def _quiet(row: Row) -> bool:
    return not any(called(row, name) for name in ("confirmed-used", "present-unused", "suspect"))


def _figures(small: Sequence[Row], every: Sequence[Row]) -> list[Row]:
    boxes = [one["iou"] for row in small for one in row["found"]
             if one["label"] in row["marked"] and one["verdict"] == "confirmed-used"]  # fmt: skip
    errors, covered = list[float](), list[bool]()
    for row in every:
        for value, low, high in _effects(row):
            errors.append(abs(value - row["reliance"]))
            covered.append(low <= row["reliance"] <= high)
    figures = [("box over true mark (IoU), median, where found", ">= .35", boxes),
               ("error of the effect, median", "<= .10", errors)]  # fmt: skip
    lines = [
        {"condition": name, "must": must, "measured": f"{np.median(found):.2f}, n {len(found)}"}
        for name, must, found in figures
        if found
    ]
    some = [{"covered": one} for one in covered]
    name = "the effect's 95 % interval covers the reliance"
    return [*lines, _share(name, ">= 88 %", some, lambda row: row["covered"])]


BINS = (-1, 0.05, 0.15, 0.3, 0.5, 0.8, 1.01)


def draw(rows: Sequence[Row], file: Path) -> None:
    """Two curves: how often a mark is confirmed, and what effect is reported, by reliance."""
    import matplotlib.pyplot as plt

    rows = [{**row, "row": "fixed"} if row["row"] == "weak" else row
            for row in rows if row.get("searched", True)]  # fmt: skip
    kinds = {"fixed": "fixed", "moving": "jittered or roaming", "whole": "whole image"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for colour, (name, words) in zip(("C0", "C1", "C2"), kinds.items(), strict=True):
        own = [row for row in rows if row["row"] == name]
        at, share, below, above = [], [], [], []
        for low, high in pairwise(BINS):
            some = [row for row in own if low <= row["reliance"] < high]
            if some:
                hits = sum(map(confirmed, some))
                ends = wilson(hits, len(some))
                at.append(np.mean([row["reliance"] for row in some]))
                share.append(hits / len(some))
                below.append(share[-1] - ends[0])
                above.append(ends[1] - share[-1])
        left.errorbar(at, share, (below, above), fmt="o-", color=colour, capsize=2, label=words)
        found = [(row["reliance"], *effect) for row in own for effect in _effects(row)]
        if found:
            x, value, low, high = np.array(found).T
            bars = np.maximum((value - low, high - value), 0)
            right.errorbar(x, value, bars, fmt="o", color=colour, ms=4, elinewidth=1, alpha=0.7)
    right.plot((0, 1), (0, 1), color="grey", lw=1)
    left.set(xlabel="true reliance", ylabel="confirmed, right class (95 % CI)", ylim=(-0.03, 1.03))
    right.set(xlabel="true reliance", ylabel="reported effect (95 % CI)", ylim=(-0.03, 1.03))
    left.legend(frameon=False, loc="lower right")
    figure.savefig(file, dpi=110)


COLUMNS = {"condition": "condition", "must": "must", "measured": "measured",
           "interval": "95 % CI"}  # fmt: skip


def shown(_: str, value: Any) -> str:
    return "" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--rows", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--keep", type=Path, default=Path("planted_leaks.jsonl"))
    parser.add_argument("--most", type=int, default=100, help="nets of a row")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    done = {(row["row"], row["half"], row["at"]) for row in evidence.kept(asked.keep)}
    for at in range(min(asked.most, max(map(max, SIZES.values())))):  # a few of each row first
        for name in asked.rows:
            if at >= SIZES[name][asked.half] or (name, asked.half, at) in done:
                continue
            world = list(worlds(name, asked.half))[at]
            row = {"row": name, "half": asked.half, "at": at, **measured(world)}
            evidence.keep(asked.keep, [row])
            print(name, at, row["kind"], row["marked"], f"reliance {row['reliance']:.2f}",
                  f"confirmed {sorted(called(row, 'confirmed-used'))}",
                  f"{row['seconds']:.0f} s", flush=True)  # fmt: skip
    rows = [row for row in evidence.kept(asked.keep) if row["half"] == asked.half]
    lines = table(rows)
    print(evidence.markdown(lines, COLUMNS, shown))
    if asked.write:
        evidence.put("planted leaks", evidence.markdown(lines, COLUMNS, shown))
        draw(rows, evidence.PAGE.parent / "pictures" / "leak-curves.png")


if __name__ == "__main__":
    main()
