"""Files that save time when they are there, and cost only time when they are not.

They lie in ``LAYERSCOPE_CACHE``, else where the system keeps such things.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)
"""What reading a file may raise that is none of ours, or not whole."""


def cache_folder() -> Path:
    """Where the files lie; it need not exist.

    Raises:
        RuntimeError: the user has no home directory.
    """
    if chosen := os.environ.get("LAYERSCOPE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "layerscope"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "layerscope"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "layerscope"


def read_cached(name: str) -> bytes | None:
    """The content of a file, ``None`` where it cannot be read."""
    try:
        return (cache_folder() / name).read_bytes()
    except (OSError, RuntimeError):
        return None


def write_cached(name: str, data: bytes) -> None:
    """Write a file all or nothing; one that cannot be written only costs time."""
    with contextlib.suppress(OSError, RuntimeError):
        path = cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            part.write_bytes(data)
            part.replace(path)


def cached_arrays(
    key: Mapping[str, Any],
    names: Sequence[str],
    compute: Callable[[], Arrays],
    remember: Mapping[str, Any] | None = None,
) -> Arrays:
    """What ``compute`` gives, from the cache where it was computed before.

    Args:
        key: everything that the result depends on, as a JSON object; a hash of it names the file.
        names: of the arrays.
        compute: gives them; they should be small.
        remember: a wider key, under which `remembered_arrays` gives what was computed last.
    """
    known = remembered_arrays(key, names)
    if known is not None:
        return known
    found = compute()
    data = io.BytesIO()
    np.savez(data, **found)  # type: ignore[arg-type, unused-ignore]
    for own in (key, remember):
        if own is not None:
            write_cached(_file_name(own), data.getvalue())
    return found


def remembered_arrays(key: Mapping[str, Any], names: Sequence[str]) -> Arrays | None:
    """What was computed for a key; ``None`` where nothing was."""
    known = read_cached(_file_name(key))
    if known:
        with contextlib.suppress(*_DAMAGED), np.load(io.BytesIO(known), allow_pickle=False) as file:
            return {name: file[name] for name in names}
    return None


def _file_name(key: Mapping[str, Any]) -> str:
    return f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.npz"
