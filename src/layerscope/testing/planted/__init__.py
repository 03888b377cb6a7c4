"""Models with known defects, to see whether a judgement finds them and nothing else.

Every function takes a functional Keras model, the path of a convolution or sum that layerscope
lists, and mostly the channels to spoil: a number of them, drawn by the seed, or which. It gives a
`Planted`: a new model, in which the map at that path shows the defect. The model given is never
changed, paths stay, the other channels of the layer keep their bits, and so does everything before
it. What comes behind sees the spoilt maps.

A channel that carries nothing cannot be made noisy, blurry or shifted: draw among `lively` ones.
"""

from layerscope.testing.planted.maps import (
    blurred,
    duplicated,
    factors,
    indicator,
    jittered,
    noisy,
    positional,
    swapped,
)
from layerscope.testing.planted.memorising import Memorising, memorising_net
from layerscope.testing.planted.nets import Digits, digit_net, digits
from layerscope.testing.planted.stamps import Stamped, stamp_net, stamped, trained_stamp_net
from layerscope.testing.planted.truth import Channels, Kind, Planted, lively
from layerscope.testing.planted.weights import (
    checkerboard,
    constant,
    dead,
    reinitialised,
    saturated,
)

__all__ = [
    "Channels",
    "Digits",
    "Kind",
    "Memorising",
    "Planted",
    "Stamped",
    "blurred",
    "checkerboard",
    "constant",
    "dead",
    "digit_net",
    "digits",
    "duplicated",
    "factors",
    "indicator",
    "jittered",
    "lively",
    "memorising_net",
    "noisy",
    "positional",
    "reinitialised",
    "saturated",
    "stamp_net",
    "stamped",
    "swapped",
    "trained_stamp_net",
]
