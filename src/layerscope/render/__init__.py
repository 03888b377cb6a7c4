"""One lowering of a document per medium. None of them decides what is shown."""

import secrets
from pathlib import Path

from layerscope.errors import EnvironmentFailure


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader meets the old content or the new, never a part of it.

    Raises:
        EnvironmentFailure: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".layerscope-{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFailure(
            f"It could not be written to {path}: {error.strerror or error}. "
            "Choose another place with -o, or make room."
        ) from error
