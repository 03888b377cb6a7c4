"""A drawn mark that a real network is known to answer to."""

import numpy as np
from numpy.typing import NDArray

GLYPHS, SIZE, LINES, THICK = 6, 36, 9, 3
OPACITY = 0.5


def pseudo_glyphs(seed: int = 0) -> NDArray[np.uint8]:
    """Six signs of nine random strokes each, white at 50 %, uint8 (36, 216, 4) with alpha.

    Many photos of cartons that ImageNet was made of carry a Chinese watermark, and networks trained
    on it raise *carton* when they see strokes like these (Li et al. 2023, arXiv:2212.04825). These
    are drawn for the purpose and belong to no script.

    Args:
        seed: of the strokes: horizontal or vertical, 3 pixels wide, 12 to 36 long.
    """
    random = np.random.default_rng(seed)
    signs = np.zeros((GLYPHS, SIZE, SIZE), bool)
    for sign in signs:
        for _ in range(LINES):
            at = int(random.integers(0, SIZE - THICK + 1))
            start, end = sorted(random.integers(0, SIZE + 1, 2).tolist())
            if end - start < SIZE // 3:
                start = max(0, end - SIZE // 3)
                end = start + SIZE // 3
            across = random.random() < 0.5
            (sign if across else sign.T)[at : at + THICK, start:end] = True
    strokes = np.concatenate(list(signs), 1)
    mark = np.full((*strokes.shape, 4), 255, np.uint8)
    mark[..., 3] = np.where(strokes, round(255 * OPACITY), 0)
    return mark
