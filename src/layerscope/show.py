"""From maps to pictures of a network: which grids and overviews, and where they are saved."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from layerscope.document.colour import Bytes, ScaleKind
from layerscope.document.compose import document, grid, overview
from layerscope.document.parts import Document, MapGrid, Note, Overview
from layerscope.errors import EnvironmentFailure, InputError
from layerscope.model.preparation import Preparation
from layerscope.render.html import write_html
from layerscope.render.notebook import DocumentDisplay, PartDisplay
from layerscope.render.png import write_png
from layerscope.selection import select
from layerscope.vocabulary import Floats, Maps, Skipped

MOST_SHOWN = 16


@dataclass(frozen=True)
class Shown:
    """Pictures of a network for some images; a notebook displays them as a page.

    Attributes:
        model: name of the network.
        overviews: one per image: a row per layer.
        grids: one per layer, all images side by side.
        not_drawn: (layer, reason) of the layers that have no picture.
        skipped: files that could not be used.
        prepared: how image files were prepared; ``None`` for arrays, which are used as given.
    """

    model: str
    overviews: tuple[Overview, ...]
    grids: tuple[MapGrid, ...]
    not_drawn: tuple[tuple[str, str], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    prepared: Preparation | None = None

    def save(self, path: str | Path) -> list[Path]:
        """Write the pictures.

        Args:
            path: a file name that ends in ``.png`` for one picture (the overview, or the only
                layer), else a folder for ``index.html``, the overviews and one picture per layer.

        Returns:
            The files, the page first.

        Raises:
            InputError: the name ends as a picture of another kind.
            EnvironmentFailure: they cannot be written; nothing is left half-written.
        """
        target = Path(path)
        if target.suffix.lower() in {".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg", ".pdf"}:
            raise InputError(
                f"One picture is saved as .png; got '{target.name}'. Change its ending."
            )
        if target.suffix.lower() == ".png":
            write_png(self.grids[0] if len(self.grids) == 1 else self.overviews[0], target)
            return [target]
        return _write_folder(self, target)

    def pictures(self) -> list[tuple[str, MapGrid | Overview]]:
        """File name and part of every picture, overviews first."""
        several = len(self.overviews) > 1
        named: list[tuple[str, MapGrid | Overview]] = [
            (
                f"overview-{i:02}-{_safe(Path(part.name).stem)}.png" if several else "overview.png",
                part,
            )
            for i, part in enumerate(self.overviews, 1)
        ]
        width = len(str(len(self.grids)))
        for i, part in enumerate(self.grids, 1):
            named.append((f"layer-{i:0{width}}-{_safe(part.layer.path)}.png", part))
        return named

    def __repr__(self) -> str:
        names = ", ".join(part.name for part in self.overviews)
        return f"Pictures of {len(self.grids)} layers of {self.model} for {names}: .save(path)"

    @property
    def document(self) -> Document:
        """Everything as one document, for a page or a terminal."""
        title = f"{self.model}: {', '.join(part.name for part in self.overviews)}"
        about, doubt = (str(self.prepared), self.prepared.suspect) if self.prepared else ("", "")
        notes = [Note(doubt, "warn")] if doubt else []
        notes += [Note(about)] if about else []
        notes += [Note(f"{path} is not drawn: {reason}.") for path, reason in self.not_drawn]
        notes += [Note(f"{s.file} was skipped: {s.reason}.", "warn") for s in self.skipped]
        return document(title, self.overviews, self.grids, notes)

    def _repr_html_(self) -> str:
        if len(self.grids) == 1:
            return PartDisplay(self.grids[0])._repr_html_()
        return DocumentDisplay(self.document)._repr_html_()


def show(
    model: str,
    maps: Maps,
    photos: Sequence[Bytes],
    predictions: Sequence[Sequence[tuple[str, float]]],
    most: int | None = MOST_SHOWN,
    exactly: bool = False,
    scale: ScaleKind = "map",
    prepared: Preparation | None = None,
) -> Shown:
    """Pictures of every layer.

    Args:
        model: name of the network.
        maps: of one or several images.
        photos: the images to look at, uint8 (H, W, 3).
        predictions: per image the strongest outputs: name and value.
        most: show at most so many maps of a layer; ``None`` for all.
        exactly: show exactly so many instead of as few as carry enough.
        scale: one colour scale per ``map`` or per ``layer``.
        prepared: how image files were prepared.

    Raises:
        InputError: no layer has a map that can be drawn.
    """
    drawn = [path for path in maps if not maps.layers[path].not_shown]
    hidden = tuple((path, maps.layers[path].not_shown) for path in maps if path not in drawn)
    if not drawn:
        raise InputError(f"A picture needs a map of more than one pixel; got {hidden[:3]}.")
    names = tuple(_title(name) for name in maps.ids)
    enough = None if exactly or most is None else 0.8
    # Many small products: a second BLAS thread costs more than it brings, ten times under load.
    with threadpool_limits(1, user_api="blas"):
        chosen = {path: select(maps[path], most, enough) for path in drawn}
        grids = tuple(
            grid(photos, names, maps.layers[path], maps[path], chosen[path], scale)
            for path in drawn
        )
    sheets = []
    for i, (photo, name) in enumerate(zip(photos, names, strict=True)):
        rows = grids if len(photos) == 1 else [_of_image(part, i) for part in grids]
        sheets.append(overview(photo, name, rows, predictions[i]))
    return Shown(model, tuple(sheets), grids, hidden, maps.skipped, prepared)


def _of_image(part: MapGrid, at: int) -> MapGrid:
    """One image's row of a grid of several, with the colour scales of all."""
    return replace(
        part,
        photos=part.photos[at : at + 1],
        names=part.names[at : at + 1],
        maps=np.ascontiguousarray(part.maps[at : at + 1]),
        whole=(),
    )


def strongest(
    outputs: Floats, classes: Sequence[str] | None, count: int = 5
) -> list[tuple[str, float]]:
    """The strongest outputs of one image, (name, value); an unnamed output is ``output 7``."""
    flat = np.ravel(outputs)
    order = np.argsort(-flat, kind="stable")[:count]
    named = classes is not None and len(classes) == len(flat)
    return [(classes[i] if named and classes else f"output {i}", float(flat[i])) for i in order]


def _title(name: str) -> str:
    return Path(name).name


def _safe(name: str) -> str:
    """A layer or file name as part of a file name: letters, digits, dot, dash; 60 at most."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[-60:] or "unnamed"


def _write_folder(shown: Shown, target: Path) -> list[Path]:
    """Draw everything beside the target first, then move it there."""
    pictures = shown.pictures()
    names = ["index.html", *[name for name, _ in pictures]]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".layerscope-", dir=target.parent))
        try:
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                page = pool.submit(write_html, shown.document, partial / "index.html")
                drawn = [pool.submit(write_png, part, partial / name) for name, part in pictures]
                for task in (page, *drawn):
                    task.result()
            target.mkdir(exist_ok=True)
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
