"""What a method is: a value with a name, parameters, and a function from a job to numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.focus.targets import Explained, Indices
from layerscope.model.taps import Tap
from layerscope.vocabulary import Floats

Array = np.ndarray
Doubles = NDArray[np.float64]
Need = Literal["gradient", "layer", "perturbation"]

NOISE = 1e-6
"""Size of rounding errors of a forward pass in float32, as a share of the largest number in it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method: its default, and what else it may be.

    Attributes:
        default: the value if none is given.
        rule: what it may be, in words.
        fits: whether a value may be used.
    """

    default: Any
    rule: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Job:
    """Images of one batch, and what is to be found out about them.

    Attributes:
        explained: the number to explain.
        inputs: one array per input of the model, batch first.
        index: class per image, see `layerscope.focus.targets.wanted`.
        image: which of the inputs is the image.
        tap: the layer, for methods that need one.
        rows: images that one pass may hold.
        seed: of everything random. All images of a batch get the same random numbers, so that an
            image gives the same alone and in a batch.
        parameters: of the method, complete.
    """

    explained: Explained
    inputs: Sequence[Array]
    index: Indices
    image: int
    tap: Tap | None
    rows: int
    seed: int
    parameters: Mapping[str, Any]

    @property
    def pixels(self) -> Array:
        """The images, (N, H, W, C)."""
        return self.inputs[self.image]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def ask(self, fetches: Sequence[str]) -> list[Array]:
        """Compute some tensors for the images as they are."""
        return self.explained.ask(self.inputs, self.index, fetches)

    def changed(self, at: int, pixels: Array) -> list[Array]:
        """Inputs with one image replaced by changed versions of it, (b, H, W, C)."""
        return [
            pixels if i == self.image else np.repeat(x[at : at + 1], len(pixels), 0)
            for i, x in enumerate(self.inputs)
        ]


@dataclass(frozen=True)
class Found:
    """What a method found out.

    Attributes:
        raw: (N, h, w).
        score: (N,), the explained number of the images as they are.
        chosen: (N,), the class explained.
        floor: per image the size below which ``raw`` is rounding.
        gap: see `layerscope.focus.heat.Heat.gap`.
    """

    raw: Array
    score: Floats
    chosen: Indices
    floor: Any = 0.0
    gap: Floats | None = None


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes:
        name: as users write it.
        source: the paper.
        run: the method itself.
        needs: the gradient of the model, a layer, changed images or maps.
        signed: False where the method keeps only what speaks for the target.
        parameters: by name.
        random: whether it draws random numbers.
    """

    name: str
    source: str
    run: Callable[[Job], Found]
    needs: frozenset[Need]
    signed: bool = True
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    random: bool = False

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, with defaults for those that are not given.

        Raises:
            InputError: there is no such parameter, or a value does not fit.
        """
        for name, value in given.items():
            if name not in self.parameters:
                known = ", ".join(f"{own}={p.default}" for own, p in self.parameters.items())
                raise InputError(
                    f"The parameters of {self.name} are {known} (these are the defaults); got "
                    f"{name!r}."
                )
            if not self.parameters[name].fits(value):
                rule = self.parameters[name].rule
                raise InputError(f"{name} of {self.name} is {rule}; got {value!r}.")
        return {name: p.default for name, p in self.parameters.items()} | dict(given)


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 1."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and value >= 1)  # type: ignore[operator]


def count(default: int | None, unset: str = "") -> Parameter:
    """A whole number from 1, or ``None`` where that has a meaning."""
    rule = f"a whole number from 1{', or None for ' + unset if unset else ''}"
    return Parameter(default, rule, lambda v: is_count(v) or (bool(unset) and v is None))


def share(default: float) -> Parameter:
    """A number between 0 and 1, neither of them."""

    def fits(value: object) -> bool:
        return isinstance(value, float | np.floating) and bool(0 < value < 1)

    return Parameter(default, "a number between 0 and 1", fits)


def switch(default: bool) -> Parameter:
    """True or False."""
    return Parameter(default, "True or False", lambda v: isinstance(v, bool | np.bool_))


def one_of(default: str, *others: str) -> Parameter:
    """One of some words."""
    words = (default, *others)
    return Parameter(default, f"one of {', '.join(words)}", lambda v: v in words)


def baseline(default: float | str) -> Parameter:
    """What stands for "nothing there" in place of an image."""
    return Parameter(
        default,
        "a number or an array on the scale of the model's input, or 'mean' for the mean colour of "
        "each image",
        lambda v: (isinstance(v, str) and v == "mean") or _is_real(v),
    )


def _is_real(value: object) -> bool:
    try:
        array = np.asarray(value)
    except ValueError:
        return False
    return array.dtype.kind in "iuf" and bool(np.isfinite(array).all()) and array.size > 0


def nothing(job: Job) -> Array:
    """The baseline of each image, float32 (N, H, W, C); a view that must not be written to.

    Raises:
        InputError: an array does not fit the images.
    """
    asked = job.parameters["baseline"]
    pixels = job.pixels
    value = pixels.mean(axis=(1, 2), keepdims=True) if isinstance(asked, str) else asked
    try:
        return np.broadcast_to(np.asarray(value, np.float32), pixels.shape)
    except ValueError:
        raise InputError(
            f"A baseline fits images of shape {pixels.shape[1:]}, as a number, one number per "
            f"colour, or an image; got shape {np.shape(asked)}."
        ) from None


def baseline_words(asked: object) -> str:
    """A baseline as it is recorded; empty for ``None``."""
    if asked is None:
        return ""
    if isinstance(asked, str):
        return f"{asked} colour of the image"
    array = np.asarray(asked)
    return f"{array.item():g}" if array.size == 1 else f"array of shape {array.shape}"


REDUCTIONS = ("sum", "max", "norm")


def over_colours(values: Array, reduction: str) -> Array:
    """One number per pixel from one per pixel and colour (N, H, W, C), float64.

    ``sum`` keeps the sign and every total; ``max`` is the largest absolute value and ``norm`` the
    Euclidean length.
    """
    if reduction == "sum":
        return np.asarray(values.sum(-1, dtype=np.float64))
    size = np.abs(values).astype(np.float64)
    return np.asarray(size.max(-1) if reduction == "max" else np.sqrt((size**2).sum(-1)))
