"""The manifest of a run: what was asked for and how far the run is.

Replacing this one file is what commits a checkpoint, so that it never disagrees with the state.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from layerscope.errors import EnvironmentFailure, InputError, MissingFileError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
TOOL = "layerscope"
SLOTS = ("state-a.npz", "state-b.npz")
"""Files for the saved state: the one that counts, and the next one while it is written."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` holds.

    Attributes:
        version: the version of layerscope that began the run.
        created: when the run began, an ISO time.
        plan: what was asked for; a JSON object.
        plan_hash: two runs do the same if these are equal.
        finished_shards: how many shards the saved state holds.
        complete: nothing is left to do.
        state: the file with the saved state, ``None`` if there is none.
        info: remarks on the finished shards, such as their batch sizes; a JSON object.
    """

    version: str
    created: str
    plan: Mapping[str, Any]
    plan_hash: str
    finished_shards: int = 0
    complete: bool = False
    state: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run directory; needs no lock, since it is only ever replaced whole.

    Raises:
        MissingFileError: the directory holds no manifest.
        InputError: the manifest is damaged, of another program, or of a newer layerscope.
        EnvironmentFailure: it cannot be read.
    """
    path = run / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(
            f"A run directory holds a {MANIFEST}, and '{run}' has none; "
            "name the directory that an audit wrote."
        ) from error
    except OSError as error:
        raise cannot_be_read(path, error) from error
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON
        raise damaged(path, error) from error
    return _checked(path, content)


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Replace the manifest of a run directory, all or nothing.

    Raises:
        EnvironmentFailure: it cannot be written; the old one stays.
    """
    told = asdict(manifest)
    tool = {"name": TOOL, "version": told.pop("version")}
    content = {"schema_version": SCHEMA_VERSION, "tool": tool} | told
    text = json.dumps(content, indent=1, allow_nan=False)
    with replacing(run / MANIFEST) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it takes the place of ``path`` when the block ends without an error.

    Raises:
        EnvironmentFailure: the disk refuses; what was at ``path`` stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    with told_as_failure(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def told_as_failure(path: Path) -> Iterator[None]:
    """Turn what the system says while ``path`` is written into an `EnvironmentFailure`."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(
            f"'{path}' cannot be written ({error.strerror or error}); make room or choose another "
            "directory. What was saved before stays."
        ) from error


def cannot_be_read(path: Path, error: OSError) -> EnvironmentFailure:
    """What to raise where the system refuses to read ``path``."""
    return EnvironmentFailure(
        f"'{path}' cannot be read ({error.strerror or error}); check the disk and the permissions."
    )


def damaged(path: Path, reason: object) -> InputError:
    """What to raise where a file of a run does not hold what was written."""
    return InputError(
        f"The run cannot go on because '{path}' is missing or damaged ({reason}); choose another "
        "directory, or delete this one to begin again."
    )


def _checked(path: Path, content: object) -> Manifest:
    tool = content.get("tool") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(tool, dict) or tool.get("name") != TOOL:
        raise InputError(
            f"'{path}' was not written by layerscope, so its directory is left as it is; "
            "choose another directory for the run."
        )
    schema, version = content.get("schema_version"), tool.get("version")
    if schema != SCHEMA_VERSION:
        raise InputError(
            f"This layerscope reads runs of schema {SCHEMA_VERSION}, and '{path}' has {schema!r}; "
            f"use the layerscope that wrote it ({version!r}), or choose another directory."
        )
    told = content | {"version": version}
    for name, fits in _FITS.items():
        if not fits(told.get(name)):
            raise damaged(path, f"{name!r} is {told.get(name)!r:.80}")
    return Manifest(**{name: told[name] for name in _FITS})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_FITS: dict[str, Callable[[object], bool]] = {
    "version": _is_text,
    "created": _is_text,
    "plan": _is_object,
    "plan_hash": _is_text,
    "finished_shards": lambda value: type(value) is int and value >= 0,
    "complete": lambda value: isinstance(value, bool),
    "state": lambda value: value is None or value in SLOTS,
    "info": _is_object,
}
