"""Audits made of planted numbers, for the tests of rules, schema and report."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from layerscope.audit.clarity import added, clarity_panel
from layerscope.audit.inputs import label_mismatch, preprocessing_suspect
from layerscope.audit.performance import low_accuracy, performance, performance_panel
from layerscope.audit.result import (
    Audit,
    DataSet,
    ModelFacts,
    PreprocessChoice,
    layer_results,
)
from layerscope.audit.vitality import vitality_findings, vitality_verdicts
from layerscope.measures.vitality import relative_range
from layerscope.vocabulary import Alternative, Layer, Skipped

HOSTILE = '"><script>alert(1)</script>\u202e\udcff\x00'
IMAGES = 800


def table(layer="conv", channels=8, *, signed=False, images=IMAGES, **planted):
    """Healthy channels of one layer; ``column=(channel, value)`` or a list of them plants."""
    rows = pd.DataFrame(
        {
            "layer": layer,
            "channel": range(channels),
            "images": images,
            "finite": images,
            "fired": images,
            "minimum": -2.0 if signed else 0.0,
            "maximum": 3.0,
            "saturated_share": 0.0,
            "pre_activation": signed,
        }
    )
    for column, places in planted.items():
        for channel, value in [places] if isinstance(places, tuple) else places:
            rows.loc[channel, column] = value
    return rows.assign(relative_range=relative_range(rows["minimum"], rows["maximum"]))


def silent(*channels):
    """Plants for `table`: channels that are 0 everywhere."""
    return {"fired": [(c, 0) for c in channels], "maximum": [(c, 0.0) for c in channels]}


def judged(*tables):
    """One table with its verdicts."""
    whole = pd.concat(tables, ignore_index=True)
    return whole.assign(verdict=vitality_verdicts(whole))


def layer(path, channels=8, depth=0.5, signed=False, side=28):
    return Layer(path, "conv", (side, side, channels), 4, 27, depth, signed, path)


def guesses(hits, wrong, classes=4, others=None):
    """Predictions (one-hot probabilities) and labels with so many right and wrong ones."""
    labels = np.arange(hits + wrong) % classes
    answers = np.where(np.arange(hits + wrong) < hits, labels, (labels + 1) % classes)
    return np.eye(classes, dtype=np.float32)[answers] * 0.9 + 0.025, labels


def audit(found, channels, layers, findings=(), names=("cat", "dog", "hen", "fox"), **more):
    results = layer_results(layers, channels, {row.path: "middle" for row in layers})
    total = added(result.channels for result in results)
    given = {
        "model": ModelFacts("model.keras", "0123456789abcdef" * 4, 3_504_872),
        "layers": results,
        "preprocess": PreprocessChoice(
            "-1..1",
            "fingerprint",
            (Alternative("-1..1", 0.02), Alternative("0..1", 0.66, 0.25)),
        ),
        "test": DataSet(IMAGES, tuple(names)),
        "performance": found,
        "panels": {
            "clarity": clarity_panel(total, total, IMAGES),
            "performance": performance_panel(found),
        },
        "findings": (*low_accuracy(found), *vitality_findings(channels), *findings),
        "created": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        "provenance": {"seed": 0, "tensorflow": "2.20.0"},
    }
    return Audit(**{**given, **more})


def ordinary():
    """A model with some dead channels and a fair accuracy."""
    channels = judged(
        table("stem/conv", 16, **silent(3)),
        table("block1/expand", 48, **silent(*range(4, 15))),
        table("block1/project", 24, signed=True, maximum=[(2, -2.0), (5, -2.0), (7, -2.0)]),
        table("head/conv", 64, saturated_share=(9, 0.7)),
    )
    rows = [
        layer("stem/conv", 16, 0.0),
        layer("block1/expand", 48, 0.3),
        layer("block1/project", 24, 0.6, signed=True),
        layer("head/conv", 64, 1.0, side=7),
    ]
    return audit(performance(*guesses(610, 190), ["cat", "dog", "hen", "fox"]), channels, rows)


def broken():
    """A model that gives NaN and guesses, with every finding of the first form."""
    channels = judged(
        table("stem/conv", 16, finite=[(0, 0), (4, 790)]),
        table("head/conv", 64, finite=[(c, 0) for c in range(64)]),
    )
    rows = [layer("stem/conv", 16, 0.0), layer("head/conv", 64, 1.0, side=7)]
    skipped = tuple(Skipped(f"cat/{n:03}.jpg", "the file is empty") for n in range(50))
    return audit(
        performance(*guesses(130, 670), ["cat", "dog", "hen", "fox"]),
        channels,
        rows,
        (
            preprocessing_suspect("The fingerprint of 0..1 is .66, that of -1..1 is .02."),
            label_mismatch("The images have 3 classes and the model 4 outputs.", "train"),
        ),
        test=DataSet(IMAGES, ("cat", "dog", "hen", "fox"), skipped),
        train=DataSet(1200),
        complete=False,
    )


def hostile():
    """Names from files and models that try to be more than names."""
    names = [HOSTILE, "</td></table>", "b" * 400, "&amp;"]
    path = HOSTILE.replace("\udcff", "")  # pandas keeps no lone surrogates, and Keras has none
    channels = judged(table(path, 16, **silent(*range(4))))
    return audit(
        performance(*guesses(10, 70), names),
        channels,
        [layer(path, 16)],
        (label_mismatch(HOSTILE), preprocessing_suspect(HOSTILE)),
        names,
        model=ModelFacts(f"/models/{HOSTILE}", "0" * 64, 12),
        test=DataSet(80, tuple(names), (Skipped(HOSTILE, HOSTILE),)),
        provenance={HOSTILE: HOSTILE},
    )


def untested():
    """Images without labels, and a model of which nothing is wrong."""
    channels = judged(table("conv", 8))
    found = performance(np.zeros((20, 4)), None)
    return audit(found, channels, [layer("conv")], names=())
