"""The compiled loops of `layerscope.statistics.exemplars`. Importing this module loads numba.

A list is four arrays (most, C), best first: scores (NaN for nobody), images, rows, columns. The
sign is 1 where large scores come first, -1 where small ones do.
"""

import numpy as np

from layerscope.compiled import compiled


@compiled()
def _chosen(channel, scores, images, sign, best, places, origins):  # type: ignore[no-untyped-def]
    """Let new scores (N, C) into those of one channel, and note where each comes from.

    Origins are ranks of those that were there, and for new ones -1 less their row.

    Returns:
        Whether there are new ones.
    """
    last, changed = best.size - 1, False
    for i in range(scores.shape[0]):
        score, image = scores[i, channel], images[i, channel]
        if np.isnan(score):
            continue
        at = last
        while at >= 0:
            before = best[at]
            # Ties are common: maps that are silent, or at the bound of their activation.
            if sign * score < sign * before or (score == before and image >= places[at]):
                break
            if at < last:
                best[at + 1], places[at + 1], origins[at + 1] = before, places[at], origins[at]
            best[at], places[at], origins[at] = score, image, -1 - i
            at -= 1
            changed = True
    return changed


@compiled()
def _column(values, image, row, channel, score):  # type: ignore[no-untyped-def]
    """The first column of a row that holds a score."""
    for column in range(values.shape[2]):
        if values[image, row, column, channel] == score:
            return column
    return -1


@compiled()
def let_in(  # type: ignore[no-untyped-def]
    scores, images, rows, columns, values, sign,
    kept_scores, kept_images, kept_rows, kept_columns,
):  # fmt: skip
    """Let the entries of one list, of any order and length, into another.

    Where ``values`` (N, H, W, C) are given, the maps of the N entries, the columns are those where
    the row holds the score, and are found here.
    """
    most, channels = kept_scores.shape
    best, places = np.empty(most, np.float32), np.empty(most, np.int64)
    origins, row, column = np.empty_like(places), np.empty_like(places), np.empty_like(places)
    for channel in range(channels):
        for rank in range(most):
            best[rank], places[rank] = kept_scores[rank, channel], kept_images[rank, channel]
            origins[rank] = rank
        if not _chosen(channel, scores, images, sign, best, places, origins):
            continue
        for rank in range(most):
            at = origins[rank]
            if at >= 0:
                row[rank], column[rank] = kept_rows[at, channel], kept_columns[at, channel]
                continue
            at = -1 - at
            row[rank], column[rank] = rows[at, channel], columns[at, channel]
            if values.size:
                column[rank] = _column(values, at, row[rank], channel, best[rank])
        for rank in range(most):
            kept_scores[rank, channel], kept_images[rank, channel] = best[rank], places[rank]
            kept_rows[rank, channel], kept_columns[rank, channel] = row[rank], column[rank]
