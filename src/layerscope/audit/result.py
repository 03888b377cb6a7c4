"""The result of an audit, and audit.json: a stable schema for machines.

Only additions are made to the schema, so a reader must bear keys it does not know. What is missing
is null; NaN and infinity never appear.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from layerscope.audit.accuracy import Performance
from layerscope.audit.clarity import Counts, added, counts
from layerscope.audit.described import to_dict as _described
from layerscope.audit.findings import PANELS, Finding, Panel, PanelName, untested
from layerscope.audit.learned import Learned
from layerscope.audit.memorisation import Memorised
from layerscope.audit.statement import sentences
from layerscope.vocabulary import Alternative, Layer, Skipped

SCHEMA_VERSION = 1
NOT_RUN = untested("This panel was not run.")


@dataclass(frozen=True)
class LayerResult:
    """What an audit says about one layer.

    Attributes:
        layer: its row.
        channels: counts of its channels by verdict, see `layerscope.audit.clarity.counts`.
        regime: ``early``, ``middle`` or ``late``; ``None`` where it is not known.
        effective: side of the effective receptive field in input pixels, where it was computed.
        learned: whether it is distinguishable from its untrained twin.
    """

    layer: Layer
    channels: Counts
    regime: str | None = None
    effective: float | None = None
    learned: Learned = "not-tested"


@dataclass(frozen=True)
class PreprocessChoice:
    """The preprocessing of an audit, who chose it, and what else was considered, best first."""

    name: str
    chosen_by: Literal["user", "model", "fingerprint", "accuracy"]
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """The images of one split.

    Attributes:
        images: how many were read.
        classes: names of the classes, in output order; empty where unlabelled.
        skipped: files that could not be used.
        order_assumed: the outputs were given no names, so that the classes, in the order that the
            images give them, are taken for the outputs.
    """

    images: int
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    order_assumed: bool = False


@dataclass(frozen=True)
class ModelFacts:
    """The model of an audit: its file or name, a hash over its weights in order, their number."""

    path: str
    sha256: str
    parameters: int


@dataclass(frozen=True)
class Audit:
    """Everything that one audit found.

    Attributes:
        model: facts on the model.
        layers: what was said about each layer, in the order of the network.
        preprocess: how images became input.
        test: the test images.
        performance: on the test images.
        panels: the panels that were run; the others are not tested.
        findings: all of them.
        train: the training images, if there were any.
        train_performance: on them.
        complete: False where the audit was cut short.
        created: when it was made, with its time zone.
        provenance: what else is needed to repeat it: seeds, versions, hashes, options.
        memorised: training images against test images; ``None`` where that was not asked for.
        quickly: what it cannot tell since it was quick; empty for a full one.
    """

    model: ModelFacts
    layers: tuple[LayerResult, ...]
    preprocess: PreprocessChoice
    test: DataSet
    performance: Performance
    panels: Mapping[PanelName, Panel]
    findings: tuple[Finding, ...] = ()
    train: DataSet | None = None
    train_performance: Performance | None = None
    complete: bool = True
    created: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    provenance: Mapping[str, Any] = field(default_factory=dict)
    memorised: Memorised | None = None
    quickly: str = ""

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """What the audit says, a paragraph each."""
        said = sentences(self.panels, self.findings, self.performance.other_order)
        return (*said, self.quickly) if self.quickly else said

    @property
    def statement(self) -> str:
        """What the audit says, in one piece."""
        return " ".join(self.sentences)

    @cached_property
    def channels(self) -> Counts:
        """Counts of all channels by verdict."""
        return added(layer.channels for layer in self.layers)

    def panel(self, name: PanelName) -> Panel:
        """Return a panel, also one that was not run."""
        return self.panels.get(name, NOT_RUN)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of audit.json: plain Python values, no NaN, no lone surrogates."""
        cleaned: dict[str, Any] = _clean(_content(self))
        return cleaned

    def to_json(self) -> str:
        """Return audit.json as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of audit.json."""
    text = (Path(__file__).parent / "schema" / "audit-1.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def layer_results(
    layers: Iterable[Layer],
    channels: pd.DataFrame,
    regimes: Mapping[str, str | None] | None = None,
    learned: Mapping[str, Learned] | None = None,
) -> tuple[LayerResult, ...]:
    """Count the verdicts of each layer.

    Args:
        layers: the rows of the model, in the order of the network.
        channels: the profile's table with the columns ``layer`` and ``verdict``. The channels of a
            layer that has no rows there are not judged.
        regimes: layer path -> regime.
        learned: layer path -> whether it was learned.
    """
    judged = {str(path): list(rows) for path, rows in channels.groupby("layer")["verdict"]}
    return tuple(
        LayerResult(
            layer,
            counts(judged.get(layer.path, ["not_judged"] * (layer.shape[2] or 0))),
            (regimes or {}).get(layer.path),
            learned=(learned or {}).get(layer.path, "not-tested"),
        )
        for layer in layers
    )


def _content(audit: Audit) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": audit.complete,
        "quick": bool(audit.quickly),
        "tool": {"name": "layerscope", "version": version("layerscope")},
        "created": audit.created.isoformat(),
        "model": {**asdict(audit.model), "layers": [_layer(layer) for layer in audit.layers]},
        "preprocess": asdict(audit.preprocess),
        "data": {
            "test": asdict(audit.test),
            "train": None if audit.train is None else asdict(audit.train),
        },
        "performance": {
            "test": _performance(audit.performance),
            "train": _performance(audit.train_performance) if audit.train_performance else None,
        },
        "memorisation": audit.memorised and _memorised(audit.memorised),
        "panels": {name: asdict(audit.panel(name)) for name in PANELS},
        "channels": dict(audit.channels),
        "findings": [_finding(found) for found in audit.findings],
        "statement": audit.statement,
        "provenance": dict(audit.provenance),
    }


def _layer(result: LayerResult) -> dict[str, Any]:
    layer = result.layer
    return {
        "path": layer.path,
        "kind": layer.kind,
        "shape": layer.shape,
        "depth": layer.depth,
        "stride": layer.stride,
        "receptive_field": {"theoretical": layer.receptive_field, "effective": result.effective},
        "regime": result.regime,
        "pre_activation": layer.pre_activation,
        "learned": result.learned,
        "channels": dict(result.channels),
    }


def _performance(found: Performance) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "ci95": _interval(found.ci95),
        "majority": found.majority,
        "chance": found.chance,
        "per_class": [
            {
                "class": row.of.name,
                "index": row.of.index,
                "images": row.images,
                "accuracy": row.accuracy,
                "ci95": _interval(row.ci95),
            }
            for row in found.per_class
        ],
        "images": found.images,
        "skill": found.skill,
        "skill_ci95": _interval(found.skill_ci95),
        "calibration_error": found.calibration_error,
        "confused": [
            {
                "true": asdict(row.true),
                "predicted": asdict(row.predicted),
                "images": row.images,
                "share": row.share,
            }
            for row in found.confused
        ],
        "notes": found.notes,
        "several_labels": found.several,
    }


def _memorised(found: Memorised) -> dict[str, Any]:
    tested = not found.reason
    return {
        "train_images": found.train,
        "test_images": found.test,
        "gap": found.gap if tested else None,
        "gap_ci95": _interval(found.gap_ci95) if tested else None,
        "auc": found.auc if tested else None,
        "auc_ci95": _interval(found.auc_ci95) if tested else None,
        "described": _described(found.described),
    }


def _finding(found: Finding) -> dict[str, Any]:
    effect = found.effect
    return {
        "id": found.id,
        "kind": found.kind,
        "severity": found.severity,
        "panel": found.panel,
        "layer": found.layer,
        "channels": found.channels,
        "classes": [asdict(one) for one in found.classes],
        "region": found.region,
        "effect": None if effect is None else asdict(effect) | {"ci95": _interval(effect.ci95)},
        "p": found.p,
        "images": found.images,
        "message": found.message,
        "advice": found.advice,
        "link": f"report.html#{found.anchor}",
    }


def _interval(ends: Iterable[float] | None) -> list[float] | None:
    """Both ends, or nothing: half an interval would be read as a whole one."""
    both = [] if ends is None else [float(end) for end in ends]
    return both if both and all(map(math.isfinite, both)) else None


def _clean(value: Any) -> Any:
    """Return plain values that any JSON reader takes, whatever numbers and names came in."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    """Return text that UTF-8 can hold: bytes of a file name that it cannot are spelled out."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
