"""The command line. It parses, calls inward, prints and turns errors into exit codes."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import layerscope
from layerscope.errors import EnvironmentFailure, InputError, LayerscopeError
from layerscope.interfaces.options import (
    Alpha,
    At,
    BatchSize,
    Budget,
    Classes,
    CustomObjects,
    Expected,
    FailOn,
    FromClass,
    Images,
    Laid,
    Layers,
    Maps,
    MarkFile,
    MaxSkipped,
    Method,
    Model,
    Most,
    NoControls,
    OneLayer,
    Output,
    Page,
    Panels,
    Pasted,
    Preprocess,
    Quick,
    Quiet,
    RegionOf,
    Resize,
    Roam,
    Run,
    Scale,
    Seed,
    Settings,
    Summary,
    Target,
    Test,
    Train,
    Trust,
)

if TYPE_CHECKING:
    from layerscope.scope import Scope
    from layerscope.show import Shown

BAD_INPUT, ENVIRONMENT, INTERRUPTED = 2, 4, 130

app = typer.Typer(
    help="See what every layer of an image CNN sees, and find out whether to believe it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _reports(command: Callable[..., None]) -> Callable[..., None]:
    """Errors of ours become one sentence on stderr and the exit code of the contract."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **{name: _expanded(name, value) for name, value in kwargs.items()})
        except EnvironmentFailure as error:
            raise _fail(str(error), ENVIRONMENT) from None
        except ImportError as error:
            text = f"A package that layerscope needs cannot be loaded ({error}); install it."
            raise _fail(text, ENVIRONMENT) from None
        except MemoryError:
            text = "The machine's memory is used up: name fewer layers or a smaller --batch-size."
            raise _fail(text, ENVIRONMENT) from None
        except LayerscopeError as error:
            raise _fail(str(error), BAD_INPUT) from None
        except KeyboardInterrupt:
            raise _fail("Interrupted.", INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return run


_READ = ("model", "images", "train", "mark", "classes", "first", "second")
"""Options whose text is a path; of them a file that is really called ``~name`` goes first."""


def _expanded(name: str, value: Any) -> Any:
    """A path with the home directory for ``~``; anything else as it is."""
    if isinstance(value, list):
        return [_expanded(name, one) for one in value]
    try:
        if isinstance(value, Path):
            return value.expanduser()
        read = name in _READ and isinstance(value, str) and value.startswith("~")
        return str(Path(value).expanduser()) if read and not os.path.lexists(value) else value
    except RuntimeError as error:
        raise InputError(
            f"A path that begins with ~ lies in a home directory; got '{value}' ({error}). Write "
            "the whole path."
        ) from None


def _fail(text: str, code: int) -> typer.Exit:
    typer.echo(_printable(f"layerscope: {text}"), err=True)
    return typer.Exit(code)


def _printable(text: str) -> str:
    """One line without control characters: names of files and layers are hostile text."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _start() -> None:
    """Load TensorFlow without its greetings; a user who sets its log level sees them."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        from layerscope.model import start
    else:
        with _without_stderr():
            from layerscope.model import start

            start.find_devices()
    start.hush()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: TensorFlow writes there before its log level counts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is being done, where someone watches."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("Starting TensorFlow ...") as status:
        yield lambda text: status.update(text)


def _scope(
    model: str,
    preprocess: str,
    resize: str,
    classes: str | None,
    trust: bool,
    custom_objects: str | None,
    seed: int = 0,
) -> "Scope":
    _start()
    from layerscope.scope import Scope

    return Scope(
        model,
        preprocess,
        classes,
        resize=resize,
        trust=trust,
        custom_objects=custom_objects,
        seed=seed,
    )


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"layerscope {layerscope.__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """See what every layer of an image CNN sees, and find out whether to believe it."""


@app.command()
@_reports
def show(
    model: Model,
    images: Images,
    layers: Layers = None,
    maps: Maps = None,
    scale: Scale = "map",
    alpha: Alpha = None,
    output: Output = Path("layerscope-show"),
    preprocess: Preprocess = "auto",
    resize: Resize = "stretch",
    classes: Classes = None,
    trust: Trust = False,
    custom_objects: CustomObjects = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write pictures of the maps of some images: an overview and a grid per layer.

    Of more than 16 images 16 are shown, evenly spread over the set.
    """
    count = _count(maps)
    with _progress(quiet) as say:
        scope = _scope(model, preprocess, resize, classes, trust, custom_objects, seed)
        say("Computing the maps ...")
        shown = scope.show(
            images[0] if len(images) == 1 else list(images),
            layers or None,
            maps=count,
            scale=scale,
            alpha=alpha,
            batch_size=batch_size,
            warn=lambda _: None,  # told below
        )
        say("Drawing ...")
        files = shown.save(output)
    for text in _remarks(shown) if not quiet else ():
        typer.echo(_printable(f"layerscope: {text}"), err=True)
    if _on_terminal():
        _preview(shown)
    typer.echo(str(files[0].parent if len(files) > 1 else files[0]))


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _preview(shown: "Shown") -> None:
    """The maps of one layer, or what there is of a network, for someone at a terminal."""
    from rich.console import Console

    from layerscope.render import terminal

    parts = shown.grids if len(shown.grids) == 1 else shown.overviews
    for part in parts:
        terminal.show(part, Console())


def _remarks(shown: "Shown") -> Iterator[str]:
    """What speaks against a preprocessing, what was found out, and what is not or not as it was."""
    prepared = shown.prepared
    if prepared and prepared.suspect:
        yield prepared.suspect
    if prepared and prepared.chosen_by in ("fingerprint", "accuracy"):
        yield str(prepared)
    yield from shown.notes
    for item in shown.skipped:
        yield f"skipped {item.file}: {item.reason}"
    for path, reason in shown.not_drawn:
        yield f"not drawn: {path} ({reason})"


def _count(maps: str | None) -> int | Literal["all"] | None:
    if maps is None or maps == "all":
        return maps  # type: ignore[return-value]
    if not maps.isdecimal() or int(maps) < 1:
        raise InputError(f"--maps takes a number from 1, or all; got '{maps}'.")
    return int(maps)


@app.command()
@_reports
def layers(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
    trust: Trust = False,
    custom_objects: CustomObjects = None,
    quiet: Quiet = False,
) -> None:
    """List every layer that gives maps: shape, stride, receptive field, depth."""
    with _progress(quiet):
        scope = _scope(model, "auto", "stretch", None, trust, custom_objects)
        rows = list(scope.traced.layers.values())
        if not rows:
            scope.traced.resolve("conv")  # says why there is nothing to list
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from layerscope.interfaces.tables import layer_table

    layer_table(rows, scope.model.name)


@app.command()
@_reports
def focus(
    model: Model,
    images: Images,
    target: Target = None,
    method: Method = "grad-cam",
    layer: OneLayer = None,
    settings: Settings = None,
    no_controls: NoControls = False,
    alpha: Laid = 0.4,
    output: Output = Path("layerscope-focus"),
    preprocess: Preprocess = "auto",
    resize: Resize = "stretch",
    classes: Classes = None,
    trust: Trust = False,
    custom_objects: CustomObjects = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Show where the model looks, and whether such heatmaps can be believed.

    Of more than 16 images 16 have a picture, evenly spread over the set.
    """
    from layerscope.interfaces.focus import Asked, check, run

    asked = Asked(
        tuple(images),
        output,
        target,
        method,
        layer,
        tuple(settings or ()),
        not no_controls,
        alpha,
        batch_size,
    )
    check(asked)
    warnings: list[str] = []
    with _progress(quiet) as say:
        scope = _scope(model, preprocess, resize, classes, trust, custom_objects, seed)
        line = typer.echo if _on_terminal() else lambda _: None
        said, place = run(scope, asked, say, line, warnings.append)
    for text in warnings if not quiet else ():
        typer.echo(_printable(f"layerscope: {text}"), err=True)
    typer.echo(_printable(said))
    typer.echo(str(place))


@app.command()
@_reports
def probe(
    model: Model,
    images: Pasted,
    mark: MarkFile = None,
    at: At = None,
    roam: Roam = False,
    region: RegionOf = None,
    from_class: FromClass = None,
    most: Most = 200,
    output: Page = Path("layerscope-probe"),
    preprocess: Preprocess = "auto",
    resize: Resize = "stretch",
    classes: Classes = None,
    trust: Trust = False,
    custom_objects: CustomObjects = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Test a suspect: paste a mark, or a part of a class, and see which classes it pushes."""
    from layerscope.interfaces.probe import check, run

    asked = check(mark, at, roam, region, from_class, images, output)
    warnings: list[str] = []
    with _progress(quiet) as say:
        scope = _scope(model, preprocess, resize, classes, trust, custom_objects, seed)
        said, place = run(scope, images, asked, output, most, batch_size, say, warnings.append)
    for text in warnings if not quiet else ():
        typer.echo(_printable(f"layerscope: {text}"), err=True)
    typer.echo(_printable(said))
    typer.echo(str(place))


@app.command()
@_reports
def audit(
    model: Model,
    images: Test,
    train: Train = None,
    output: Run = Path("layerscope-run"),
    panels: Panels = None,
    fail_on: FailOn = None,
    expected: Expected = None,
    max_skipped: MaxSkipped = 0.05,
    budget: Budget = None,
    quick: Quick = False,
    summary: Summary = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only audit.json.")] = False,
    preprocess: Preprocess = "auto",
    resize: Resize = "stretch",
    classes: Classes = None,
    trust: Trust = False,
    custom_objects: CustomObjects = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Judge a model by images: one report with evidence, in panels that stay apart.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from layerscope.interfaces.audit import Leakage, check, run

    asked = panels.split(",") if panels else None
    # An empty name is refused: a gate whose variable is not set must not stand open.
    failures = [] if fail_on is None else [name.strip() for name in fail_on.split(",")]
    check(output, asked, failures, expected or ())
    with _progress(quiet):
        scope = _scope(model, preprocess, resize, classes, trust, custom_objects, seed)
    code = run(
        scope,
        images,
        train,
        output,
        asked,
        failures,
        max_skipped,
        as_json,
        batch_size,
        quiet,
        Leakage(tuple(expected or ()), budget),
        summary,
        quick,
    )
    raise typer.Exit(code)


@app.command()
@_reports
def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="The earlier audit.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The later audit.")],
) -> None:
    """Say what appeared, vanished and changed from one audit to another."""
    from layerscope.audit.comparison import compare

    typer.echo("\n".join(map(_printable, str(compare(first, second)).splitlines())))


@app.command()
@_reports
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where pictures go.")
    ] = Path("layerscope-demo"),
    quiet: Quiet = False,
) -> None:
    """Show what a real ImageNet network sees in real photos. Needs no network."""
    with _progress(quiet) as say:
        _start()
        from layerscope.interfaces.demo import run

        run(output, say, typer.echo)


def main() -> None:
    """Entry point of the command ``layerscope``."""
    app()
