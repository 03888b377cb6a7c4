"""Which output of the model each class of the images belongs to.

A wrong match makes every accuracy wrong without a sign, so nothing is guessed: names decide where
names are known, positions only where their number fits, and otherwise the images stay unlabelled
and the reason is kept.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscope.errors import InputError, MissingFileError

Names = tuple[str, ...]
ClassNames = tuple[Names, ...]
"""For each output of a model the names it goes by; the last is the one to show."""

Classes = str | Path | Mapping[str, Any] | Sequence[str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class LabelMatch:
    """How the classes of the images map to the outputs of the model.

    Attributes:
        index: the output of each found class, in the order given; ``None`` if the images have to
            count as unlabelled.
        names: one name per output where known, otherwise the found classes.
        mismatch: empty, or why ``index`` is ``None``, in words.
    """

    index: tuple[int, ...] | None
    names: Names
    mismatch: str = ""


def class_names(
    classes: Classes, imagenet: Callable[[], Sequence[str]] | None = None
) -> ClassNames:
    """Read the names of a model's outputs.

    Args:
        classes: names in output order: a sequence; a file with one name a line; a JSON file (or
            a mapping) with a list, or index -> name, or index -> names as in Keras'
            ``imagenet_class_index.json``, or name -> index; or ``"imagenet"``.
        imagenet: gives the names for ``"imagenet"``; injected, since they lie in a package that
            this one does not know.

    Raises:
        MissingFileError: the file does not exist.
        InputError: the file holds no such list, or ``"imagenet"`` is not at hand.
    """
    if classes == "imagenet":
        if imagenet is None:
            raise InputError("The names of ImageNet are not available here; give a file of names.")
        return _checked(list(imagenet()), "imagenet")
    if isinstance(classes, str | Path):
        return _checked(_read(Path(classes)), repr(str(classes)))
    return _checked(classes, "the names given")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise MissingFileError(
            f"Class names are a file with one name a line, JSON, or 'imagenet'; {str(path)!r} "
            "does not exist."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{")):
            return json.loads(text)
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"The class names in {str(path)!r} cannot be read: {error}.") from error
    return [line.strip() for line in text.rstrip().split("\n")]


def _checked(names: Any, where: str) -> ClassNames:
    if isinstance(names, Mapping):
        names = _in_order(names, where)
    rows = [(name,) if isinstance(name, str) else name for name in names] if names else []
    if not rows or not all(
        isinstance(row, list | tuple)
        and row
        and all(isinstance(name, str) and name.strip() for name in row)
        for row in rows
    ):
        raise InputError(
            f"Class names are one text per output of the model, in output order; {where} "
            f"{'hold something else or an empty name' if rows else 'hold none'}."
        )
    return tuple(tuple(row) for row in rows)


def _in_order(names: Mapping[str, Any], where: str) -> list[Any]:
    if all(isinstance(value, int) for value in names.values()):  # class_indices of older Keras
        names = {str(value): key for key, value in names.items()}
    try:
        by_index = {int(key): value for key, value in names.items()}
        return [by_index[position] for position in range(len(names))]
    except (KeyError, ValueError):
        raise InputError(
            f"A mapping of class names goes from index to name, '0' to '{len(names) - 1}' without "
            f"a gap; {where} has other keys."
        ) from None


def match_labels(
    found: Sequence[str], outputs: int | None, classes: Sequence[str | Sequence[str]] | None
) -> LabelMatch:
    """Match the classes of the images to the outputs of the model.

    Args:
        found: the classes of the images, such as folder names, sorted.
        outputs: number of outputs, 1 for a sigmoid between two classes; ``None`` if unknown.
        classes: names in output order, as `class_names` gives them; ``None`` if unknown.

    Returns:
        By name where ``classes`` is given: exactly, or else with case, ``_``, ``-`` and space
        taken as equal. Otherwise by position, if the numbers agree or ``outputs`` is unknown.
    """
    found = tuple(found)
    if classes is not None:
        return _by_name(found, outputs, _checked(classes, "the names given"))
    expected = _class_count(outputs)
    if expected is not None and len(found) != expected:
        return LabelMatch(
            None,
            found,
            f"The images have {len(found)} classes and the model {expected}, and without class "
            "names in output order nobody can say which is which.",
        )
    return LabelMatch(tuple(range(len(found))), found)


def _class_count(outputs: int | None) -> int | None:
    return 2 if outputs == 1 else outputs


def _by_name(found: Names, outputs: int | None, classes: ClassNames) -> LabelMatch:
    shown = tuple(row[-1] for row in classes)
    expected = _class_count(outputs)
    if expected is not None and len(classes) != expected:
        return LabelMatch(
            None,
            shown,
            f"{len(classes)} class names are given and the model has {expected} classes.",
        )
    places = _places(found, classes)
    lost = [name for name, place in zip(found, places, strict=True) if len(place) != 1]
    if lost:
        return LabelMatch(
            None,
            shown,
            f"{len(lost)} of {len(found)} classes of the images fit no class name or several: "
            f"{_listed(lost)}. The model's first names are {_listed(shown)}.",
        )
    index = tuple(place[0] for place in places)
    if len(set(index)) < len(index):
        twice = [name for name, at in zip(found, index, strict=True) if index.count(at) > 1]
        return LabelMatch(None, shown, f"Several classes fit the same name: {_listed(twice)}.")
    return LabelMatch(index, shown)


def _places(found: Names, classes: ClassNames) -> list[list[int]]:
    """For each found class the outputs of that name, preferring the exact spelling."""
    exact: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for at, row in enumerate(classes):
        for name in dict.fromkeys(row):
            exact.setdefault(name, []).append(at)
        for name in dict.fromkeys(map(_folded, row)):
            loose.setdefault(name, []).append(at)
    return [exact.get(name) or loose.get(_folded(name), []) for name in found]


def _folded(name: str) -> str:
    # File systems differ in how they write accents, hence the normal form.
    text = unicodedata.normalize("NFC", name).casefold()
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
