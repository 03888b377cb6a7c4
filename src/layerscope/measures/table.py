"""Every measure in one list: what it says, its ends, and where it may speak.

Documentation, report and profile read it, so that they cannot differ. There is no total score.
"""

import math
from dataclasses import dataclass
from typing import Literal

from layerscope.vocabulary import Regime

Null = Literal["", "noise", "mismatch", "twin", "labels", "random images"]

EVERYWHERE: tuple[Regime, ...] = ("early", "middle", "late")
IN_SPACE: tuple[Regime, ...] = ("early", "middle")
"""Late maps are too small, or see too much of the image, for a verdict on their arrangement."""
PIXELS_NEAR: tuple[Regime, ...] = ("early",)
MEANING: tuple[Regime, ...] = ("middle", "late")


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of the profile.

    Attributes:
        name: of the column.
        what: the question that it answers, in a few words.
        range: the lowest and the highest possible value.
        low: what a low value means.
        high: what a high value means.
        regimes: the depths at which it may count for a verdict; elsewhere it is shown at most.
        null: what it must be compared with before it says anything; empty where it stands alone.
        level: what has one value: each channel, or the whole layer.
        pre_activation: whether it means something on signed maps.
        source: where the formula comes from; empty for plain statistics.
    """

    name: str
    what: str
    range: tuple[float, float]
    low: str
    high: str
    regimes: tuple[Regime, ...]
    null: Null = ""
    level: Literal["channel", "layer"] = "channel"
    pre_activation: bool = True
    source: str = ""


def _repeats(change: str, remark: str = "") -> Measure:
    return Measure(
        f"repeat_{change}",
        f"Does the map keep when the photo changes a little ({change})?",
        (-1, 1),
        "inconsistent" + remark,
        "consistent, which an untrained layer is too",
        IN_SPACE,
        null="twin",
        source="Zhang, ICML 2019" if change == "shift" else "",
    )


MEASURES = (
    Measure(
        "firing_rate",
        "In which share of the images does the channel fire at all?",
        (0, 1),
        "dead on these images",
        "fires in every image",
        EVERYWHERE,
        pre_activation=False,
        source="dying ReLU, arXiv 1903.06733",
    ),
    Measure(
        "relative_range",
        "How far do the values spread, against the layer's typical channel?",
        (0, math.inf),
        "constant",
        "louder than its neighbours",
        EVERYWHERE,
    ),
    Measure(
        "saturated_share",
        "Which share of the pixels lies at the bound of the activation?",
        (0, 1),
        "none",
        "stuck at the bound",
        EVERYWHERE,
    ),
    Measure(
        "morans_i",
        "How alike are neighbouring pixels (Moran's I)?",
        (-1.09, 1.05),
        "0: noise; below: a checkerboard",
        "smooth; overlapping receptive fields alone make this so",
        IN_SPACE,
        null="noise",
    ),
    Measure(
        "structure",
        "How much more order has the map on photos than on noise?",
        (-2.14, 2.14),
        "no more than noise gives",
        "ordered by the image, learned or not; its 95 % limits stand beside it",
        IN_SPACE,
        null="twin",
    ),
    Measure(
        "flatness",
        "How evenly does the energy spread over the frequencies (spectral flatness)?",
        (0, 1),
        "few frequencies: smooth, or a pattern",
        ".56: white noise",
        IN_SPACE,
        null="noise",
    ),
    Measure(
        "noise_share",
        "How much noise is there, by the quietest places of the map?",
        (0, math.inf),
        "somewhere smooth or silent",
        ".5: as much noise as signal; 1: white noise",
        IN_SPACE,
        source="Immerkaer, CVIU 1996",
    ),
    Measure(
        "blur",
        "How much fine detail has the map, against the photo at the same size?",
        (0, math.inf),
        "blurred",
        "1: as sharp as the photo; above: edges, or noise",
        IN_SPACE,
    ),
    Measure(
        "checkerboard",
        "How much of the mean map repeats with the upsampling?",
        (0, 1),
        "no such pattern",
        "hardly anything else",
        IN_SPACE,
        source="Odena, Distill 2016",
    ),
    Measure(
        "positional",
        "Which share of the variance does the position alone explain?",
        (0, 1),
        "position means nothing",
        "the same map for every image",
        IN_SPACE,
        source="Mind the Pad, arXiv 2010.02178",
    ),
    Measure(
        "positional_border",
        "How far is the border of the mean map from its interior?",
        (0, math.inf),
        "like the interior",
        "padding shows",
        IN_SPACE,
        source="Mind the Pad, arXiv 2010.02178",
    ),
    Measure(
        "positional_kept",
        "Which share of the variance does the position explain with any input, noise too?",
        (-math.inf, math.inf),
        "position alone does nothing",
        "padding or a bias shows in every map",
        IN_SPACE,
        null="noise",
        source="Mind the Pad, arXiv 2010.02178",
    ),
    Measure(
        "board",
        "How much of a single map repeats with the upsampling?",
        (0, 1),
        "no such pattern",
        "hardly anything else",
        IN_SPACE,
        source="Odena, Distill 2016",
    ),
    Measure(
        "specificity",
        "How much better does the map follow its own image than another one?",
        (-1, 1),
        "unrelated to its image, or too deep to tell",
        "follows light, edges or colour of its image",
        PIXELS_NEAR,
        null="mismatch",
    ),
    Measure(
        "kernel_ratio",
        "Do the kernels spread over all patterns as random ones do?",
        (0, 1.02),
        "degenerate: few patterns",
        ".9: typical of trained layers; 1: not distinguishable from random initialisation",
        IN_SPACE,
        level="layer",
        source="CNN-Filter-DB, arXiv 2203.15331",
    ),
    Measure(
        "dimension",
        "How many independent things does the layer say?",
        (1, math.inf),
        "redundant: all channels say the same",
        "as many as it has channels, which noise has too",
        EVERYWHERE,
        null="twin",
        level="layer",
    ),
    _repeats("shift"),
    _repeats("flip", ", or it prefers one side, which is no fault"),
    _repeats("brightness"),
    _repeats("jpeg"),
    Measure(
        "class_signal",
        "How well does the channel find one class (average precision less prevalence)?",
        (-1, 1),
        "0: by chance",
        "answers to one class and nothing else",
        MEANING,
        null="labels",
        source="NeuronEval, arXiv 2506.05774",
    ),
    Measure(
        "coherence",
        "How alike are the images that excite it most, against random ones (z)?",
        (-math.inf, math.inf),
        "0: no more alike than any images",
        "something in common, as the encoder sees it",
        MEANING,
        null="random images",
    ),
    Measure(
        "two_alternative",
        "How often can the stronger of two images be told by its examples?",
        (0, 1),
        ".5: never better than a guess",
        "always",
        MEANING,
        null="random images",
        source="MIS, NeurIPS 2024",
    ),
)

BY_NAME = {measure.name: measure for measure in MEASURES}
