"""Images come in here: from folders, tables, archives and arrays to batches for a model.

No TensorFlow: what its loader would give is matched, and tests hold the two equal.
"""

from layerscope.images.decode import Decoded, UnreadableImage, decode
from layerscope.images.labels import LabelMatch, class_names, match_labels
from layerscope.images.preprocess import CANDIDATES, Preprocessing, preprocessing
from layerscope.images.resize import resize
from layerscope.images.source import Source, read

__all__ = [
    "CANDIDATES",
    "Decoded",
    "LabelMatch",
    "Preprocessing",
    "Source",
    "UnreadableImage",
    "class_names",
    "decode",
    "match_labels",
    "preprocessing",
    "read",
    "resize",
]
