"""What a person should expect to see at a depth, so that nobody looks for objects in layer one."""

from layerscope.vocabulary import Regime

EXPECTED: dict[Regime, str] = {
    "early": "To be expected here, early in the network: edges, colours and fine textures, where "
    "the photo has them. Maps at this depth usually look like filtered copies of the photo, and "
    "that is no fault.",
    "middle": "To be expected here, in the middle of the network: textures and parts of things. "
    "The photo can usually still be made out in all maps together, less in a single one.",
    "late": "To be expected here, late in the network: a few coarse spots that answer to a whole "
    "part of the image. They need not look like the photo, and that alone is no fault.",
}

NOT_AS_EXPECTED = (
    "Most maps of this layer hold one value everywhere, or NaN or infinity. That is not what a "
    "working layer shows, at any depth."
)
