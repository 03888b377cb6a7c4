import io
import stat

import numpy as np
import pytest
from PIL import Image

from layerscope.document.compose import grid
from layerscope.errors import EnvironmentFailure
from layerscope.render.png import encode, write_png
from layerscope.vocabulary import Layer

LAYER = Layer("block/conv", "conv", (8, 8, 5), 4, 11, 0.5, False, "block/relu")


def small_grid():
    maps = np.random.default_rng(0).normal(size=(1, 8, 8, 5)).astype(np.float32)
    return grid([np.full((20, 30, 3), 90, np.uint8)], ["cat.png"], LAYER, maps)


def test_encoded_pixels_come_back_unchanged():
    rgb = np.random.default_rng(0).integers(0, 256, (13, 7, 3), dtype=np.uint8)
    image = Image.open(io.BytesIO(encode(rgb)))
    image.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(rgb)))), rgb)


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path):
    write_png(small_grid(), tmp_path / "new" / "grid.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]
    assert stat.S_IMODE((tmp_path / "new" / "grid.png").stat().st_mode) & 0o400
    assert Image.open(tmp_path / "new" / "grid.png").width > 500


def test_an_unwritable_place_is_one_clear_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="could not be written to"):
        write_png(small_grid(), tmp_path / "file" / "grid.png")
