"""The command `audit`: progress, the result on stdout, and the exit code."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.text import Text

from layerscope.audit.figures import count
from layerscope.audit.findings import asked_panels, check_fail_on, failing
from layerscope.render.labels import plain
from layerscope.store.directory import check_place

if TYPE_CHECKING:  # these load TensorFlow
    from layerscope.auditing import Audited
    from layerscope.run.local import Progress
    from layerscope.scope import Scope

FOUND, SKIPPED = 1, 3

_Ears: TypeAlias = tuple[Callable[["Progress"], None], Callable[[str], None]]
"""Who hears how far the work is, and who hears warnings."""


@dataclass(frozen=True)
class Leakage:
    """How leaks are sought: declared patterns, and images that may go through the model."""

    expected: tuple[str, ...] = ()
    budget: int | None = None


def check(
    output: Path,
    panels: Sequence[str] | None,
    fail_on: Sequence[str],
    declared: Sequence[str] = (),
) -> None:
    """Refuse what can be refused before a model is loaded; nothing is written.

    Raises:
        InputError: a name is unknown, or no run can be kept at that place.
        EnvironmentFailure: nothing can be written there.
    """
    check_fail_on(fail_on)
    if declared:
        from layerscope.leakage.expected import expected  # heavy, and seldom needed

        for words in declared:
            expected(words)
    asked_panels(panels)
    check_place(output)


def run(
    scope: "Scope",
    images: str,
    train: str | None,
    output: Path,
    panels: Sequence[str] | None,
    fail_on: Sequence[str],
    max_skipped: float,
    as_json: bool,
    batch_size: int | None,
    quiet: bool,
    leakage: Leakage = Leakage(),
    summary: Path | None = None,
    quick: bool = False,
) -> int:
    """Audit, print, and return the exit code.

    Raises:
        InputError: options, images or the directory cannot be used.
        EnvironmentFailure: disk or memory.
    """
    with _watched(quiet) as (tell, warn):
        found = scope.audit(
            images,
            train,
            panels,
            batch_size=batch_size,
            directory=output,
            budget=leakage.budget,
            expected=leakage.expected,
            quick=quick,
            tell=tell,
            warn=warn,
        )
        if found.prepared and found.prepared.chosen_by in ("fingerprint", "accuracy"):
            warn(str(found.prepared))
    if summary is not None:
        from layerscope.render.markdown import write_summary  # loads what the audit has loaded

        write_summary(found.result, summary)
    if as_json:
        sys.stdout.write(found.result.to_json())
    else:
        _print(found, output)
    if failing(found.findings, fail_on):
        return FOUND
    return SKIPPED if _lost(found) > max_skipped else 0


def _lost(found: "Audited") -> float:
    """The largest share of a set of images that could not be read."""
    sets = [data for data in (found.result.test, found.result.train) if data is not None]
    return max(len(data.skipped) / max(1, data.images + len(data.skipped)) for data in sets)


def _print(found: "Audited", output: Path) -> None:
    """What the audit says, problems and warnings, and where the report is."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(escape(plain(found.statement)))
    notes = sum(one.severity == "info" for one in found.findings)
    for severity in ("fail", "warn"):
        for one in found.findings:
            if one.severity == severity:
                words = escape(plain(f"{one.kind}: {one.message}"))
                console.print(f"[bold]{severity}[/bold] {words}")
    from layerscope.auditing import REPORT  # loads TensorFlow, which is there by now

    more = f" (with {count(notes, 'note')})" if notes else ""
    console.print(escape(plain(f"{output / REPORT}{more}")))


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """Return the speed of a stage, once it is known."""
        return Text("" if not task.speed else f"{task.speed:.1f} images/s")


@contextmanager
def _watched(quiet: bool) -> Iterator[_Ears]:
    """Show stage, rate and time left on stderr, where someone watches."""
    console = Console(stderr=True)

    def warn(text: str) -> None:
        if not quiet:
            console.print(f"layerscope: {escape(plain(text))}", highlight=False, soft_wrap=True)

    if quiet or not sys.stderr.isatty():
        yield lambda _: None, warn
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeLeft(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        stages: dict[str, int] = {}

        def tell(progress: "Progress") -> None:
            if progress.stage not in stages:
                stages[progress.stage] = bar.add_task(progress.stage, total=progress.total)
            bar.update(stages[progress.stage], completed=progress.done)  # type: ignore[arg-type]

        yield tell, warn
