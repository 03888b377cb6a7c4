"""Reads an HDF5 file to its end, in a process of its own: python hdf5_trial.py FILE.

The HDF5 library is written in C, and a damaged file can end or halt the process that reads it. This
file is run as a script, so that nothing but the library is loaded.
"""

import contextlib
import os
import subprocess
import sys

_SECONDS = 120
_LARGEST = 2**30
"""Bytes of an array that are read whatever the size of the file; a damaged size may be anything."""


def survives(path: str) -> bool:
    """Whether reading the file neither ends nor halts the process that does it."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    except OSError:  # no process can be started here: nothing is known of the file
        return True
    return done.returncode >= 0  # a signal is negative, an exception is h5py's to raise again


def _read(path: str) -> None:
    import h5py  # in the other process alone: what survives() calls needs none

    limit = max(_LARGEST, 20 * os.path.getsize(path))  # noqa: PTH202

    def visit(_: str, item: object) -> None:
        for value in item.attrs.values():  # type: ignore[attr-defined]
            str(value)
        if isinstance(item, h5py.Dataset) and item.nbytes <= limit:
            item[()]

    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)


if __name__ == "__main__":
    _read(sys.argv[1])
