"""Which files a folder, a table or a list names, under which id and class. Nothing is decoded."""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from layerscope.errors import EnvironmentFailure, InputError
from layerscope.vocabulary import Skipped

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pnm", ".jp2"),
    # Not readable, but their owner takes them for images and must hear that they were left out.
    *(".heic", ".heif", ".avif", ".svg", ".dng", ".cr2", ".nef", ".arw"),
)

_NOISE = (".git", ".ipynb_checkpoints", ".cache", ".thumbnails", ".Trashes")
"""Hidden folders that nobody takes for a class."""

WHOLE_SETS = (".csv", ".npz", ".npy")
"""Suffixes of files that hold or list many images."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One file to read.

    Attributes:
        id: a stable name, printable text.
        path: where it lies.
        group: the name of its class as the folder or table says it; ``None`` if it has none.
        photo: what it was cut from, as the table says it; empty where it stands for itself.
        marks: 0 or 1 for each of `Listing.columns`.
    """

    id: str
    path: Path
    group: str | None = None
    photo: str = ""
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Files in the order in which they will be read, and what was left out from the start.

    Attributes:
        files: to read.
        skipped: what was left out.
        columns: classes of which a table says yes or no for each file; mostly none.
    """

    files: tuple[Listed, ...]
    skipped: tuple[Skipped, ...] = ()
    columns: tuple[str, ...] = ()


def ordinary(files: Listing) -> Listing:
    """Without pipes and devices, which would be read for ever; what is missing stays."""
    odd = [file for file in files.files if not file.path.is_file() and file.path.exists()]
    if not odd:
        return files
    names = {file.id for file in odd}
    kept = tuple(file for file in files.files if file.id not in names)
    if not kept:
        raise InputError(f"Images are ordinary files; none of the {len(odd)} given is one.")
    return replace(files, files=kept, skipped=(*files.skipped, *_skip(odd, "is no ordinary file")))


def list_folder(folder: Path) -> Listing:
    """List the images of a folder with one sub-folder per class, or of a flat one.

    Sub-folders that hold images, at any depth, are classes. Images beside them have no class and
    are skipped with that reason; unless there is only one such sub-folder, and then the folder
    counts as flat and the sub-folder is skipped. Hidden files, and files without the suffix of an
    image, are ignored; so are hidden folders, and those that hold images are told as skipped.

    Raises:
        InputError: no image is in it.
    """
    beside = sorted(_images_in(folder), key=_natural)
    nested = {sub: list(_images_below(sub)) for sub in _folders_in(folder)}
    nested = {sub: paths for sub, paths in nested.items() if paths}
    if not beside and not nested:
        raise InputError(
            f"A folder of images holds images, or one sub-folder with images per class; "
            f"{str(folder)!r} holds none with a suffix such as .jpg or .png."
        )
    inside = [
        Listed(_id(path.relative_to(folder)), path, printable(sub.name))
        for sub, paths in nested.items()
        for path in paths
    ]
    outside = [Listed(printable(path.name), path) for path in beside]
    hidden = tuple(_hidden_in(folder))
    if outside and len(nested) < 2:
        skipped = _skip(inside, "lies in a sub-folder of a flat folder")
        return Listing(tuple(outside), skipped + hidden)
    skipped = _skip(outside, "lies beside the class folders, without a class")
    return Listing(tuple(inside), skipped + hidden)


def _hidden_in(folder: Path) -> Iterator[Skipped]:
    """Hidden folders with images in them: their owner may take them for classes."""
    for path in sorted(folder.glob(".*")):
        with suppress(EnvironmentFailure):  # of a system's folder that nobody may look into
            if path.name not in _NOISE and path.is_dir() and any(_images_in(path)):
                reason = "is a hidden folder, since its name begins with a dot: rename it"
                yield Skipped(printable(path.name), reason)


def _skip(files: Iterable[Listed], reason: str) -> tuple[Skipped, ...]:
    return tuple(Skipped(file.id, reason) for file in files)


def _folders_in(folder: Path) -> list[Path]:
    return sorted((path for path in _entries(folder) if path.is_dir()), key=_natural)


def _images_in(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir():
            yield path


def _images_below(folder: Path) -> Iterator[Path]:
    """All images at any depth; links to folders are not followed, so there is no endless loop."""
    yield from sorted(_images_in(folder), key=_natural)
    for sub in sorted(_entries(folder), key=_natural):
        if sub.is_dir() and not sub.is_symlink():
            yield from _images_below(sub)


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise EnvironmentFailure(
            f"The folder {str(folder)!r} cannot be listed: {error.strerror}."
        ) from error


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Order of 2.jpg before 10.jpg; the plain name decides between 1.jpg and 01.jpg."""
    parts = re.split(r"([0-9]+)", path.name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], path.name


def list_table(table: Path) -> Listing:
    """List the files of a CSV with the columns ``path`` (from the CSV's folder) and ``label``.

    A row without a label has none; a row without a path is skipped. A column ``photo`` may name
    what several images were cut from. In place of ``label`` two columns or more may each say 0 or 1
    for the class that they are named by.

    Raises:
        InputError: no such columns, no rows, or no readable UTF-8 CSV.
    """
    skipped: list[Skipped] = []
    rows: list[tuple[str, Path, str | None]] = []
    more: list[tuple[str, tuple[int, ...]]] = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True)
            columns = _columns(table, reader.fieldnames)
            for row in reader:
                where = f"{table.name}, line {reader.line_num}"
                text, label = (row["path"] or "").strip(), (row.get("label") or "").strip()
                if text:
                    rows.append((text, table.parent / text, label or None))
                    marks = tuple(_mark(where, name, row[name]) for name in columns)
                    more.append(((row.get("photo") or "").strip(), marks))
                else:
                    skipped.append(Skipped(where, "has no path"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(
            f"A table of images is a CSV in UTF-8; {str(table)!r}: {error}."
        ) from error
    if not rows:
        raise InputError(f"A table of images has a line per image; {str(table)!r} has none.")
    files = tuple(
        replace(file, photo=photo, marks=marks)
        for file, (photo, marks) in zip(unique(rows), more, strict=True)
    )
    return Listing(files, tuple(skipped), tuple(map(printable, columns)))


def _columns(table: Path, header: Sequence[str] | None) -> tuple[str, ...]:
    """The columns that stand for a class each; none where a column ``label`` names the class."""
    classes = tuple(name for name in header or () if name not in ("path", "photo"))
    if not header or "path" not in header or ("label" not in header and len(classes) < 2):
        raise InputError(
            f"A table of images starts with the line path,label; {str(table)!r} starts with "
            f"{','.join(header or ())[:200]!r}. In place of label it may have a column of 0 and 1 "
            "for each of several classes."
        )
    if "label" in header:
        return ()
    if len(set(classes)) < len(classes) or "" in classes:
        raise InputError(
            f"The columns of a table are classes, each with a name of its own; {str(table)!r} has "
            f"{','.join(header)[:200]!r}."
        )
    return classes


def _mark(where: str, column: str, text: str | None) -> int:
    said = (text or "").strip()
    if said not in ("0", "1"):
        raise InputError(
            "A table of images has a column label, or columns that say 0 or 1 for a class each; "
            f"{where}, column {column!r} has {said[:50]!r}."
        )
    return int(said)


def list_paths(paths: Sequence[str | os.PathLike[str]]) -> Listing:
    """List files given one by one; each keeps the text it was given by as id.

    Raises:
        InputError: one of them is empty, a folder, a table or an archive.
    """
    for path in paths:
        if not os.fspath(path):
            raise InputError("A path of an image is empty. Give the path of a file or a folder.")
        if Path(path).is_dir() or Path(path).suffix.lower() in WHOLE_SETS:
            raise InputError(
                f"Several paths name one image file each, and {str(path)!r} is a whole set. Pass "
                "it alone, or name its files."
            )
    return Listing(unique([(Path(path).as_posix(), Path(path), None) for path in paths]))


def unique(rows: Iterable[tuple[str, Path, str | None]]) -> tuple[Listed, ...]:
    """Files of (name, path, group); the second of a name has the id ``name@2``, as layers have."""
    taken: set[str] = set()
    files = []
    for text, path, group in rows:
        name, number = printable(text), 1
        unique = name
        while unique in taken:
            number += 1
            unique = f"{name}@{number}"
        taken.add(unique)
        files.append(Listed(unique, path, group))
    return tuple(files)


def _id(path: Path) -> str:
    return printable(path.as_posix())


def printable(name: str) -> str:
    """Make text that can be encoded of a file name that is no valid UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
