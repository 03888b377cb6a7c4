"""The run directory: everything that a run knows, safe against being killed at any moment.

``manifest.json`` is the one file that says which state counts. A new state is written beside the
old one and counts from the moment in which the manifest is replaced.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from numpy.typing import NDArray

import layerscope
from layerscope.errors import InputError
from layerscope.store.manifest import (
    MANIFEST,
    SLOTS,
    Manifest,
    read_manifest,
    told_as_failure,
    write_manifest,
)
from layerscope.store.rows import RowStore, open_rows
from layerscope.store.state import States, read_states, write_states
from layerscope.store.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

LOCK = ".lock"
ROWS = "rows"

_UNTOLD = {
    "model": "the weights of the model",
    "data": "the images or their names",
    "layers": "the layers (--panels with or without clarity, in Python layers=)",
    "sample": "which images are looked at pixel by pixel (--quick, in Python sample=)",
    "fine": "which images are looked at pixel by pixel (--quick, in Python sample=)",
}
_TOLD = {
    "preprocessing": "the preprocessing (--preprocess)",
    "resize": "the resizing (--resize)",
    "seed": "the seed (--seed)",
    "nulls": "what maps are compared with (--quick, in Python nulls=)",
    "encoder": "the encoder (in Python encoder=)",
    "images": "the number of images",
}
"""Parts of a plan in the words of who asks for them; the values of the others say nothing: they
are hashes, or long lists."""
_ORDER = ("model", "data", *_TOLD, "layers", "sample", "fine")
"""What a user asked for comes before what follows from it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run goes on.

    Attributes:
        next_shard: the first shard that is not in the states; 0 if nothing was saved.
        states: layer path -> name of the statistic -> its state.
        info: remarks on the finished shards, as saved.
    """

    next_shard: int
    states: dict[str, dict[str, dict[str, NDArray[Any]]]]
    info: Mapping[str, Any]


@dataclass
class RunDirectory:
    """A run directory that this process alone may write to; `open_run` gives it.

    Attributes:
        path: the directory.
        manifest: what its ``manifest.json`` says.
    """

    path: Path
    manifest: Manifest

    def save_state(self, next_shard: int, states: States, info: Mapping[str, Any]) -> None:
        """Save how far the run is, all or nothing; at most two states lie on disk meanwhile.

        Args:
            next_shard: the first shard that is not in the states.
            states: layer path -> name of the statistic -> its state.
            info: a JSON object, such as the batch size of every finished shard.

        Raises:
            InputError: a state holds Python objects.
            EnvironmentFailure: the disk refuses; what was saved before stays.
        """
        new = SLOTS[1] if self.manifest.state == SLOTS[0] else SLOTS[0]
        with told_as_failure(self.path / new), (self.path / new).open("wb") as file:
            write_states(file, states)
            file.flush()
            os.fsync(file.fileno())
        self._commit(state=new, finished_shards=next_shard, info=dict(info))

    def load_state(self) -> Checkpoint:
        """Where to go on: what `save_state` saved last, to the bit.

        Raises:
            InputError: the saved state is damaged.
        """
        file = self.manifest.state
        states = read_states(self.path / file) if file else {}
        return Checkpoint(self.manifest.finished_shards, states, self.manifest.info)

    def finish(self) -> None:
        """Note that nothing is left to do, and drop the saved state."""
        self._commit(complete=True, state=None)

    def rows(
        self, quantities: Mapping[str, Mapping[str, int]], block: int, images: int = 0
    ) -> RowStore:
        """The numbers per image of this run; see `open_rows`."""
        return open_rows(self.path / ROWS, quantities, block, images)

    def write_table(self, name: str, frame: "pd.DataFrame", provenance: Mapping[str, Any]) -> None:
        """Write or replace the table ``NAME.parquet``; see `layerscope.store.tables`."""
        write_table(self.path / _table(name), frame, provenance)

    def read_table(self, name: str) -> tuple["pd.DataFrame", dict[str, Any]]:
        """The table ``NAME.parquet`` and its provenance; see `layerscope.store.tables`."""
        return read_table(self.path / _table(name))

    def _commit(self, **changes: Any) -> None:
        changed = replace(self.manifest, **changes)
        write_manifest(self.path, changed)
        self.manifest = changed
        for slot in SLOTS:
            if slot != changed.state:
                with told_as_failure(self.path / slot):
                    (self.path / slot).unlink(missing_ok=True)


@contextmanager
def open_run(
    path: str | Path, plan: Mapping[str, Any], plan_hash: str, created: str | None = None
) -> Iterator[RunDirectory]:
    """Begin a run in a directory, or go on with the same run.

    Args:
        path: the directory; it is made if it is missing, and no file of anybody else is touched.
        plan: what the run does; a JSON object, kept in the manifest.
        plan_hash: equal for plans that give the same results. What does not change the results,
            such as the batch size, stays out of it.
        created: ISO time of a new run; now, if it is not given.

    Raises:
        InputError: the directory holds another plan or other things, another process works in
            it, or its manifest is damaged.
        EnvironmentFailure: the directory cannot be written.
    """
    run = Path(os.path.expanduser(path))  # noqa: PTH111 (Path fails for a user who is unknown)
    check_place(run)
    with told_as_failure(run):
        try:
            run.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _no_directory(run) from error
    with _locked(run):
        if (run / MANIFEST).exists():
            manifest = read_manifest(run)
            _refuse_another_plan(run, manifest, plan, plan_hash)
        else:
            now = created or datetime.now(UTC).isoformat(timespec="seconds")
            manifest = Manifest(layerscope.__version__, now, dict(plan), plan_hash)
            write_manifest(run, manifest)
        yield RunDirectory(run, manifest)


def check_place(run: Path) -> None:
    """Refuse a place where no run can be kept; nothing is written.

    Raises:
        InputError: it is or lies below a file, or it is a directory that holds other things.
        EnvironmentFailure: nothing can be written there.
    """
    with told_as_failure(run):
        there = next(place for place in (run, *run.parents) if place.exists())
        if not there.is_dir():
            raise _no_directory(run)
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        names = {entry.name for entry in run.iterdir()} if there == run else set()
    others = sorted(names - {LOCK, f".{MANIFEST}.partial"})
    if others and MANIFEST not in names:
        raise InputError(
            f"A run needs a directory of its own, and '{run}' holds other things "
            f"({', '.join(map(repr, others[:3]))}); choose another directory."
        )


def _no_directory(run: Path) -> InputError:
    return InputError(
        f"A run is kept in a directory, and '{run}' is or lies below a file; choose another place."
    )


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    # The system frees the lock when the process dies, however it dies.
    lock = FileLock(run / LOCK)
    with told_as_failure(run):
        try:
            held = lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"One process at a time works in a run directory, and another one has '{run}'; "
                "wait until it ends, or choose another directory."
            ) from error
    with held:
        yield


def _refuse_another_plan(
    run: Path, manifest: Manifest, plan: Mapping[str, Any], plan_hash: str
) -> None:
    if manifest.plan_hash == plan_hash:
        return
    there, here = dict(_leaves(manifest.plan)), dict(_leaves(plan))
    keys = [key for key in there | here if there.get(key) != here.get(key)]
    keys.sort(key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    words = dict.fromkeys(_difference(key, there.get(key), here.get(key)) for key in keys)
    told = [*words] or ["only the hash of the plan"]
    more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
    raise InputError(
        f"A run directory keeps one plan, and '{run}' holds another plan; what differs: "
        f"{'; '.join(told[:3])}{more}. Choose another directory, or ask for the same again."
    )


def _difference(key: str, there: str | None, here: str | None) -> str:
    """One thing that differs; where a value says something, with both."""
    if key in _UNTOLD:
        return _UNTOLD[key]
    named = json.dumps(key.removeprefix("versions."))[1:-1]
    name = f"the version of {named}" if key.startswith("versions.") else _TOLD.get(key, named)
    return f"{name} is {_short(there)} there, {_short(here)} here"


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(inner)


def _short(text: str | None) -> str:
    if text is None:
        return "not set"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _table(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise InputError(f"A table is named in small letters, digits, - and _, got {name!r}.")
    return f"{name}.parquet"
