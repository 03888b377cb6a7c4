import numpy as np
import pytest
from skimage.color import rgb2lab

from layerscope.document.colour import (
    ABOVE,
    BELOW,
    FLAT,
    NON_FINITE,
    NON_FINITE_RGB,
    PALETTES,
    STEPS,
    codes,
    colourise,
    fixed_scale,
    photo,
    scale_of,
)
from layerscope.errors import InputError

NAN, INF = np.nan, np.inf


def floats(*values):
    return np.array(values, np.float32)


def test_the_ends_of_the_scale_are_the_ends_of_the_ramp():
    values = floats(1, 2, 3)
    scale = scale_of(values)
    assert (scale.low, scale.high, scale.diverging, scale.clipped) == (1, 3, False, 0)
    assert codes(values, scale).tolist() == [0, STEPS // 2, STEPS - 1]


def test_only_signed_values_diverge_and_one_side_of_zero_keeps_its_colour():
    assert scale_of(floats(-1, 3), signed=True).diverging
    assert not scale_of(floats(-1, 3)).diverging
    assert not scale_of(floats(1, 3)).diverging
    below, above = scale_of(floats(-3, -1), signed=True), scale_of(floats(1, 3), signed=True)
    assert (below.low, below.high, above.low, above.high) == (-3, 3, -3, 3)
    middle = STEPS / 2
    assert codes(floats(-3, -1), below).max() < middle < codes(floats(1, 3), above).min()


def test_a_diverging_scale_is_symmetric_and_zero_is_its_palest_colour():
    scale = scale_of(floats(-1, 3), signed=True)
    assert (scale.low, scale.high) == (-3, 3)
    lightness = rgb2lab(PALETTES[scale.palette][:STEPS] / 255)[:, 0]
    zero = codes(floats(0), scale)[0]
    assert lightness[zero] == pytest.approx(lightness.max(), abs=0.5)


def test_lightness_rises_evenly_along_viridis():
    lightness = rgb2lab(PALETTES["viridis"][:STEPS] / 255)[:, 0]
    steps = np.diff(lightness[::10])
    assert steps.min() > 0.7 * steps.mean()
    assert steps.max() < 1.4 * steps.mean()


def test_lightness_falls_alike_on_both_sides_of_zero():
    lightness = rgb2lab(PALETTES["blue-red"][:STEPS] / 255)[:, 0]
    assert np.all(np.diff(lightness[: STEPS // 2]) > 0)
    assert np.all(np.diff(lightness[STEPS // 2 :]) < 0)
    assert np.abs(lightness - lightness[::-1]).max() < 8


@pytest.mark.parametrize("palette", ["viridis", "blue-red"])
def test_the_special_colours_are_far_from_every_colour_of_the_ramp(palette):
    lab = rgb2lab(PALETTES[palette] / 255)
    for code in (BELOW, ABOVE, NON_FINITE):
        assert np.linalg.norm(lab[:STEPS] - lab[code], axis=1).min() > 12


def test_cells_that_are_not_finite_are_loud_and_do_not_move_the_scale():
    values = floats(0, NAN, 1, INF, -INF, 2)
    scale = scale_of(values)
    assert (scale.low, scale.high, scale.non_finite) == (0, 2, 3)
    assert codes(values, scale)[[1, 3, 4]].tolist() == [NON_FINITE] * 3
    assert colourise(values, scale)[1].tolist() == list(NON_FINITE_RGB)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0])
def test_a_flat_map_is_one_grey_and_not_stretched_noise(value):
    values = np.full((4, 4), value, np.float32)
    values[0, 0] = np.nextafter(np.float32(value), np.float32(9)) if value else 0
    scale = scale_of(values)
    assert scale.low == scale.high
    assert set(codes(values, scale).ravel().tolist()) == {FLAT}


def test_a_map_without_a_finite_cell_is_all_loud():
    values = floats(NAN, INF)
    assert codes(values, scale_of(values)).tolist() == [NON_FINITE] * 2


def test_a_robust_scale_counts_and_marks_what_it_clips():
    values = np.append(np.linspace(0, 1, 999), 50).astype(np.float32)
    scale = scale_of(values, robust=0.5)
    assert scale.low == 0
    assert scale.high == pytest.approx(0.996, abs=0.01)
    assert scale.clipped == pytest.approx(0.005, abs=0.002)
    assert codes(values, scale)[-1] == ABOVE
    assert np.count_nonzero(codes(values, scale) == ABOVE) == round(scale.clipped * 1000)


def test_a_robust_scale_does_not_hide_the_few_cells_of_a_sparse_map():
    values = np.zeros(1000, np.float32)
    values[0] = 1
    scale = scale_of(values, robust=0.5)
    assert (scale.low, scale.high, scale.clipped) == (0, 1, 0)


def test_a_fixed_scale_marks_cells_on_both_sides():
    values = floats(-2, 0, 1, 5)
    scale = fixed_scale(values, 0, 1)
    assert (scale.kind, scale.clipped) == ("fixed", 0.5)
    assert codes(values, scale).tolist() == [BELOW, 0, STEPS - 1, ABOVE]


@pytest.mark.parametrize(
    ("low", "high", "diverging"), [(1, 1, False), (2, 1, False), (-1, 2, True)]
)
def test_an_impossible_fixed_scale_is_refused(low, high, diverging):
    with pytest.raises(InputError, match="needs low < high"):
        fixed_scale(floats(0, 1), low, high, diverging)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 3e38])
def test_tiny_and_huge_values_use_the_whole_ramp(size):
    values = floats(-size, 0, size)
    assert codes(values, scale_of(values)).tolist() == pytest.approx([0, 126, 251], abs=1)


def test_values_far_beyond_a_fixed_scale_are_marked_and_nothing_else():
    values = floats(-3e38, 0, 1e-20, 3e38)
    scale = fixed_scale(values, 0, 1e-20)
    assert codes(values, scale).tolist() == [BELOW, 0, STEPS - 1, ABOVE]


def test_a_scale_made_from_other_values_still_shows_what_is_not_finite():
    scale = scale_of(floats(0, 1))
    assert codes(floats(0.5, NAN, 7, -7), scale)[1:].tolist() == [NON_FINITE, STEPS - 1, 0]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((2, 2, 3), 7, np.uint8), 7),
        (np.full((2, 2, 3), 0.5, np.float32), 128),
        (np.array([[[0.0], [200.0]]]), 200),
        (np.array([[0.0, 1.0]]), 255),
        (np.array([[[-1.0], [1.0]]]), 255),
        (np.full((1, 1, 5), 0.2), 51),
    ],
)
def test_images_of_any_range_and_channels_become_rgb(pixels, expected):
    rgb = photo(pixels)
    assert rgb.dtype == np.uint8
    assert rgb.shape[2] == 3
    assert rgb.max() == expected
