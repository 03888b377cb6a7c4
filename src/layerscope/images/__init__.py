"""Images come in here: from folders, tables, archives and arrays to batches for a model.

No TensorFlow: what its loader would give is matched, and tests hold the two equal.
"""

from layerscope.images.decode import Decoded, UnreadableImage, decode
from layerscope.images.resize import resize

__all__ = ["Decoded", "UnreadableImage", "decode", "resize"]
