import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from layerscope.errors import InputError
from layerscope.images import decode as decode_module
from layerscope.images.decode import MAX_PIXELS, UnreadableImage, decode

LIMIT = MAX_PIXELS // 10**6
RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (30, 41, 3), dtype=np.uint8)
WITH_ALPHA = RNG.integers(0, 256, (30, 41, 4), dtype=np.uint8)
RGB, RGBA = Image.fromarray(COLOURS), Image.fromarray(WITH_ALPHA)
PALETTE = RGB.quantize(16)
DEEP = RNG.integers(0, 65536, (30, 41), dtype=np.uint16)
SMOOTH = Image.fromarray(
    np.stack(np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48)), -1).astype(np.uint8)[
        ..., [0, 1, 0]
    ]
)


def png(width: int, height: int, depth: int, colour: int, lines: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def keras_pixels(path: Path, channels: int = 3) -> np.ndarray:
    tf = pytest.importorskip("tensorflow")
    image = tf.io.decode_image(path.read_bytes(), channels=channels, expand_animations=False)
    return image.numpy()


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("colour.png", RGB, {}),
        ("grey.png", RGB.convert("L"), {}),
        ("bit.png", RGB.convert("1"), {}),
        ("alpha.png", RGBA, {}),
        ("grey-alpha.png", RGBA.convert("LA"), {}),
        ("palette.png", PALETTE, {}),
        ("palette-one-transparent.png", PALETTE, {"transparency": 3}),
        ("palette-transparent.png", PALETTE, {"transparency": bytes(range(16))}),
        ("colour-key.png", RGB, {"transparency": tuple(map(int, COLOURS[0, 0]))}),
        ("colour.bmp", RGB, {}),
        ("grey.bmp", RGB.convert("L"), {}),
        ("palette.gif", PALETTE, {}),
        ("transparent.gif", PALETTE, {"transparency": 3}),
        ("moving.gif", PALETTE, {"save_all": True, "append_images": [PALETTE.rotate(180)]}),
        ("lossless.webp", RGB, {"lossless": True}),
    ],
)
def test_pixels_equal_those_of_the_keras_loader(tmp_path, name, image, options):
    image.save(tmp_path / name, **options)

    pixels = decode(tmp_path / name).pixels

    np.testing.assert_array_equal(pixels, keras_pixels(tmp_path / name))
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 60, "progressive": True},
        {"quality": 75, "subsampling": "4:4:4"},
        {"quality": 75, "subsampling": "4:2:2"},
        {"keep_rgb": True},
    ],
)
def test_jpeg_equals_the_keras_loader_bit_by_bit(tmp_path, mode, channels, options):
    pytest.importorskip("simplejpeg")
    SMOOTH.convert(mode).save(tmp_path / "photo.jpg", **options)

    pixels = decode(tmp_path / "photo.jpg", channels=channels).pixels

    np.testing.assert_array_equal(pixels, keras_pixels(tmp_path / "photo.jpg", channels))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_by_pillow_differs_only_by_the_transform(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(decode_module, "simplejpeg", None)
    SMOOTH.convert(mode).save(tmp_path / "photo.jpg", quality=90)

    difference = decode(tmp_path / "photo.jpg").pixels - keras_pixels(tmp_path / "photo.jpg") * 1.0

    assert np.abs(difference).max() <= 10
    assert np.abs(difference).mean() < 1


def test_jpeg_with_oddities_that_only_pillow_forgives_is_read(tmp_path):
    SMOOTH.save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    scan = whole.index(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(whole[:scan] + b"\0\0\0\0" + whole[scan:])

    assert decode(tmp_path / "a.jpg").pixels.shape == (48, 64, 3)


def test_sixteen_bit_colour_equals_the_keras_loader(tmp_path):
    deep = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    (tmp_path / "deep.png").write_bytes(png(7, 5, 16, 2, lines))

    np.testing.assert_array_equal(
        decode(tmp_path / "deep.png").pixels, keras_pixels(tmp_path / "deep.png")
    )


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm", "deep-turned.png"])
def test_sixteen_bit_grey_keeps_its_fractions_and_is_not_clipped(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(DEEP).save(tmp_path / name, **({"exif": exif} if "turned" in name else {}))

    decoded = decode(tmp_path / name)

    expected = np.rot90(DEEP, 2) if "turned" in name else DEEP
    np.testing.assert_allclose(decoded.pixels, np.stack([expected / 257] * 3, -1), atol=1e-3)
    assert decoded.pixels.dtype == np.float32
    assert "16 bit" in decoded.note
    assert decode(tmp_path / name, channels=1).pixels.shape == (30, 41, 1)


def test_big_endian_sixteen_bit_grey_is_read_in_its_own_order(tmp_path):
    lines = b"".join(line.astype(">u2").tobytes() for line in DEEP)
    Image.frombytes("I;16B", (41, 30), lines).save(tmp_path / "deep.tif")

    np.testing.assert_allclose(decode(tmp_path / "deep.tif").pixels[..., 0], DEEP / 257, atol=1e-3)


@pytest.mark.parametrize("values", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_refused(tmp_path, values):
    Image.fromarray(np.arange(12, dtype=values).reshape(3, 4)).save(tmp_path / "range.tif")

    with pytest.raises(UnreadableImage, match="no known range"):
        decode(tmp_path / "range.tif")


@pytest.mark.parametrize("image", [RGB, RGBA, PALETTE, RGB.convert("L")])
def test_one_channel_is_the_luminance_that_the_keras_loader_gives(tmp_path, image):
    image.save(tmp_path / "a.png")

    grey = decode(tmp_path / "a.png", channels=1).pixels

    assert grey.shape == (30, 41, 1)
    assert np.abs(grey - keras_pixels(tmp_path / "a.png", channels=1) * 1.0).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda stored: stored),
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored, 2).swapaxes(0, 1)),
        (8, np.rot90),
        (99, lambda stored: stored),
    ],
)
def test_exif_orientation_is_applied_and_noted(tmp_path, suffix, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    RGB.save(tmp_path / f"turned.{suffix}", exif=exif)
    RGB.save(tmp_path / f"plain.{suffix}")

    decoded = decode(tmp_path / f"turned.{suffix}")

    np.testing.assert_array_equal(decoded.pixels, turn(decode(tmp_path / f"plain.{suffix}").pixels))
    assert ("orientation" in decoded.note) == (2 <= orientation <= 8)


def test_damaged_exif_data_does_not_lose_the_image(tmp_path):
    plain = io.BytesIO()
    RGB.save(plain, "JPEG")
    segment = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    with_exif = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    (tmp_path / "a.jpg").write_bytes(with_exif + plain.getvalue()[2:])

    # Pillow warns, which here is an error; and again in a thread, where filters are shared.
    assert decode(tmp_path / "a.jpg").pixels.shape == (30, 41, 3)
    with ThreadPoolExecutor(8) as pool:
        sizes = {image.pixels.shape for image in pool.map(decode, [tmp_path / "a.jpg"] * 50)}
    assert sizes == {(30, 41, 3)}
    with pytest.raises(UserWarning, match="still an error"):
        warnings.warn("still an error", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        ("a.gif", {"save_all": True, "append_images": [RGB.rotate(90)]}, "first frame"),
        ("a.webp", {"save_all": True, "append_images": [RGB.rotate(90)]}, "first frame"),
        ("a.tif", {"save_all": True, "append_images": [RGB.rotate(90)]}, "first page"),
        ("still.gif", {}, ""),
        ("a.mpo", {"save_all": True, "append_images": [RGB.rotate(90)]}, ""),
    ],
)
def test_only_an_animation_says_that_its_first_frame_was_taken(
    tmp_path, monkeypatch, name, options, note
):
    RGB.save(tmp_path / name, **options)

    for decoder in (decode_module.simplejpeg, None):
        monkeypatch.setattr(decode_module, "simplejpeg", decoder)
        decoded = decode(tmp_path / name)
        assert decoded.note.startswith(note) if note else decoded.note == ""
        assert decoded.pixels.shape == (30, 41, 3)


def test_transparency_is_noted_only_where_something_is_transparent(tmp_path):
    opaque = WITH_ALPHA.copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    RGBA.save(tmp_path / "sheer.png")

    assert decode(tmp_path / "opaque.png").note == ""
    assert decode(tmp_path / "sheer.png").note == "transparency ignored"


def damaged_files(folder: Path) -> dict[str, str]:
    """Make one file of each kind of damage; returns the reason expected for each."""
    encoded = io.BytesIO()
    RGB.save(encoded, "JPEG")
    whole = encoded.getvalue()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    RGB.save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:600])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("not an image at all\n" * 50)
    (folder / "folder.png").mkdir()
    (folder / "link.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(folder / "pipe.png")
    RGB.resize((1, 1)).save(folder / "dot.png")
    RGB.resize((1, 1)).save(folder / "dot.jpg")
    RGB.save(folder / "vector.eps")
    return {
        "cut.jpg": "damaged",
        "cut.png": "damaged",
        "empty.png": "empty",
        "text.jpg": "no supported format",
        "folder.png": "directory",
        "link.jpg": "does not exist",
        "gone.jpg": "does not exist",
        "pipe.png": "regular file",
        "dot.png": "1x1",
        "dot.jpg": "1x1",
        "vector.eps": "no supported format",
        "text.jpg/inside.jpg": "not a directory",
        "nul\0.jpg": "null byte",
    }


def test_each_kind_of_damage_is_named(tmp_path):
    for name, reason in damaged_files(tmp_path).items():
        with pytest.raises(UnreadableImage, match=reason) as caught:
            decode(tmp_path / name)
        assert reason in caught.value.reason
        assert isinstance(caught.value, InputError)


def test_missing_permission_is_named(tmp_path, monkeypatch):
    RGB.save(tmp_path / "locked.png")

    def locked(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", locked)  # the superuser may read everything

    with pytest.raises(UnreadableImage, match="permission denied"):
        decode(tmp_path / "locked.png")


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_000, 9_000), (9_001, 9_000)])
def test_an_oversized_image_is_refused_from_its_header(tmp_path, monkeypatch, width, height):
    lines = bytes((1 + (width + 7) // 8) * height)
    (tmp_path / "huge.png").write_bytes(png(width, height, 1, 0, lines))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))

    megapixels = width * height // 10**6
    with pytest.raises(UnreadableImage, match=f"{megapixels} megapixels, more than .* {LIMIT}"):
        decode(tmp_path / "huge.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tif", "ppm", "jp2"])
def test_random_damage_gives_an_image_or_a_reason_and_nothing_else(tmp_path, suffix):
    RGB.save(tmp_path / f"a.{suffix}")
    whole = np.frombuffer((tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    reasons = set()
    for _ in range(60):
        hurt = whole.copy()
        places = rng.integers(0, min(len(hurt), 400), rng.integers(1, 20))
        hurt[places] = rng.integers(0, 256, len(places))
        (tmp_path / f"b.{suffix}").write_bytes(hurt.tobytes()[: rng.integers(20, len(hurt) + 1)])
        try:
            assert decode(tmp_path / f"b.{suffix}").pixels.shape[2] == 3
        except UnreadableImage as error:
            reasons.add(error.reason)
    assert reasons
