"""Images come in here: from folders, tables, archives and arrays to batches for a model.

No TensorFlow: what its loader would give is matched, and tests hold the two equal. The functions
`decode.decode` and `resize.resize` are imported from their modules, whose names they share.
"""

from layerscope.images.contract import Source
from layerscope.images.labels import LabelMatch, class_names, match_labels
from layerscope.images.preprocess import CANDIDATES, Preprocessing, preprocessing
from layerscope.images.source import read

__all__ = [
    "CANDIDATES",
    "LabelMatch",
    "Preprocessing",
    "Source",
    "class_names",
    "match_labels",
    "preprocessing",
    "read",
]
