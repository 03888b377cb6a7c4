"""Image files with damage of any kind: listed with a reason or read, never a crash or a halt."""

import io

import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError
from layerscope.images import read

FORMATS = {"png": {}, "jpg": {"quality": 90}, "gif": {}, "bmp": {}, "webp": {"lossless": True}}


def whole_files():
    """One sound image in every format."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 31, 3)).astype(np.uint8)
    found = {}
    for name, options in FORMATS.items():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(name, name), **options)
        found[name] = np.frombuffer(buffer.getvalue(), np.uint8)
    return found


def hurt(data, random):
    """Bytes changed, most in the head where sizes lie; cut off; doubled; or a stretch taken out."""
    kind = random.integers(4)
    if kind == 0:
        changed = data.copy()
        most = len(data) if random.random() < 0.5 else min(len(data), 64)
        where = random.integers(0, most, random.choice([1, 3, 20]))
        changed[where] = random.integers(0, 256, len(where))
        return changed.tobytes()
    at, end = sorted(random.integers(0, len(data), 2))
    if kind == 1:
        return data[:at].tobytes()
    return (
        np.concatenate([data, data[at:]]) if kind == 2 else np.delete(data, slice(at, end))
    ).tobytes()


def test_every_damaged_image_is_read_or_listed_with_a_reason(tmp_path):
    files, random, sound = 1000, np.random.default_rng(0), whole_files()
    names = list(sound)
    for at in range(files):
        name = names[at % len(names)]
        (tmp_path / f"{at:04}.{name}").write_bytes(hurt(sound[name], random))
    (tmp_path / "sound.png").write_bytes(sound["png"].tobytes())
    source = read(tmp_path, size=(8, 8), batch_size=16)
    seen = []
    for batch in source:
        assert batch.pixels.shape[1:] == (8, 8, 3)
        assert np.isfinite(batch.pixels).all()
        seen += batch.ids
    lost = [item.file for item in source.skipped]
    assert sorted([*seen, *lost]) == sorted(path.name for path in tmp_path.iterdir())
    assert all(item.reason for item in source.skipped)
    assert "sound.png" in seen
    assert len(lost) > files / 5


def test_files_that_vanish_or_close_while_others_are_read_are_listed(tmp_path):
    data = whole_files()["png"].tobytes()
    for at in range(60):
        (tmp_path / f"{at:02}.png").write_bytes(data)
    source = read(tmp_path, size=(8, 8), batch_size=2)
    batches = iter(source)
    seen = list(next(batches).ids)
    (tmp_path / "57.png").unlink()
    (tmp_path / "58.png").unlink()
    (tmp_path / "58.png").mkdir()
    for batch in batches:
        seen += batch.ids
    assert [item.file for item in source.skipped] == ["57.png", "58.png"]
    assert len(seen) == 58


def test_a_folder_whose_files_all_vanish_is_an_error_with_the_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(whole_files()["png"].tobytes())
    source = read(tmp_path, size=(8, 8))
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"none is \('a.png'"):
        next(iter(source))
