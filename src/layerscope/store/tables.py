"""Tables on disk: Parquet that says where its figures come from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import InputError, MissingFileError
from layerscope.store.manifest import cannot_be_read, replacing

if TYPE_CHECKING:
    import pandas as pd

PROVENANCE = "provenance"


def write_table(path: Path, frame: "pd.DataFrame", provenance: Mapping[str, Any]) -> None:
    """Write a table and its provenance as one Parquet file, all or nothing.

    Args:
        path: where to; a table there is replaced.
        frame: the table; its columns have text as names.
        provenance: a JSON object. It lies in the metadata of the file, and whoever reads the
            file with ``pandas.read_parquet`` finds it as ``frame.attrs["provenance"]``.

    Raises:
        EnvironmentFailure: it cannot be written; a table that was there stays.
    """
    noted = frame.copy(deep=False)
    # Through JSON and back, because pandas only warns where it cannot write the attributes.
    noted.attrs = {PROVENANCE: json.loads(json.dumps(provenance, allow_nan=False))}
    with replacing(path) as file:
        noted.to_parquet(file, engine="pyarrow")


def read_table(path: Path) -> tuple["pd.DataFrame", dict[str, Any]]:
    """A table and its provenance.

    Raises:
        MissingFileError: there is no such table.
        InputError: the file is damaged, or not a table of layerscope.
        EnvironmentFailure: it cannot be read.
    """
    import pandas as pd  # heavy

    try:
        with path.open("rb") as file:
            frame = pd.read_parquet(file, engine="pyarrow")
    except FileNotFoundError as error:
        raise MissingFileError(
            f"There is no table '{path}'; if its run is finished, a file was lost: name another "
            "directory for a new run."
        ) from error
    except ValueError as error:  # pyarrow's ArrowInvalid is one
        raise InputError(
            f"The table '{path}' is damaged ({error}); name another directory for a new run."
        ) from error
    except OSError as error:
        raise cannot_be_read(path, error) from error
    if PROVENANCE not in frame.attrs:
        raise InputError(f"'{path}' does not say where its figures come from; run again.")
    return frame, frame.attrs.pop(PROVENANCE)
