"""Which output of the model each class of the images belongs to.

A wrong match makes every accuracy wrong without a sign, so nothing is guessed: names decide where
names are known, positions only where their number fits, and otherwise the images stay unlabelled
and the reason is kept.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError, MissingFileError
from layerscope.images.arrays import as_array

Names = tuple[str, ...]
ClassNames = tuple[Names, ...]
"""For each output of a model the names it goes by; the last is the one to show."""

SEVERAL = "Each image may have several labels, and this is about one label per image."

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


def written_class(text: str, names: ClassNames | None, option: str) -> int | str:
    """A class as it is written on a command line: a name, else an index.

    ``name:2`` and ``index:2`` say which of both it is. Plain digits are a name where a class has
    it and they are no index of another class.

    Args:
        text: what was written.
        names: of the classes, if they are known.
        option: of the command line, for the message.

    Raises:
        InputError: digits that are the name of one class and the index of another.
    """
    named = [place for place, own in enumerate(names or ()) if text in own]
    kind, _, rest = text.partition(":")
    if not named and kind == "name" and rest:
        return rest
    number = rest if not named and kind == "index" else text
    if not re.fullmatch("[0-9]{1,9}", number):
        return text
    index = int(number)
    if names is None or not named or named == [index]:
        return index
    if index >= len(names):
        return text
    raise InputError(
        f"{option} {text} is the name of class {named[0]} and the index of "
        f"'{names[index][-1]}': write name:{text} or index:{text}."
    )


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


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a set of images.

    Attributes:
        values: output index per image, -1 where unknown; ``None`` if the set is unlabelled.
        names: one name per output where known, otherwise the classes of the images.
        mismatch: empty, or why images that have classes count as unlabelled.
        several: (N, outputs), which labels each image has, where it may have several; ``values``
            is ``None`` then.
        in_rows: they came as a row per image.
    """

    values: NDArray[np.int64] | None
    names: Names = ()
    mismatch: str = ""
    several: NDArray[np.bool_] | None = None
    in_rows: bool = False

    def at(self, places: Sequence[int]) -> "Labels":
        """The labels of some of the images."""
        some = list(places)
        return replace(
            self,
            values=None if self.values is None else self.values[some],
            several=None if self.several is None else self.several[some],
        )

    @property
    def content(self) -> bytes:
        """What a hash over the labels is made of."""
        known = self.values if self.several is None else self.several
        return b"" if known is None else known.tobytes()


def label_groups(
    groups: Sequence[str | None],
    outputs: int | None,
    classes: Sequence[str | Sequence[str]] | None,
    *,
    numbers: bool = False,
) -> Labels:
    """Turn the class that each image has by its folder or table into labels.

    Args:
        groups: class of each image, ``None`` where it has none.
        outputs: see `match_labels`.
        classes: see `match_labels`.
        numbers: True where classes that are all whole numbers and no names are positions, as in a
            table; folders named by numbers are sorted like others, as Keras sorts them.

    Raises:
        InputError: such a number is no output of the model.
    """
    # Plain order, not natural: Keras gives class 10 the position before class 2, and so must we.
    found = sorted({group for group in groups if group is not None})
    if not found:
        return Labels(None, _shown(classes))
    if numbers and all(re.fullmatch("-?[0-9]{1,9}", name) for name in found):
        match = match_labels(found, outputs, classes) if classes else None
        if match is None or match.index is None:
            values = np.array([-1 if group is None else int(group) for group in groups])
            return label_values(values, len(values), outputs, classes)
    else:
        match = match_labels(found, outputs, classes)
    if match.index is None:
        return Labels(None, match.names, match.mismatch)
    place = dict(zip(found, match.index, strict=True))
    by_name = [-1 if group is None else place[group] for group in groups]
    return Labels(np.array(by_name, np.int64), match.names)


def label_values(
    y: Any,
    count: int,
    outputs: int | None,
    classes: Sequence[str | Sequence[str]] | None,
    groups: Sequence[str] | None = None,
) -> Labels:
    """Turn the ``y`` of an array, an archive or a batch into labels.

    Args:
        y: whole numbers (N,) or (N, 1), with -1 for unknown; one-hot rows or scores (N, classes);
            rows of 0 and 1 that do not all hold a single 1, for several labels per image; or
            class names (N,). ``None`` if there are none.
        count: N.
        outputs: see `match_labels`.
        classes: see `match_labels`.
        groups: what the numbers or columns stand for, if that is known from elsewhere.

    Returns:
        Unlabelled, with the reason, where ``y`` is something else, such as masks.

    Raises:
        InputError: another length, or a number that is no output of the model.
    """
    if y is None:
        return Labels(None, _shown(classes))
    values = as_array(y)
    if values.ndim == 0 or len(values) != count:
        raise InputError(
            f"Labels are one per image; got {values.shape[0] if values.ndim else 1} for {count}."
        )
    if values.ndim == 1 and values.dtype.kind in "USO":
        return label_groups([_text(value) for value in values], outputs, classes)
    if _are_several(values):
        return _several(values.astype(bool), outputs, classes, groups)
    numbers, odd = _as_numbers(values, _class_count(outputs))
    if numbers is None:
        return Labels(None, _shown(classes), odd)
    return replace(_numbered(numbers, outputs, classes, groups), in_rows=values.size > count)


def _numbered(
    numbers: NDArray[np.int64],
    outputs: int | None,
    classes: Sequence[str | Sequence[str]] | None,
    groups: Sequence[str] | None,
) -> Labels:
    if groups is None:
        return _checked_range(numbers, outputs, classes)
    match = match_labels(groups, outputs, classes)
    if match.index is None:
        return Labels(None, match.names, match.mismatch)
    inside = _checked_range(numbers, len(groups), groups).values
    place = np.array((*match.index, -1))  # the last is for -1, unknown
    return Labels(None if inside is None else place[inside], match.names)


def _are_several(values: NDArray[Any]) -> bool:
    """Whether rows say yes or no of each class, and not all of them say yes once."""
    if values.dtype.kind not in "buif" or values.ndim != 2 or values.shape[1] < 2:
        return False
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) != 1).any())


def _several(
    rows: NDArray[np.bool_],
    outputs: int | None,
    classes: Sequence[str | Sequence[str]] | None,
    groups: Sequence[str] | None,
) -> Labels:
    columns = rows.shape[1]
    if outputs is not None and columns != outputs:
        reason = f"Labels have {columns} columns and the model {outputs} classes."
        if outputs == 1:
            reason = "Images have several labels each, and the model has one output."
        return Labels(None, _shown(classes), reason)
    if groups is None:
        return Labels(None, _shown(classes), several=rows)
    match = match_labels(groups, outputs, classes)
    if match.index is None or len(match.index) != columns:
        return Labels(None, match.names, match.mismatch or _COLUMNS)
    ordered = np.zeros((len(rows), max(len(match.names), columns)), bool)
    ordered[:, match.index] = rows
    return Labels(None, match.names, several=ordered)


_COLUMNS = "Labels have another number of columns than there are names for them."


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _as_numbers(values: NDArray[Any], expected: int | None) -> tuple[NDArray[np.int64] | None, str]:
    if values.dtype.kind in "buif" and values.ndim == 2 and values.shape[1] > 1:
        if expected is not None and values.shape[1] != expected:
            return None, f"Labels have {values.shape[1]} columns and the model {expected} classes."
        if (values % 1 == 0).all() and ((values == values.max(1, keepdims=True)).sum(1) > 1).any():
            return None, (
                "Rows of labels hold a single 1, or 0 and 1 for each of several labels; these hold "
                f"whole numbers from {values.min():g} to {values.max():g} without one largest in "
                "each row, so the images count as unlabelled. Give 0 and 1, such as y > 0."
            )
        return values.argmax(axis=1), ""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "buif" or (values % 1 != 0).any():
        return None, (
            "Labels are class numbers, one-hot rows or names; these are "
            f"{values.dtype} of shape {values.shape}, so the images count as unlabelled."
        )
    return values.astype(np.int64), ""


def _checked_range(
    numbers: NDArray[np.int64],
    outputs: int | None,
    classes: Sequence[str | Sequence[str]] | None,
) -> Labels:
    names = _shown(classes)
    count = _class_count(outputs) or len(names) or None
    wrong = (numbers < -1) | (numbers >= count if count else False)
    if wrong.any():
        at = int(wrong.argmax())
        limit = f"to {count - 1}" if count else "upwards"
        raise InputError(
            f"Labels are the positions of the model's outputs, from 0 {limit}, or -1 for unknown; "
            f"image {at} has {numbers[at]}. Correct the labels, or give names in place of numbers."
        )
    return Labels(numbers, names)


def _shown(classes: Sequence[str | Sequence[str]] | None) -> Names:
    return () if classes is None else tuple(row[-1] for row in _checked(classes, "the names given"))
