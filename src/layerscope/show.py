"""From maps to pictures of a network: which grids and overviews, and where they are saved."""

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from layerscope.document.colour import Bytes, ScaleKind
from layerscope.document.compose import document, grid, heading, overlay, overview
from layerscope.document.parts import Document, MapGrid, Note, Overview, Part, Picture
from layerscope.errors import InputError
from layerscope.model.preparation import Preparation
from layerscope.render.folder import THREADS, safe, save
from layerscope.render.labels import plain
from layerscope.render.notebook import DocumentDisplay, PartDisplay
from layerscope.render.png import Drawable
from layerscope.render.sheet import fitted
from layerscope.selection import select
from layerscope.vocabulary import Floats, Maps, Skipped

MOST_SHOWN = 16
"""Maps of a layer, unless more are asked for."""
MOST_IMAGES = 16
"""Images: more fit on no page, and their maps need memory."""
NAMED = 3
OVERLAY_SIDE = 240
"""Pixels that the longer side of a photo under a map has at most."""


@dataclass(frozen=True)
class Shown:
    """Pictures of a network for some images; a notebook displays them as a page.

    Attributes:
        model: name of the network.
        overviews: one per image: a row per layer.
        grids: one per layer, all images side by side.
        not_drawn: (layer, reason) of the layers that have no picture.
        skipped: files that could not be used.
        prepared: how the images were prepared.
        notes: sentences on images that were left out and on what was done to files.
        resized: how files came to the size of the model; empty for arrays.
        overlays: for each grid, maps laid over the photos, if that was asked for.
    """

    model: str
    overviews: tuple[Overview, ...]
    grids: tuple[MapGrid, ...]
    not_drawn: tuple[tuple[str, str], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    prepared: Preparation | None = None
    notes: tuple[str, ...] = ()
    resized: str = ""
    overlays: tuple[tuple[Picture, ...], ...] = ()
    command = "show"  # not a field: which command writes it

    def save(self, path: str | Path) -> list[Path]:
        """Write the pictures.

        Args:
            path: a file name that ends in ``.png`` for one picture (the overview, the only layer
                or its only overlay) or in ``.html`` for the page alone, else a folder for
                ``index.html``, the overviews, and the pictures of each layer. A folder may hold
                other files; pictures of an earlier `save` that it no longer needs are removed.

        Returns:
            The files, the page first.

        Raises:
            InputError: the name ends as a picture of another kind or cannot be that of a file,
                or a file of the folder that was not written by `save` would be overwritten.
            EnvironmentFailure: they cannot be written; nothing is left half-written.
        """
        return save(self, path)

    def one(self) -> Drawable:
        """The part for a file that holds one picture: an overlay, a layer or the overview."""
        laid = [picture for pictures in self.overlays for picture in pictures]
        if len(laid) > 1:
            raise InputError(
                f"A .png holds one picture, and there are {len(laid)} overlays. Save to a folder."
            )
        whole = self.grids[0] if len(self.grids) == 1 else self.overviews[0]
        return laid[0] if laid else whole

    def pictures(self) -> list[tuple[str, Drawable]]:
        """File name and part of every picture, overviews first."""
        several = len(self.overviews) > 1
        named: list[tuple[str, Drawable]] = [
            (
                f"overview-{i:02}-{safe(Path(part.name).stem)}.png" if several else "overview.png",
                part,
            )
            for i, part in enumerate(self.overviews, 1)
        ]
        width = len(str(len(self.grids)))
        for i, part in enumerate(self.grids, 1):
            named.append((f"layer-{i:0{width}}-{safe(part.layer.path)}.png", part))
        for i, (part, laid) in enumerate(zip(self.grids, self.overlays, strict=False), 1):
            stem = f"overlay-{i:0{width}}-{safe(part.layer.path)}"
            named += [(f"{stem}-{j}.png", picture) for j, picture in enumerate(laid, 1)]
        return named

    def __repr__(self) -> str:
        names = [plain(part.name) for part in self.overviews]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        layers = "1 layer" if len(self.grids) == 1 else f"{len(self.grids)} layers"
        said = " ".join(["", *map(plain, self.notes)])
        model = plain(self.model)
        return (
            f"Pictures of {layers} of {model} for {', '.join(names[:NAMED])}{more}: .save(path)."
            f"{said}"
        )

    @property
    def document(self) -> Document:
        """Everything as one document, for a page or a terminal."""
        title = heading(self.model, [part.name for part in self.overviews])
        about, doubt = (str(self.prepared), self.prepared.suspect) if self.prepared else ("", "")
        notes = [Note(doubt, "warn")] if doubt else []
        notes += [Note(text) for text in (*self.notes, about, self.resized) if text]
        notes += [Note(f"{path} is not drawn: {reason}.") for path, reason in self.not_drawn]
        notes += [Note(f"{s.file} was skipped: {s.reason}.", "warn") for s in self.skipped]
        made = document(title, self.overviews, self.grids, notes)
        if not self.overlays:
            return made
        laid = dict(zip((part.anchor for part in self.grids), self.overlays, strict=True))
        sections = (
            replace(section, parts=_with_overlays(section.parts, laid.get(section.anchor, ())))
            for section in made.sections
        )
        return replace(made, sections=tuple(sections))

    def _repr_html_(self) -> str:
        doubt = self.prepared.suspect if self.prepared else ""
        said = doubt or self.notes or self.skipped or self.not_drawn or self.overlays
        if len(self.grids) == 1 and not said:
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
    alpha: float | None = None,
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
        alpha: if set, lay maps over the photos, with this share of their colour, 0 to 1: of each
            layer the map that carries most, or all that are shown if there are ``exactly`` so
            many.

    Raises:
        InputError: no layer has a map that can be drawn.
    """
    drawn = [path for path in maps if not maps.layers[path].not_shown]
    hidden = tuple((path, maps.layers[path].not_shown) for path in maps if path not in drawn)
    if not drawn:
        raise InputError(f"A picture needs a map of more than one pixel; got {hidden[:3]}.")
    names = tuple(_title(name) for name in maps.ids)
    enough = None if exactly or most is None else 0.8

    def drawn_grid(path: str) -> MapGrid:
        choice = select(maps[path], most, enough)
        return grid(photos, names, maps.layers[path], maps[path], choice, scale)

    # Many small products: a second BLAS thread costs more than it brings, ten times under load;
    # a second layer at the same time does not.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(THREADS) as pool:
        grids = tuple(pool.map(drawn_grid, drawn))
    sheets = []
    for i, (photo, name) in enumerate(zip(photos, names, strict=True)):
        rows = grids if len(photos) == 1 else [_of_image(part, i) for part in grids]
        sheets.append(overview(photo, name, rows, predictions[i]))
    laid: tuple[tuple[Picture, ...], ...] = ()
    if alpha is not None:
        count = MOST_SHOWN if exactly else 1
        laid = tuple(_overlays(part, alpha, count) for part in grids)
    return Shown(model, tuple(sheets), grids, hidden, maps.skipped, overlays=laid)


def _overlays(part: MapGrid, alpha: float, most: int) -> tuple[Picture, ...]:
    """The first maps of a layer over each photo."""
    pictures = []
    for photo, name, maps in zip(part.photos, part.names, part.maps, strict=True):
        below = fitted(photo, OVERLAY_SIDE, OVERLAY_SIDE)
        for place, channel in enumerate(part.selection.channels[:most]):
            made = overlay(below, maps[..., place], alpha, part.layer.pre_activation)
            words = f"Map {channel} over {name}: {made.caption}"
            alt = f"Map {channel} of {part.layer.path} laid over {name}"
            pictures.append(replace(made, caption=words, alt=alt))
    return tuple(pictures)


def _with_overlays(parts: tuple[Part, ...], laid: tuple[Picture, ...]) -> tuple[Part, ...]:
    at = next((i for i, part in enumerate(parts) if isinstance(part, MapGrid)), len(parts))
    return (*parts[: at + 1], *laid, *parts[at + 1 :])


def check_shown(maps: object, scale: object, alpha: object) -> None:
    """Refuse what cannot be meant by these arguments of `layerscope.scope.Scope.show`."""
    number = isinstance(maps, int) and not isinstance(maps, bool) and maps > 0
    if not number and maps not in (None, "all"):
        raise InputError(f"maps is a number from 1, or 'all'; got {maps!r}.")
    if scale not in ("map", "layer"):
        raise InputError(f"scale is 'map' or 'layer'; got {scale!r}.")
    share = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 <= alpha <= 1
    if alpha is not None and not share:
        raise InputError(
            f"alpha is a number from 0 (photo) to 1 (map), or None for no overlays; got {alpha!r}."
        )


def notes_on(shown: int, total: int | None, more: bool, done: Mapping[str, str]) -> tuple[str, ...]:
    """Sentences on images that were left out and on what was done to files.

    Args:
        shown: number of images that are shown.
        total: how many there are; ``None`` for a stream.
        more: a stream had more.
        done: by name of a file, what its owner may not expect.
    """
    said = []
    if total is not None and total > MOST_IMAGES:
        said.append(f"{shown} of {total} images are shown, evenly spread over the set.")
    if more:
        said.append(f"The first {shown} images of a stream are shown; what follows was not read.")
    for note in dict.fromkeys(done.values()):
        files = ", ".join(name for name, words in done.items() if words == note)
        said.append(f"{note[:1].upper()}{note[1:]}: {files}.")
    return tuple(said)


def as_warning(text: str) -> None:
    """Tell a user of Python, at the line that called what calls this."""
    warnings.warn(text, stacklevel=3)


def _of_image(part: MapGrid, at: int) -> MapGrid:
    """One image's row of a grid of several, with the colour scales of all."""
    return replace(
        part,
        photos=part.photos[at : at + 1],
        names=part.names[at : at + 1],
        maps=np.ascontiguousarray(part.maps[at : at + 1]),
        whole=part.whole[at : at + 1],
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
