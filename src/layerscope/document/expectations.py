"""What a person should expect to see at a depth, so that nobody looks for objects in layer one."""

from layerscope.vocabulary import Regime

EXPECTED: dict[Regime, str] = {
    "early": "What to expect here, early in the network: edges, colours and fine textures, where "
    "the photo has them. These maps look like filtered copies of the photo, and they should.",
    "middle": "What to expect here, in the middle of the network: textures and parts of things. "
    "The photo can still be made out in all maps together, less and less in a single one.",
    "late": "What to expect here, late in the network: a few coarse spots that answer to a whole "
    "part of the image. They do not look like the photo, and that alone is no fault.",
}
