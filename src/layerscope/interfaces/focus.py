"""The command `focus`: what is checked before a model is loaded, and the work batch by batch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError
from layerscope.focus.names import check_layer, name_of
from layerscope.render.labels import plain

if TYPE_CHECKING:  # these load TensorFlow
    from layerscope.document.parts import Note
    from layerscope.focus.heat import Heat
    from layerscope.heatmaps import Drawn
    from layerscope.scope import Scope

Say = Callable[[str], None]


def check(method: str, layer: str | None, alpha: float, images: Sequence[str], out: Path) -> str:
    """Refuse what can be refused before a model is loaded; nothing is written.

    Returns:
        The name of the method.

    Raises:
        InputError: the method, its layer, alpha, or the place for the pictures cannot be used.
    """
    name = name_of(method)
    check_layer(name, layer)
    if not 0 <= alpha <= 1:
        raise InputError(f"--alpha lies between 0 (photo) and 1 (heatmap); got {alpha:g}.")
    from layerscope.document.heat import MANY
    from layerscope.render.folder import holds_one, place_of

    if holds_one(place_of(out)) and len(images) > 1:
        raise InputError(MANY)
    if place_of(out).resolve() in {Path(one).expanduser().resolve() for one in images}:
        raise InputError(
            f"Pictures go to a place of their own, and '{out}' is among the images: choose "
            "another -o."
        )
    return name


def run(
    scope: "Scope",
    images: str | list[str],
    target: str | None,
    method: str,
    layer: str | None,
    controls: bool,
    alpha: float,
    output: Path,
    batch_size: int | None,
    say: Say,
    line: Say,
    warn: Say,
) -> Path:
    """Find out where the model looks, and write the pictures.

    Args:
        scope: of the model.
        images: files, or a folder.
        target: name or index of a class; ``None`` for the predicted one of each image.
        method: its name.
        layer: path of a layer; ``None`` for the default.
        controls: whether to set controls beside the heatmaps, and to test the method.
        alpha: share of the colour of a heatmap over its photo.
        output: a folder, a .png or an .html.
        batch_size: images in one pass.
        say: hears what is being done.
        line: hears a line on each image.
        warn: hears what must not be overlooked.

    Returns:
        The page, the folder or the picture.

    Raises:
        InputError, EnvironmentFailure: as for `layerscope.scope.Scope.focus` and `save`.
    """
    from layerscope.heatmaps import drawn
    from layerscope.render.folder import holds_one, place_of, save

    asked: dict[str, Any] = {"batch_size": batch_size, "controls": controls}
    heats = scope.focus_stream(images, _target(target), method, layer, **asked)
    notes = _prepared(scope, images, warn)
    done = 0

    def tell(heat: "Heat") -> None:
        nonlocal done
        done += len(heat)
        say(f"{method}: {done:,} images done ...")
        for text in lines(heat):
            line(text)

    test = " and testing whether it can be believed" if controls else ""
    say(f"Computing {method}{test} ...")
    most = 1 if holds_one(place_of(output)) else None
    found = drawn(heats, alpha, notes, most, tell)
    for text in _remarks(found):
        warn(text)
    say("Drawing ...")
    files = save(found, output)
    return files[0].parent if len(files) > 1 else files[0]


def _remarks(found: "Drawn") -> list[str]:
    said = [f"skipped {one.file}: {one.reason}" for one in found.skipped]
    return said + ([found.left_out] if found.left_out else [])


def lines(heat: "Heat") -> list[str]:
    """Image, class and verdict, a line for each image."""
    from layerscope.document.heat import explained, verdict

    word = verdict(heat.controls.gate if heat.controls else None, "", heat.scale).verdict
    return [
        plain(f"{name}: {explained(heat, at)}: {'empty' if heat.empty[at] else word}")
        for at, name in enumerate(heat.ids)
    ]


def _target(text: str | None) -> str | int | None:
    """A class by its index or its name."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text


def _prepared(scope: "Scope", images: str | list[str], warn: Say) -> list["Note"]:
    """How the images were prepared, for the page."""
    from layerscope.document.parts import Note

    prepared = scope.preparation(images)
    if prepared.suspect:
        warn(prepared.suspect)
    if prepared.chosen_by in ("fingerprint", "accuracy"):
        warn(str(prepared))
    doubt = [Note(prepared.suspect, "warn")] if prepared.suspect else []
    said = (str(prepared), scope.resized(images))
    return doubt + [Note(text) for text in said if text]
