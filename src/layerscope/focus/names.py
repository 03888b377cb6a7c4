"""The names of the methods and what each shows, without loading anything heavy."""

import difflib
from collections.abc import Mapping

from layerscope.errors import InputError

OF_IMAGE: Mapping[str, str] = {
    "gradient": "how the answer moves with each pixel: what it is sensitive to, often grainy",
    "gradient-x-input": "gradient times pixel: what each pixel adds, exact for linear networks",
    "integrated-gradients": "gradients summed on the way from an empty image: they add up to the "
    "answer",
    "smoothgrad": "mean gradient of noisy copies of the image: less grain",
    "occlusion": "what the answer loses when a patch is covered: slow and coarse, but measured",
    "rise": "mean answer to the image seen through random masks: slow, for any network",
}
"""Methods that look at the pixels of the image."""
OF_LAYER: Mapping[str, str] = {
    "grad-cam": "maps of a late layer weighted by their mean gradient: fast and coarse, the usual "
    "start",
    "grad-cam++": "Grad-CAM with other weights, meant for several objects of one class",
    "hires-cam": "maps times gradient place by place: nothing is averaged away",
    "layer-cam": "maps times positive gradient place by place: also for earlier, finer layers",
    "score-cam": "maps weighted by the answer to the image seen through them: no gradient, slow",
    "ablation-cam": "maps weighted by what the answer loses without them: no gradient, slow",
}
"""Methods that look at the maps of a layer."""
NAMES: Mapping[str, str] = {**OF_IMAGE, **OF_LAYER}
OVER: Mapping[str, str] = {
    "random": "cells in random order",
    "sobel": "the edges of the image",
    "centre": "a spot in the middle",
}
"""What a heatmap has to beat, none of which knows the network; see `layerscope.focus.gate`."""
OVER_SHORT: Mapping[str, str] = {"random": "random", "sobel": "edges", "centre": "middle"}
"""The same in a word."""


def name_of(name: object) -> str:
    """Return the name of a method as it is written here; ``_``, spaces and capitals do not matter.

    Raises:
        InputError: there is none of that name.
    """
    plain = str(name).casefold().replace("_", "-").replace(" ", "-")
    for known in NAMES:
        if plain.replace("-", "") == known.replace("-", ""):
            return known
    near = difflib.get_close_matches(plain, list(NAMES), 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"A method is one of {', '.join(NAMES)}; got {name!r}.{hint}")


def check_layer(method: str, layer: str | None) -> None:
    """Refuse a layer for a method that looks at the image.

    Raises:
        InputError: it takes none.
    """
    if layer is not None and method not in OF_LAYER:
        raise InputError(
            f"{method} looks at the image and takes no layer; got {layer!r}. Leave it out, or "
            "use grad-cam."
        )


def called(target: object) -> str:
    """Name of a function that is explained, "a function" where it has none; else nothing."""
    if not callable(target):
        return ""
    name = getattr(target, "__name__", "<")
    return "a function" if name.startswith("<") else str(name)


def function_words(name: str, scale: str) -> str:
    """A function that is explained, in words.

    Args:
        name: what `called` gives.
        scale: what the function is of: ``logit``, ``probability`` or ``output``.
    """
    of = f"of the {scale[:-1]}ies" if scale.endswith("y") else f"of the {scale}s"
    return f"a function {of}" if name == "a function" else f"{name} (a function {of})"
