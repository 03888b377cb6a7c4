"""What a model answers, as probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from layerscope.vocabulary import Floats


def are_probabilities(outputs: NDArray[Any]) -> bool:
    """Whether all numbers lie within 0..1; of few images logits may do so by chance."""
    return bool(outputs.size and outputs.min() >= 0 and outputs.max() <= 1 + 1e-3)


def probabilities(outputs: Floats, likely: bool | None = None) -> Floats:
    """Outputs (N, K) of a classifier as probabilities, float32 (N, max(K, 2)).

    One output stands for the second of two classes.

    Args:
        outputs: probabilities or logits.
        likely: whether they are probabilities already; default `are_probabilities` of these. Of a
            model that is asked several times it is decided once, for all.
    """
    values = np.asarray(outputs, np.float64)
    single = values.shape[1] == 1
    likely = are_probabilities(values) if likely is None else likely
    if single:
        second = values if likely else expit(values)
        values = np.concatenate([1 - second, second], 1)
    elif not likely:
        values = softmax(values, 1)
    return values.astype(np.float32)
