from itertools import product

import numpy as np
import pytest

from layerscope.errors import InputError
from layerscope.images.resize import resize

SHAPES = [
    (375, 500),
    (500, 375),
    (1, 1),
    (1, 90),
    (90, 1),
    (7, 5),
    (224, 224),
    (300, 224),
    (33, 64),
]
SIZES = [(224, 224), (1, 1), (100, 31), (31, 100), (300, 299)]


def image(shape, channels=3, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, 256, (*shape, channels)).astype(dtype)


def in_keras(pixels, size, how):
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    if how == "stretch":
        return tf.image.resize(pixels, size).numpy()
    if how == "crop":
        return keras.preprocessing.image.smart_resize(pixels, size)
    return tf.image.resize_with_pad(pixels, *size).numpy()


@pytest.mark.parametrize(
    ("how", "shape", "size"),
    [
        (how, shape, size)
        for how, shape, size in product(["stretch", "crop", "letterbox"], SHAPES, SIZES)
        # TensorFlow refuses to letterbox where a side would become 0; see the next test.
        if how != "letterbox" or (min(shape) > 1 and size != (1, 1))
    ],
)
def test_result_equals_what_the_keras_loader_would_give(how, shape, size):
    pixels = image(shape)

    result = resize(pixels, size, how)

    assert result.shape == (*size, 3)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, in_keras(pixels, size, how), atol=1e-3)


@pytest.mark.parametrize("shape", [(400, 3), (3, 400), (101, 37), (37, 101)])
def test_letterbox_keeps_a_line_of_a_very_long_image(shape):
    result = resize(np.full((*shape, 3), 9, np.uint8), (20, 20), "letterbox")

    covered = (result == 9).all(axis=2)
    assert covered.any(axis=int(shape[0] > shape[1])).all()
    assert (result[~covered] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_and_dtypes_are_treated_alike(dtype, channels):
    pixels = image((50, 70), channels, dtype)

    np.testing.assert_allclose(
        resize(pixels, (20, 90)), in_keras(pixels, (20, 90), "stretch"), atol=1e-3
    )


@pytest.mark.parametrize("how", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(50, 70), (20, 30)])
def test_input_stays_unchanged_and_apart_from_the_result(how, size):
    pixels = image((50, 70), dtype=np.float32)
    before = pixels.copy()

    resize(pixels, size, how)[:] = -1

    np.testing.assert_array_equal(pixels, before)


def test_views_that_are_not_contiguous_are_read_in_their_own_order():
    pixels = image((50, 70))

    np.testing.assert_array_equal(
        resize(pixels[::-1, ::2], (20, 30)), resize(pixels[::-1, ::2].copy(), (20, 30))
    )


@pytest.mark.parametrize("how", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize(
    ("shape", "size"), [((50, 70), (20, 30)), ((5, 7), (33, 9)), ((4, 4), (4, 4))]
)
def test_compiled_code_gives_the_same_bits(how, shape, size):
    pytest.importorskip("numba")
    pixels = image(shape)
    out = np.full((*size, 3), -1, np.float32)

    result = resize(pixels[:, ::-1], size, how, out=out, compiled=True)

    assert result is out
    np.testing.assert_array_equal(out, resize(pixels[:, ::-1], size, how))


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.float32), (4, np.uint8)])
def test_compiled_code_leaves_what_it_does_not_cover_to_numpy(channels, dtype):
    pixels = image((50, 70), channels, dtype)

    np.testing.assert_array_equal(resize(pixels, (20, 30), compiled=True), resize(pixels, (20, 30)))


def test_unknown_ways_and_empty_sizes_are_refused():
    with pytest.raises(InputError, match="stretch, crop, letterbox; got 'zoom'"):
        resize(image((5, 5)), (3, 3), "zoom")
    with pytest.raises(InputError, match="at least 1"):
        resize(image((5, 5)), (0, 3))
