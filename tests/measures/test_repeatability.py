import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from layerscope.measures.repeatability import TRANSFORMS, repeatability

BY_NAME = {transform.name: transform for transform in TRANSFORMS}
NAMES = sorted(BY_NAME)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def photos(count=3, size=65):
    blobs = gaussian_filter(noise(0, count, size, size, 3), (0, 2, 2, 0))
    blobs /= blobs.std((1, 2), keepdims=True)
    return np.clip(120 + 40 * blobs, 0, 255).astype(np.uint8)


def layer(images, stride, jitter=None):
    """Symmetric filters of three widths on the green channel; with jitter the last one wanders."""
    green = images[..., 1].astype(np.float32)
    maps = np.stack([gaussian_filter(green, (0, s, s)) for s in (1.5, 3, 1.5)], -1)
    if jitter is not None:
        for image in maps:
            image[..., 2] = np.roll(image[..., 2], jitter.integers(-4, 5, 2), (0, 1))
    return maps[:, ::stride, ::stride]


def slow_repeatability(maps, changed, name, stride):
    """Pixel by pixel, for one image and channel."""
    h, w = maps.shape
    t = 1 / stride
    one, other = [], []
    for i in range(h):
        for j in range(w):
            if name == "shift":
                at = j - t
                left = int(np.floor(at))
                if not int(np.ceil(t)) <= j < w - int(np.ceil(t)):
                    continue
                right = min(left + 1, w - 1)
                value = (left + 1 - at) * maps[i, left] + (at - left) * maps[i, right]
            else:
                value = maps[i, w - 1 - j] if name == "flip" else maps[i, j]
            one.append(float(value))
            other.append(float(changed[i, j]))
    return np.corrcoef(one, other)[0, 1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("size", "stride"), [((5, 8), 1), ((6, 7), 4), ((4, 9), 0.5), ((3, 9), 1.5)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_repeatability_equals_its_formula(name, size, stride, seed):
    maps, changed = 5 + noise(seed, 2, *size, 70), noise(seed + 7, 2, *size, 70)
    changed += maps
    found = repeatability(maps, changed, BY_NAME[name], stride)
    for n in range(2):
        for c in (0, 1, 69):
            expected = slow_repeatability(maps[n, ..., c], changed[n, ..., c], name, stride)
            assert found[n, c] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_steady_layer_repeats_itself_and_a_jittering_one_does_not(name, stride):
    images = photos()
    changed = BY_NAME[name].photos(images)
    jitter = np.random.default_rng(3)
    found = repeatability(
        layer(images, stride, jitter), layer(changed, stride, jitter), BY_NAME[name], stride
    ).mean(0)
    assert (found[:2] > 0.9).all()
    assert found[2] < 0.7


def test_maps_that_were_thinned_out_without_blur_are_less_stable_under_a_shift():
    images = photos()
    shift = BY_NAME["shift"]
    sharp = images[..., 1:].astype(np.float32)
    moved = shift.photos(images)[..., 1:].astype(np.float32)
    blur = (0, 3, 3, 0)
    blurred = repeatability(
        gaussian_filter(sharp, blur)[:, ::4, ::4],
        gaussian_filter(moved, blur)[:, ::4, ::4],
        shift,
        4,
    )
    assert (repeatability(sharp[:, ::4, ::4], moved[:, ::4, ::4], shift, 4) < blurred).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_small_and_keeps_shape_type_and_range(name, dtype):
    images = photos().astype(dtype)
    images[0, :8, :8] = 255
    before = images.copy()
    changed = BY_NAME[name].photos(images)
    assert changed.shape == images.shape
    assert changed.dtype == dtype
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert (changed != images).any()
    assert (images == before).all()
    seen = changed[:, :, ::-1] if name == "flip" else changed
    assert np.abs(seen.astype(float) - images).mean() < 20


def test_brightness_stops_at_white_and_shift_moves_right():
    image = np.full((1, 2, 3, 3), 250, np.uint8)
    image[:, :, 0] = 10
    assert BY_NAME["brightness"].photos(image)[0, 0, :, 0].tolist() == [26, 255, 255]
    assert BY_NAME["shift"].photos(image)[0, 0, :, 0].tolist() == [10, 10, 250]


def test_constant_maps_and_maps_without_an_interior():
    maps, changed = noise(0, 1, 6, 6, 3), noise(1, 1, 6, 6, 3)
    maps[..., 0] = 0.1
    changed[..., 1] = 0.1
    found = repeatability(maps, changed, BY_NAME["jpeg"], 2)[0]
    assert np.isnan(found[0])
    assert found[1] == 0
    small = noise(0, 1, 2, 2, 3)
    assert np.isnan(repeatability(small, small, BY_NAME["shift"], 8)).all()
    assert repeatability(small, small, BY_NAME["jpeg"], 8) == pytest.approx(1)
