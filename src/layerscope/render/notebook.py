"""Rich display in notebooks, from the same parts as everywhere else."""

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

from layerscope.document.parts import Document
from layerscope.errors import InputError
from layerscope.render.html import html, write_html
from layerscope.render.labels import plain
from layerscope.render.png import Drawable, draw, encode, write_png


@dataclass(frozen=True, slots=True)
class PartDisplay:
    """One part, as a notebook shows it."""

    part: Drawable

    def __repr__(self) -> str:
        return plain(self.part.alt)

    def _repr_png_(self) -> bytes:
        return encode(draw(self.part))

    def _repr_html_(self) -> str:
        source = base64.b64encode(self._repr_png_()).decode()
        alt = escape(plain(self.part.alt))
        return f'<img src="data:image/png;base64,{source}" alt="{alt}" style="max-width: 100%">'

    def save(self, path: str | Path) -> None:
        """Write the picture as PNG.

        Raises:
            InputError: the name does not end in .png.
            EnvironmentFailure: the file cannot be written.
        """
        _must_end(path, ".png")
        write_png(self.part, path)


@dataclass(frozen=True, slots=True)
class DocumentDisplay:
    """A document, as a notebook shows it: a page within the page, apart from its styles."""

    document: Document
    height: int = 800

    def __repr__(self) -> str:
        return plain(self.document.title)

    def _repr_html_(self) -> str:
        page, title = escape(html(self.document)), escape(plain(self.document.title))
        return (
            f'<iframe sandbox srcdoc="{page}" title="{title}" width="100%" '
            f'height="{self.height}" style="border: 0"></iframe>'
        )

    def save(self, path: str | Path) -> None:
        """Write the document as one HTML file.

        Raises:
            InputError: the name does not end in .html.
            EnvironmentFailure: the file cannot be written.
        """
        _must_end(path, ".html")
        write_html(self.document, path)


def _must_end(path: str | Path, ending: str) -> None:
    if Path(path).suffix.lower() != ending:
        raise InputError(f"This is saved as {ending}; got {Path(path).name!r}. Change its ending.")
