"""What one pixel of a map sees."""

import keras
import numpy as np
import pytest

import layerscope
from layerscope.measures.depth import seen_by

L = keras.layers


@pytest.mark.parametrize("at", [(0, 0), (3, 5), (7, 7)])
def test_the_crop_holds_every_pixel_that_moves_the_map_pixel_and_little_more(at):
    image = keras.Input((64, 64, 1))
    x = L.Conv2D(2, 3, strides=2, padding="same", kernel_initializer="ones")(image)
    x = L.Conv2D(2, 3, strides=2, padding="same", kernel_initializer="ones")(x)
    x = L.Conv2D(2, 5, strides=2, padding="same", kernel_initializer="ones", name="last")(x)
    scope = layerscope.Scope(keras.Model(image, L.GlobalAveragePooling2D()(x)))
    layer = scope.traced.layers["last"]
    blank = scope.maps(np.zeros((1, 64, 64, 1), np.float32), "last")["last"]
    pixels = np.eye(64 * 64, dtype=np.float32).reshape(-1, 64, 64, 1)[::3]
    maps = scope.maps(pixels, "last")["last"]
    moved = (maps[:, at[0], at[1], 0] != blank[0, at[0], at[1], 0]).nonzero()[0] * 3
    x0, y0, x1, y1 = (64 * side for side in seen_by(layer, *at, (8, 8)))
    assert (moved // 64 >= y0 - 4).all()
    assert (moved // 64 <= y1 + 4).all()
    assert (moved % 64 >= x0 - 4).all()
    assert (moved % 64 <= x1 + 4).all()
    assert x1 - x0 <= layer.receptive_field


def test_a_layer_that_sees_everything_is_shown_the_whole_image():
    row = layerscope.vocabulary.Layer("a", "conv", (4, 4, 1), None, None, 1.0, False, "a")
    assert seen_by(row, 1, 1, (4, 4)) == (0, 0, 1, 1)
