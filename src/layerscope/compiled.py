"""Functions compiled by numba, which loads with the first of them."""

from collections.abc import Callable
from typing import Any


def compiled(*, apart: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles a function on its first call and keeps the code on disk.

    Such a function lets other threads run.

    Args:
        apart: what the function writes to overlaps nothing else. Without knowing that, loops over
            many arrays are tested for overlap each time, or use no vector instructions at all.
        options: further ones of ``numba.njit``.
    """
    import numba  # type: ignore[import-untyped, import-not-found, unused-ignore]

    if apart:
        options["pipeline_class"] = _apart()

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no folder in which the compiled code could be kept
            return numba.njit(nogil=True, **options)(function)

    return decorate


def _apart() -> Any:
    """A numba that does not know the flag makes slower code with equal results."""
    from numba.core.compiler import Compiler  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class Apart(Compiler):  # type: ignore[misc, unused-ignore]
        def define_pipelines(self) -> Any:
            self.state.flags.noalias = True
            return super().define_pipelines()  # type: ignore[no-untyped-call, unused-ignore]

    return Apart
