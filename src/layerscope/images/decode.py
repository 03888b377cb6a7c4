"""One image file to pixels, or one sentence that says why not.

Pixels equal those of ``tf.io.decode_image(channels=3)``, which Keras' own loader uses, for every
format that it reads: alpha is dropped (what is transparent in a GIF is black), grey is repeated.
Two differences are meant: EXIF orientation is applied, and 16-bit grey keeps its fractions. Two are
put up with: a CMYK JPEG, and any JPEG where simplejpeg is not installed or cannot read it, goes
through the accurate inverse cosine transform where TensorFlow takes a faster one (up to about 10
grey levels at single pixels).
"""

import io
import re
import stat
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from layerscope.errors import InputError

try:
    import simplejpeg  # type: ignore[import-untyped, import-not-found, unused-ignore]
except ImportError:
    simplejpeg = None

MAX_PIXELS = 80_000_000
"""Images with more pixels are refused from their header alone. Lower than the size at which
Pillow itself starts to warn."""

READ_WHOLE = 64_000_000
"""Bytes up to which a file is read at once; larger ones are no plain photos and stay on disk."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
"""What Pillow may open. Not more: some of its plugins start other programs (EPS)."""

Channels = Literal[1, 3]
Pixels = NDArray[np.uint8] | NDArray[np.float32]

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}

_FILTERS = threading.Lock()


class UnreadableImage(InputError):
    """A file that cannot be used as an image.

    Attributes:
        reason: why, in words that need no file name beside them.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(
            f"{str(path)!r} cannot be used as an image: {reason}. Replace it or leave it out."
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pixels of one file.

    Attributes:
        pixels: (H, W, C) in 0..255; uint8, or float32 for 16-bit grey.
        note: empty, or what was done to the file that its owner may not expect.
    """

    pixels: Pixels
    note: str = ""


def decode(path: str | Path, channels: Channels = 3) -> Decoded:
    """Read one image file.

    Args:
        path: a file in one of `FORMATS`.
        channels: 3 for RGB, 1 for grey (ITU-R 601 luminance).

    Raises:
        UnreadableImage: the file is missing, damaged, not an image, 1x1, or larger than
            `MAX_PIXELS`.
        MemoryError: the machine has no room for this image.
    """
    size = _size(path)
    try:
        try:
            return _open(path, channels, size)
        except Warning:
            # Whoever turns warnings into errors would lose images with a damaged comment. Filters
            # belong to the whole process, hence this detour and the lock in place of a filter.
            with _FILTERS, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _open(path, channels, size)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Pillow's parsers let almost any exception out of a damaged file.
        raise UnreadableImage(path, _reason(error)) from error


def _size(path: str | Path) -> int:
    """Bytes of the file; refuses directories, and pipes that would block for ever."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise UnreadableImage(path, "it does not exist (moved, or a broken link)") from None
    except (OSError, ValueError) as error:
        raise UnreadableImage(path, _reason(error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImage(path, "it is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage(path, "it is not a regular file")
    if status.st_size == 0:
        raise UnreadableImage(path, "it is empty (0 bytes)")
    return status.st_size


def _open(path: str | Path, channels: Channels, size: int) -> Decoded:
    if size > READ_WHOLE:
        with Path(path).open("rb") as file:
            return _with_pillow(path, file, channels)
    data = Path(path).read_bytes()
    return _turbo(data, channels) or _with_pillow(path, io.BytesIO(data), channels)


def _turbo(data: bytes, channels: Channels) -> Decoded | None:
    """Decode a colour or grey JPEG with TensorFlow's choice of transform, bit-equal and fast.

    ``None`` for everything else, oddities and damage included: on them Pillow has the last word.
    """
    if simplejpeg is None or not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if not 1 < height * width <= MAX_PIXELS or colours in ("CMYK", "YCCK"):
            return None
        wanted = "RGB" if channels == 3 else "GRAY"
        pixels: Pixels = simplejpeg.decode_jpeg(data, wanted, fastdct=True)
    except ValueError:
        return None
    if not _may_be_turned(data):
        return Decoded(pixels)
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return Decoded(*_upright(image, pixels))


def _may_be_turned(jpeg: bytes) -> bool:
    """Walk the segments in front of the pixels (ITU-T T.81, B.1.1) in search of EXIF data."""
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1] != 0xDA:  # start of scan
        if jpeg[at + 4 : at + 8] == b"Exif":
            return True
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return False


def _with_pillow(path: str | Path, file: BinaryIO, channels: Channels) -> Decoded:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImage(path, _too_large(image.width * image.height))
        if image.size == (1, 1):
            raise UnreadableImage(path, "1x1 pixels")
        pixels, note = _pixels(path, image, channels)
        upright, turn_note = _upright(image, pixels)
        return Decoded(upright, _joined(note, turn_note))


def _frame_note(image: Image.Image) -> str:
    # MPO is the JPEG of a phone with a preview behind it, not an animation.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return ""
    return "first page of several" if image.format == "TIFF" else "first frame of an animation"


def _upright(image: Image.Image, pixels: Pixels) -> tuple[Pixels, str]:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the pixels are whole; a damaged comment is no reason to lose them
        return pixels, "EXIF data damaged, orientation not applied"
    if orientation not in _UPRIGHT:
        return pixels, ""
    return _UPRIGHT[orientation](pixels), "turned as its EXIF orientation says"


def _pixels(path: str | Path, image: Image.Image, channels: Channels) -> tuple[Pixels, str]:
    frame_note, file_format = _frame_note(image), image.format
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        # Pillow's own conversion to 8 bit clips at 255.
        grey = np.asarray(image).astype(np.float32)[..., None] / np.float32(257)
        return np.repeat(grey, channels, axis=2), _joined(frame_note, "16 bit, scaled to 0..255")
    if image.mode in ("I", "F"):
        raise UnreadableImage(path, "its 32-bit pixels have no known range; save it with 8 or 16")
    note = "CMYK, converted without its colour profile" if image.mode == "CMYK" else ""
    if image.has_transparency_data:
        image, note = _opaque(image, black=file_format == "GIF")
    mode = "RGB" if channels == 3 else "L"
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if channels == 3 else pixels[..., None], _joined(frame_note, note)


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _opaque(image: Image.Image, black: bool) -> tuple[Image.Image, str]:
    rgba = image.convert("RGBA")  # straight to RGB, Pillow warns about some palettes
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba, ""
    if not black:
        return rgba, "transparency ignored"
    # A GIF's transparent places have no colour of their own; TensorFlow leaves them black too.
    return Image.composite(rgba, Image.new("RGBA", rgba.size), alpha), "transparency made black"


def _too_large(pixels: int) -> str:
    million = 1_000_000
    return f"{pixels // million} megapixels, more than the limit of {MAX_PIXELS // million}"


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        announced = re.search(r"[0-9]+", str(error))
        return _too_large(int(announced[0]) if announced else 2 * MAX_PIXELS)
    if isinstance(error, UnidentifiedImageError):
        return f"it is damaged or in no supported format ({', '.join(FORMATS)})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return f"it is damaged ({str(error).strip() or type(error).__name__})"
