"""How thorough an audit is, and what a quick one cannot tell."""

from dataclasses import dataclass

from layerscope.audit.figures import count, percent
from layerscope.measures.intervals import wilson

NO_LEAKS = (
    "A quick audit seeks no leaks: leave --quick out, or ask for the panel with --panels leakage."
)


@dataclass(frozen=True)
class Effort:
    """What an audit does.

    Attributes:
        images: of each set at most, of every class its share; ``None`` for all.
        sample: of these, images whose maps are looked at pixel by pixel.
        nulls: what maps are compared with.
        shown: images whose heatmaps are shown.
        unused: whether channels that do nothing are sought in the last layers.
    """

    images: int | None
    sample: int
    nulls: tuple[str, ...]
    shown: int
    unused: bool


# Heatmaps are tested on as many images as ever: on half of them believable ones failed the test.
QUICK = Effort(200, 32, ("noise",), 4, False)


def lost(images: int, of: int, accuracy: bool, clarity: bool, leaks: bool) -> str:
    """What a quick audit cannot tell, as a paragraph.

    Args:
        images: test images that were read.
        of: how many there are.
        accuracy: whether there is one.
        clarity: whether maps were judged.
        leaks: whether leaks were sought.
    """
    low, high = wilson(images // 2, max(images, 1))
    said = [f"This was a quick look at {images:,} of {count(of, 'test image')}."]
    if accuracy:
        said.append(
            f"No accuracy is known better than to about {percent((high - low) / 2)} either way."
        )
    if clarity:
        said += [
            f"A channel that answers to fewer than {percent(3 / max(images, 1))} of the images may "
            f"count as dead; maps were judged on {count(min(QUICK.sample, images), 'image')}, so "
            "that more of them stay unsure.",
            "No layer was compared with untrained twins, and no unused channels were sought.",
        ]
    return " ".join(said if leaks else [*said, "Leaks were not sought."])
