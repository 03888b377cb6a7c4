"""The command `focus`: what is checked before a model is loaded, and the work batch by batch."""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError
from layerscope.focus.names import check_layer, name_of
from layerscope.images.labels import written_class
from layerscope.render.labels import plain

if TYPE_CHECKING:  # these load TensorFlow
    from layerscope.document.parts import Note
    from layerscope.focus.heat import Heat
    from layerscope.heatmaps import Drawn
    from layerscope.scope import Scope

Say = Callable[[str], None]
_WORDS = ("true", "false", "none")


@dataclass(frozen=True)
class Asked:
    """What the command was asked for.

    Attributes:
        images: files, or one folder.
        output: a folder, a .png or an .html.
        target: a class as it was written; ``None`` for the predicted one of each image.
        method: its name.
        layer: path of a layer; ``None`` for the default.
        settings: parameters of the method, each ``NAME=VALUE``.
        controls: whether to set controls beside the heatmaps, and to test the method.
        alpha: share of the colour of a heatmap over its photo.
        batch_size: images in one pass.
    """

    images: tuple[str, ...]
    output: Path
    target: str | None = None
    method: str = "grad-cam"
    layer: str | None = None
    settings: tuple[str, ...] = ()
    controls: bool = True
    alpha: float = 0.4
    batch_size: int | None = None


def check(asked: Asked) -> None:
    """Refuse what can be refused before a model is loaded; nothing is written.

    Raises:
        InputError: the method, its layer, alpha, a setting, or the place for the pictures cannot
            be used.
    """
    check_layer(name_of(asked.method), asked.layer)
    read_settings(asked.settings)
    if not 0 <= asked.alpha <= 1:
        raise InputError(f"--alpha lies between 0 (photo) and 1 (heatmap); got {asked.alpha:g}.")
    from layerscope.document.heat import MANY
    from layerscope.render.folder import holds_one, place_of

    place = place_of(asked.output)
    if holds_one(place) and len(asked.images) > 1:
        raise InputError(MANY)
    if place.resolve() in {Path(one).expanduser().resolve() for one in asked.images}:
        raise InputError(
            f"Pictures go to a place of their own, and '{asked.output}' is among the images: "
            "choose another -o."
        )


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parameters of a method, by name, from ``NAME=VALUE`` each.

    Values are Python's numbers, lists of numbers, True, False and None; anything else is a word.

    Raises:
        InputError: something has another form, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for text in settings:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals or not value:
            raise InputError(f"--set takes NAME=VALUE, such as steps=128; got {text!r}.")
        if name in found:
            raise InputError(f"--set takes each parameter once; {name!r} was given again.")
        try:
            found[name] = ast.literal_eval(value.title() if value.lower() in _WORDS else value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def run(scope: "Scope", asked: Asked, say: Say, line: Say, warn: Say) -> tuple[str, Path]:
    """Find out where the model looks, and write the pictures.

    Args:
        scope: of the model.
        asked: what the command was asked for.
        say: hears what is being done.
        line: hears a line on each image.
        warn: hears what must not be overlooked.

    Returns:
        What the gate says, and the page, the folder or the picture.

    Raises:
        InputError, EnvironmentFailure: as for `layerscope.scope.Scope.focus` and `save`.
    """
    from layerscope.document.heat import verdict_line
    from layerscope.heatmaps import drawn
    from layerscope.render.folder import holds_one, place_of, save

    images = asked.images[0] if len(asked.images) == 1 else list(asked.images)
    heats = _heats(scope, asked, images)
    notes = _prepared(scope, images, warn)
    done, verdict, method = 0, "", name_of(asked.method)

    def tell(heat: "Heat") -> None:
        nonlocal done, verdict
        done, verdict = done + len(heat), verdict_line(heat)
        say(f"{method}: {done:,} images done ...")
        for text in lines(heat):
            line(text)

    test = " and testing whether it can be believed" if asked.controls else ""
    say(f"Computing {method}{test} ...")
    most = 1 if holds_one(place_of(asked.output)) else None
    found = drawn(heats, asked.alpha, notes, most, tell)
    for text in _remarks(found):
        warn(text)
    say("Drawing ...")
    files = save(found, asked.output)
    return verdict, files[0].parent if len(files) > 1 else files[0]


def _heats(scope: "Scope", asked: Asked, images: str | list[str]) -> "Iterator[Heat]":
    from layerscope.focus.methods import method_named

    settings = read_settings(asked.settings)
    method = method_named(asked.method)
    method.complete(settings)  # other arguments of focus() are no parameters of a method
    known = {"batch_size": asked.batch_size, "controls": asked.controls}
    target = asked.target and written_class(asked.target, scope.classes, "--class")
    return scope.focus_stream(images, target, method.name, asked.layer, **known, **settings)


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
