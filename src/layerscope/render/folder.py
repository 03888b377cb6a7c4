"""Where pictures go: one picture, a page alone, or a folder with a page and a picture each."""

import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol
from unicodedata import normalize

from layerscope.document.parts import Document
from layerscope.errors import EnvironmentFailure, InputError
from layerscope.render.html import write_html
from layerscope.render.png import Drawable, write_png

THREADS = min(4, os.cpu_count() or 1)
_OTHER_PICTURES = {".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg", ".pdf"}


class Pictured(Protocol):
    """Something that has pictures and a page of them."""

    @property
    def command(self) -> str:
        """Name of the command that writes it, by which its folders are known."""

    @property
    def document(self) -> Document:
        """The page."""

    def one(self) -> Drawable:
        """The part for a file that holds one picture."""

    def pictures(self) -> list[tuple[str, Drawable]]:
        """File name and part of every picture."""


def save(shown: Pictured, path: str | Path) -> list[Path]:
    """Write pictures.

    Args:
        shown: what to write.
        path: a file name that ends in ``.png`` for one picture or in ``.html`` for the page alone,
            else a folder for ``index.html`` and all pictures. A folder may hold other files;
            pictures of an earlier `save` that it no longer needs are removed.

    Returns:
        The files, the page first.

    Raises:
        InputError: see `place_of`; or a file of the folder that was not written by `save` would be
            overwritten.
        EnvironmentFailure: they cannot be written; nothing is left half-written.
    """
    target = place_of(path)
    if holds_one(target):
        write_png(shown.one(), target)
    elif target.suffix.lower() in {".html", ".htm"}:
        write_html(shown.document, target)
    else:
        return _write_folder(shown, target)
    return [target]


def holds_one(path: Path) -> bool:
    """Whether a file of this name holds one picture."""
    return path.suffix.lower() == ".png"


def place_of(path: object) -> Path:
    """A path that pictures can be saved under.

    Raises:
        InputError: the name ends as a picture of another kind or cannot be that of a file.
    """
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
        if not text or "\0" in text:
            raise ValueError
        target = Path(text).expanduser()
        os.fsencode(target)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"Pictures are saved under a path that a file can have; got {path!r}. Name a folder, "
            "a .png or an .html."
        ) from None
    if target.suffix.lower() in _OTHER_PICTURES:
        raise InputError(f"One picture is saved as .png; got '{target.name}'. Change its ending.")
    return target


def safe(name: str) -> str:
    """A layer or file name as part of a file name: letters, digits, dot, dash; 50 at most."""
    return re.sub(r"[^\w.-]+", "-", normalize("NFC", name)).strip(".-")[-50:] or "unnamed"


def _write_folder(shown: Pictured, target: Path) -> list[Path]:
    """Draw everything beside the target first, then move it there."""
    pictures = shown.pictures()
    names = ["index.html", *[name for name, _ in pictures]]
    before = _written_before(target, shown.command)
    foreign = [name for name in names if name not in before and (target / name).exists()]
    if foreign:
        raise InputError(
            f"'{foreign[0]}' in '{target}' was not written by layerscope {shown.command} and would "
            "be overwritten. Choose another folder, or move it away."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".layerscope-", dir=target.parent))
        try:
            with ThreadPoolExecutor(THREADS) as pool:
                page = pool.submit(_write_page, shown, names, partial / "index.html")
                drawn = [pool.submit(write_png, part, partial / name) for name, part in pictures]
                for task in (page, *drawn):
                    task.result()
            target.mkdir(exist_ok=True)
            for name in before - set(names):
                (target / name).unlink(missing_ok=True)
            for name in names:
                (partial / name).replace(target / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        reason = str(error) if isinstance(error, EnvironmentFailure) else error.strerror
        raise EnvironmentFailure(
            f"Pictures need a folder that can be written, and '{target}' cannot ({reason})."
        ) from error
    return [target / name for name in names]


_WRITTEN = "<!-- written by layerscope"
"""At the end of a page stand the names of all files that belong to it, in a comment."""


def _write_page(shown: Pictured, names: list[str], path: Path) -> None:
    write_html(shown.document, path)
    with path.open("a", encoding="utf-8") as page:
        page.write(f"{_WRITTEN} {shown.command}: {' '.join(names)} -->\n")


def _written_before(folder: Path, command: str) -> set[str]:
    """Files in a folder that an earlier page lists; it is no proof, so only likely names count."""
    try:
        with (folder / "index.html").open("rb") as page:
            page.seek(max(0, page.seek(0, os.SEEK_END) - 2**20))
            end = page.read().decode("utf-8", "replace")
    except OSError:
        return set()
    comment = re.search(rf"{_WRITTEN} {command}: ([^<>]*) -->\s*\Z", end)
    names = comment[1].split(" ") if comment else []
    return {
        name
        for name in names
        if re.fullmatch(r"index\.html|(overview|layer|overlay|heatmap|probe)[\w.-]*\.png", name)
    }
