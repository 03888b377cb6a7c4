"""Changes of whole images: one gets a statistic of another.

A statistic is transplanted instead of guessing how strong a tint or a blur might be (science,
leakage, step 4).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from layerscope.vocabulary import Floats

MOST_GAIN = 3.0
"""A frequency is amplified at most so much, since noise would be, too."""

Change = Callable[[Floats, Floats], Floats]
"""Recipients and donors, (n, H, W, C) each -> changed recipients."""


def colour(recipients: Floats, donors: Floats) -> Floats:
    """Shift the median of each channel to the donor's."""
    own, other = (np.median(x, (1, 2), keepdims=True) for x in (recipients, donors))
    return _within(recipients + other - own, recipients, donors)


def contrast(recipients: Floats, donors: Floats) -> Floats:
    """Give each channel the mean and the standard deviation of the donor's."""
    means = [x.mean((1, 2), keepdims=True) for x in (recipients, donors)]
    spreads = [np.maximum(x.std((1, 2), keepdims=True), 1e-6) for x in (recipients, donors)]
    made = (recipients - means[0]) / spreads[0] * spreads[1] + means[1]
    return _within(made, recipients, donors)


def spectrum(recipients: Floats, donors: Floats) -> Floats:
    """Give each frequency the mean amplitude that it has in the donor, phases kept."""
    side = recipients.shape[1:3]
    frequency = np.hypot(np.fft.fftfreq(side[0])[:, None], np.fft.rfftfreq(side[1]))
    ring = np.minimum(np.round(frequency * min(side)).astype(int), min(side) // 2)
    waves = [np.fft.rfft2(x, axes=(1, 2)) for x in (recipients, donors)]
    own, other = (_in_rings(np.abs(wave).mean(-1), ring) for wave in waves)
    gain = np.clip(other / np.maximum(own, 1e-6), 0, MOST_GAIN)
    gain[:, 0] = 1  # the mean is no part of it
    made = np.fft.irfft2(waves[0] * gain[:, ring][..., None], s=side, axes=(1, 2))
    return _within(made.astype(np.float32), recipients, donors)


def _in_rings(amplitudes: Any, ring: Any) -> Any:
    """Mean amplitude in rings of equal frequency, (n, rings)."""
    count = int(ring.max()) + 1
    sizes = np.bincount(ring.ravel(), minlength=count)
    sums = [np.bincount(ring.ravel(), one.ravel(), count) for one in amplitudes]
    return np.stack(sums) / np.maximum(sizes, 1)


def _ring(width: int) -> Change:
    def change(recipients: Floats, donors: Floats) -> Floats:
        made = donors.copy()
        made[:, width:-width, width:-width] = recipients[:, width:-width, width:-width]
        return made

    return change


def _within(made: Floats, recipients: Floats, donors: Floats) -> Floats:
    """No value beyond the range of the images given."""
    low = min(float(recipients.min()), float(donors.min()))
    high = max(float(recipients.max()), float(donors.max()))
    return np.clip(made, low, high).astype(np.float32)


CHANGES: Mapping[str, Change] = {
    "colour": colour,
    "contrast": contrast,
    "spectrum": spectrum,
    "sharpness": spectrum,
    "ring-1": _ring(1),
    "ring-2": _ring(2),
}
"""By the name of the property (`layerscope.leakage.properties`) whose effect they test."""
