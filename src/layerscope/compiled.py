"""Functions compiled by numba, which loads with the first of them."""

from collections.abc import Callable
from typing import Any


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function on its first call and keeps the code on disk.

    Such a function lets other threads run.

    Args:
        options: further ones of ``numba.njit``.
    """
    import numba  # type: ignore[import-untyped, import-not-found, unused-ignore]

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder in which the compiled code could be kept
            return numba.njit(nogil=True, **options)(function)

    return decorate
