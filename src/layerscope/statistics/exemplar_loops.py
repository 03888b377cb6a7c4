"""The compiled loops of `layerscope.statistics.exemplars`. Importing this module loads numba.

A list is four arrays (most, C), best first: scores (NaN for nobody), images, rows, columns. The
sign is 1 where large scores come first, -1 where small ones do.
"""

import numpy as np

from layerscope.compiled import compiled


@compiled()
def _rank(scores, images, channel, score, image, sign):  # type: ignore[no-untyped-def]
    """Where in the list of a channel one belongs, at its end if nowhere."""
    at = len(scores)
    while at > 0:
        before = scores[at - 1, channel]
        # Ties are common: maps that are silent, or at the bound of their activation.
        tie = score == before and image < images[at - 1, channel]
        if not (tie or np.isnan(before) or sign * score > sign * before):
            break
        at -= 1
    return at


@compiled()
def _put(lists, channel, at, score, image, row, column):  # type: ignore[no-untyped-def]
    """Put one in; those behind move on, and the last falls out."""
    scores, images, rows, columns = lists
    for rank in range(len(scores) - 1, at, -1):
        scores[rank, channel] = scores[rank - 1, channel]
        images[rank, channel] = images[rank - 1, channel]
        rows[rank, channel] = rows[rank - 1, channel]
        columns[rank, channel] = columns[rank - 1, channel]
    scores[at, channel], images[at, channel] = score, image
    rows[at, channel], columns[at, channel] = row, column


@compiled()
def let_in(values, places, score, row, sign, lists):  # type: ignore[no-untyped-def]
    """Let the maps of a batch in.

    ``values`` (N, H, W, C); ``places`` (N,) of its images; ``score`` (N, C), NaN for maps that do
    not take part, and ``row`` (N, C), where it lies.
    """
    scores, images = lists[0], lists[1]
    for i in range(len(values)):
        for channel in range(values.shape[3]):
            own = score[i, channel]
            if np.isnan(own):
                continue
            at = _rank(scores, images, channel, own, places[i], sign)
            if at == len(scores):
                continue
            column = 0
            while values[i, row[i, channel], column, channel] != own:
                column += 1
            _put(lists, channel, at, own, places[i], row[i, channel], column)


@compiled()
def join(others, sign, lists):  # type: ignore[no-untyped-def]
    """Let those of other lists in."""
    scores, images = lists[0], lists[1]
    for rank in range(len(others[0])):
        for channel in range(scores.shape[1]):
            score, image = others[0][rank, channel], others[1][rank, channel]
            if np.isnan(score):
                continue
            at = _rank(scores, images, channel, score, image, sign)
            if at < len(scores):
                row, column = others[2][rank, channel], others[3][rank, channel]
                _put(lists, channel, at, score, image, row, column)
