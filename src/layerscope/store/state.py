"""The states of all statistics in one file: NPZ without compression and without pickle.

The arrays are named by numbers, and an index of layers, statistics and names stands beside them:
layer names are hostile text and never become the names of files.
"""

import errno
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.store.manifest import cannot_be_read, damaged

States = Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]]
"""Layer path -> name of the statistic -> its state, which is arrays by name."""

INDEX = "index"

_DAMAGE = (
    FileNotFoundError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
)
"""What numpy and zipfile raise on files that are missing, cut off or changed."""


def write_states(file: BinaryIO, states: States) -> None:
    """Write states, so that `read_states` gives back the same bits, types and shapes.

    Raises:
        InputError: an array holds Python objects, which only pickle could write.
    """
    arrays: list[NDArray[Any]] = []
    index: dict[str, dict[str, dict[str, int]]] = {}
    for layer, statistics in states.items():
        index[layer] = {}
        for statistic, state in statistics.items():
            index[layer][statistic] = {}
            for name, array in state.items():
                if array.dtype.hasobject:
                    raise InputError(
                        f"A state holds plain arrays, and {name!r} of the statistic {statistic!r} "
                        f"has the type {array.dtype}; use numbers or text of a fixed length."
                    )
                index[layer][statistic][name] = len(arrays)
                arrays.append(array)
    numbered = {str(i): array for i, array in enumerate(arrays)}
    numbered[INDEX] = np.frombuffer(json.dumps(index).encode(), np.uint8)
    np.savez(file, **numbered)  # type: ignore[arg-type]  # its stub takes the arrays for a flag


def read_states(path: Path) -> dict[str, dict[str, dict[str, NDArray[Any]]]]:
    """The states that `write_states` wrote.

    Raises:
        InputError: the file is missing or damaged.
        EnvironmentFailure: it cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            index = json.loads(arrays[INDEX].tobytes())
            return {
                layer: {
                    statistic: {name: arrays[str(at)] for name, at in names.items()}
                    for statistic, names in statistics.items()
                }
                for layer, statistics in index.items()
            }
    except _DAMAGE as error:
        raise damaged(path, error) from error
    except OSError as error:
        # Damaged offsets lead before the beginning of the file.
        told = damaged if error.errno == errno.EINVAL else cannot_be_read
        raise told(path, error) from error
