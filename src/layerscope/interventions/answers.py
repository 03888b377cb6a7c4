"""What a model answers, as probabilities."""

import numpy as np
from scipy.special import expit, softmax

from layerscope.vocabulary import Floats


def probabilities(outputs: Floats) -> Floats:
    """Outputs (N, K) of a classifier as probabilities, float32 (N, max(K, 2)).

    Numbers within 0..1 are taken for probabilities, others for logits. One output stands for the
    second of two classes.
    """
    values = np.asarray(outputs, np.float64)
    single = values.shape[1] == 1
    likely = values.size > 0 and values.min() >= 0 and values.max() <= 1 + 1e-3
    if single:
        second = values if likely else expit(values)
        values = np.concatenate([1 - second, second], 1)
    elif not likely:
        values = softmax(values, 1)
    return values.astype(np.float32)
