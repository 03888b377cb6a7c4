"""Whether what BatchNorm layers stored speaks against a preprocessing that was asked for."""

import numpy as np

from layerscope.images.preprocess import Preprocessing, preprocessing
from layerscope.model.fingerprint import FAR, Fingerprint, alike, together

ABSURD = 100.0
"""Divergence that no lack of training explains: statistics that were updated once, with the usual
momentum of .99, are at most 48 away from those of their own images."""


def contradicts(found: Fingerprint, explicit: str) -> str:
    """Why the user's own choice of preprocessing is doubtful; empty where nothing speaks against.

    Args:
        found: at best made with ``candidates`` that include the explicit one.
        explicit: its name, as the user wrote it.
    """
    if found.chosen is None:
        return _beyond_doubt(found, explicit)
    group = next(group for group in found.groups if found.chosen in group)
    asked = preprocessing(explicit)
    if explicit in group or any(_same_figures(asked, preprocessing(name)) for name in group):
        return ""
    own = found.divergences.get(explicit)
    scored = f", under {explicit} {own[0]:.2g}" if own else ""
    return (
        f"The model was asked to run with preprocessing {explicit}, and its BatchNorm statistics "
        f"speak for {together(group)}: the divergence at '{found.layers[0]}' is "
        f"{found.divergences[found.chosen][0]:.2g}{scored} ({found.images} images)."
    )


def _beyond_doubt(found: Fingerprint, explicit: str) -> str:
    """What speaks against a choice even where nothing speaks for another one."""
    if explicit not in found.divergences or not found.groups:
        return ""
    best = found.groups[0][0]
    own, least = found.divergences[explicit][0], found.divergences[best][0]
    if own < ABSURD or least > FAR:
        return ""
    return (
        f"The model was asked to run with preprocessing {explicit}, under which the input of "
        f"'{found.layers[0]}' is nothing like what that layer stored in training: the divergence "
        f"is {own:.2g}, and {least:.2g} under {best} ({found.images} images)."
    )


def _same_figures(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether two preprocessings do the same but for rounding."""
    if one.bgr != other.bgr:
        return False
    ramp = np.linspace(0, 255, 64, dtype=np.float32)[:, None, None].repeat(3, -1)
    return alike(one.apply(ramp), other.apply(ramp))
