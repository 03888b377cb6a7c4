"""The command `probe`: what is checked before a model is loaded, and the work."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from layerscope.errors import InputError
from layerscope.images.labels import written_class

if TYPE_CHECKING:  # these load TensorFlow
    from layerscope.images.region import Region
    from layerscope.interventions.marks import Mark
    from layerscope.scope import Scope

Say = Callable[[str], None]


class Question(NamedTuple):
    """What is pasted, and where."""

    mark: "Mark | None"
    at: tuple[float, float] | None
    roam: bool
    region: "Region | None"
    from_class: str | None


def check(
    mark: str | None,
    at: str | None,
    roam: bool,
    region: str | None,
    from_class: str | None,
    images: str,
    output: Path,
) -> Question:
    """Refuse what can be refused before a model is loaded; nothing is written.

    Raises:
        InputError: options that do not go together, numbers that are none, a mark that cannot be
            read, images that are missing or without labels, or a place for one picture.
    """
    from layerscope.interventions.marks import check_asked, check_place, read_mark
    from layerscope.render.folder import holds_one, place_of

    place = _place(at)
    check_asked(mark is not None, region is not None, from_class is not None, place, roam)
    point, part = check_place(place, roam, region)
    if holds_one(place_of(output)):
        raise InputError(
            f"A probe is written to a folder or to one .html; got {output.name!r}. Change -o."
        )
    _check_images(images, labelled=part is not None)
    read = None if mark is None else read_mark(mark)
    return Question(read, point, roam, part, from_class)


def _place(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--at takes numbers with a comma between them, such as 0.1,0.5; got {text!r}."
        ) from None


def _check_images(images: str, labelled: bool) -> None:
    """Missing images, and a folder or table without classes; the rest needs the model."""
    from layerscope.errors import MissingFileError
    from layerscope.images import read
    from layerscope.interventions.marks import UNLABELLED

    path = Path(images)
    if not path.exists():
        raise MissingFileError(f"Images are a folder, a CSV or an .npz; {images!r} does not exist.")
    if labelled and path.suffix.lower() != ".npz" and not read(path).class_names:
        raise InputError(f"{UNLABELLED}.")


def run(
    scope: "Scope",
    images: str,
    asked: Question,
    output: Path,
    most: int,
    batch_size: int | None,
    say: Say,
    warn: Say,
) -> tuple[str, Path]:
    """Paste, ask, and write the page.

    Args:
        scope: of the model.
        images: files, or a folder.
        asked: what is pasted, and where.
        output: a folder or an .html.
        most: images that are used.
        batch_size: images in one pass.
        say: hears what is being done.
        warn: hears what must not be overlooked.

    Returns:
        What was found, and the page or the folder.
    """
    say("Asking the model before and after ...")
    options: dict[str, Any] = asked._asdict()
    if asked.from_class is not None:
        names = scope.classes or tuple((name,) for name in scope.source(images).class_names)
        options["from_class"] = written_class(asked.from_class, names, "--from-class")
    found = scope.probe(images, most=most, batch_size=batch_size, **options)
    for note in found.notes:
        warn(note)
    for skipped in found.skipped:
        warn(f"skipped {skipped.file}: {skipped.reason}")
    say("Drawing ...")
    files = found.save(output)
    return found.statement, files[0].parent if len(files) > 1 else files[0]
