"""Numbers as readers meet them in messages."""

from collections.abc import Iterable, Sequence

Interval = tuple[float, float]

NAMED = 8
"""How many channels or names a sentence lists before it says how many more there are."""


def percent(share: float) -> str:
    """Return a share as per cent with one decimal, never rounded up to 100 or down to 0."""
    value = 100 * share
    if 0 < value < 0.05:
        return "< 0.1 %"
    if 99.95 <= value < 100:
        return "> 99.9 %"
    return f"{value:.1f} %"


def with_interval(share: float, ci95: Interval | None) -> str:
    """Return a share and its 95 % interval in words."""
    if ci95 is None:
        return percent(share)
    low, high = (f"{100 * limit:z.1f}" for limit in ci95)
    return f"{percent(share)} (95 % CI {low} to {high})"


def count(number: int, noun: str) -> str:
    """Return a number and its noun: ``1 image``, ``1,200 images``, ``2 classes``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def listed(items: Sequence[object]) -> str:
    """Return items in words; a long list is cut, and says so."""
    words = ", ".join(str(item) for item in items[:NAMED])
    more = len(items) - NAMED
    return f"{words} and {more} more" if more > 0 else words


def conjoined(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def either(words: Iterable[str]) -> str:
    """Return ``a``, ``a or b`` or ``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
