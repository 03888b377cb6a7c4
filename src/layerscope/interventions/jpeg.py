"""Images as they would be had they been saved as JPEG of some quality."""

import io

import numpy as np
from PIL import Image

from layerscope.vocabulary import Floats

QUALITIES = (95, 75, 40)
"""Of Pillow, 1 to 95: nothing to be seen, the usual one, and blocks."""


def reencoded(pixels: np.ndarray, quality: int) -> Floats:
    """One image, saved and read again.

    Args:
        pixels: (H, W, C), 0 to 255, C 1 or 3.
        quality: see `QUALITIES`.

    Returns:
        float32 (H, W, C).
    """
    grey = pixels.shape[2] == 1
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(whole[..., 0] if grey else whole).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        found = np.asarray(image, np.float32)
    return found[..., None] if grey else found
