"""Names made fit to print: file, layer and class names come from others and are hostile text."""

import unicodedata
from collections.abc import Callable

ELLIPSIS = "…"
REPLACEMENT = "?"
NO_BREAK = "\u00a0"


def plain(text: str) -> str:
    """Return text without anything that steers a terminal or the direction of writing.

    Line breaks and tabs become spaces; other control, format and unassigned characters become a
    question mark.
    """
    if text.replace(NO_BREAK, " ").isprintable():
        return text
    return "".join(_visible(character) for character in text)


def shorten(text: str, fits: Callable[[str], bool]) -> str:
    """Return text, with its middle cut out if it does not fit; both ends carry the meaning.

    Args:
        text: any text.
        fits: whether a candidate is short enough; true for all shorter ones if for one.
    """
    if fits(text):
        return text
    shortest, longest = 0, len(text)
    while shortest < longest - 1:
        middle = (shortest + longest) // 2
        shortest, longest = (middle, longest) if fits(_cut(text, middle)) else (shortest, middle)
    return _cut(text, shortest)


def _cut(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return text[:head] + ELLIPSIS + text[len(text) - (kept - head) :]


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return " "
    return REPLACEMENT if unicodedata.category(character).startswith("C") else character
