"""What is expected at which depth."""

import pytest

from layerscope.document.expectations import EXPECTED
from layerscope.measures.depth import regime
from layerscope.vocabulary import Layer


@pytest.mark.parametrize(
    ("shape", "stride", "field", "expected"),
    [
        ((112, 112, 32), 2, 3, "early"),
        ((16, 16, 8), 14, 27, "early"),
        ((16, 16, 8), 14, 28, "middle"),
        ((14, 14, 8), 16, 27, "middle"),
        ((14, 14, 8), 16, 111, "middle"),
        ((14, 14, 8), 16, 112, "late"),
        ((7, 7, 8), 32, 20, "late"),
        ((7, 7, 8), None, None, "late"),
        ((14, 14, 8), None, None, None),
        ((None, None, 8), 2, 3, None),
    ],
)
def test_the_regime_follows_map_size_and_receptive_field(shape, stride, field, expected):
    layer = Layer("a", "conv", shape, stride, field, 0.5, False, "a")
    assert regime(layer) == expected
    assert expected is None or expected in EXPECTED
