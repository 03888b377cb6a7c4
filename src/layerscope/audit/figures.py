"""Numbers as readers meet them in messages."""

from collections.abc import Iterable, Sequence
from typing import Literal

Interval = tuple[float, float]
Unit = Literal["share", "points", "number", "count"]
"""A share of 1, a difference of two such shares, any other number, or a number of things."""

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


def amount(value: float, ci95: Interval | None, unit: Unit) -> str:
    """Return a quantity and its 95 % interval in words, as its unit wants it."""
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "share":
        return with_interval(value, ci95)
    by, digits, word = (100, 1, " points") if unit == "points" else (1, 2, "")
    said, *ends = (f"{by * one:z.{digits}f}" for one in (value, *(ci95 or ())))
    return f"{said}{word} (95 % CI {' to '.join(ends)})" if ends else f"{said}{word}"


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
