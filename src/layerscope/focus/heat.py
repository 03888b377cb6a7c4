"""The result of an attribution method: numbers with sign, and everything that made them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.focus.gate import Gate
from layerscope.images.resize import resize
from layerscope.vocabulary import Floats, Skipped

RESAMPLER = "bilinear, half-pixel centres"


@dataclass(frozen=True)
class Controls:
    """What is set beside heatmaps, to see whether they say anything.

    Attributes:
        gate: whether heatmaps of this method can be believed for this model.
        twin: float32 (N, h, w): the same method on the model with fresh weights, for the same
            classes; zero where that one is empty, or cannot be had.
        resemblance: (N,): rank correlation of a heatmap with that of the twin, -1 to 1; NaN where
            one of them is empty.
        edges: float32 (N, H, W): strength of the edges of the image (Sobel).
        no_twin: why there is no twin; empty where there is one.
    """

    gate: Gate
    twin: Floats
    resemblance: NDArray[np.float64]
    edges: Floats
    no_twin: str = ""

    def __getitem__(self, part: slice) -> "Controls":
        rows = {name: getattr(self, name)[part] for name in _CONTROLS_PER_IMAGE}
        return replace(self, **rows)


_CONTROLS_PER_IMAGE = ("twin", "resemblance", "edges")


@dataclass(frozen=True)
class Heat:
    """Where the model looks, for some images.

    Attributes:
        raw: float32 (N, h, w): the numbers of the method at its own resolution, that of the layer
            or of the image. A positive value speaks for the target, a negative one against it.
        size: height and width of the images as the model sees them.
        ids: one stable name per image.
        method: name of the method.
        output: name of the output that is explained; empty for a function of several.
        scale: what is explained: ``logit``, ``probability`` (a final activation could not be seen
            through) or ``output`` (a regression, or a function of something else).
        classes: the class explained, per image; -1 where there is none.
        names: its name, per image; empty where it has none.
        function: name of the function that is explained, ``a function`` where it has none; empty
            for a class.
        score: float32 (N,): the number that is explained.
        layer: path of the layer that the numbers belong to; empty for the image itself.
        reduction: what was done over the colours of the image; empty where nothing was.
        baseline: what stands for "nothing there"; empty where the method needs none.
        resampler: how ``full`` is made of ``raw``; empty where they are the same.
        seed: of the random numbers that the method drew; ``None`` if it drew none.
        parameters: of the method, as they were used.
        empty: bool (N,): there is nothing to show: a zero gradient, a dead layer, a constant map,
            or numbers that are not finite. The map is zero everywhere.
        gap: of integrated gradients: abs(sum - (f(x) - f(baseline))) / abs(f(x) - f(baseline)),
            float32 (N,); else ``None``.
        image: position of the image among the inputs of the model.
        model: name of the model.
        pixels: the images as they came, before preprocessing, (H, W, C) each, not copied.
        skipped: files that could not be used, with the reasons.
        controls: what is set beside the maps; ``None`` where it was not asked for.
    """

    raw: Floats
    size: tuple[int, int]
    ids: tuple[str, ...]
    method: str
    output: str
    scale: str
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    score: Floats
    empty: NDArray[np.bool_]
    layer: str = ""
    reduction: str = ""
    baseline: str = ""
    resampler: str = ""
    seed: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gap: Floats | None = None
    image: int = 0
    model: str = ""
    pixels: tuple[NDArray[Any], ...] = field(default=(), repr=False)
    skipped: tuple[Skipped, ...] = ()
    controls: Controls | None = None
    function: str = ""

    @cached_property
    def full(self) -> Floats:
        """The numbers at the resolution of the images, float32 (N, H, W); made at its first use."""
        if self.raw.shape[1:] == self.size:
            return self.raw
        return resampled(self.raw, self.size)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: int | slice) -> "Heat":
        """The heat of one image, or of some, as a `Heat`."""
        if isinstance(part, int):
            if not -len(self) <= part < len(self):
                raise IndexError(f"There are {len(self)} images, and number {part} was asked for.")
            part = slice(part, part + 1 or None)
        rows = {name: getattr(self, name)[part] for name in _PER_IMAGE}
        gap = None if self.gap is None else self.gap[part]
        controls = None if self.controls is None else self.controls[part]
        return replace(self, **rows, gap=gap, controls=controls)

    def __repr__(self) -> str:
        where = f" at {self.layer}" if self.layer else ""
        said = [f"Heat of {len(self)} image(s): {self.method}{where}, explains the {self.scale}"]
        if self.gap is not None and len(self):
            said.append(f"gap {np.median(self.gap):.2%} of the change from the baseline")
        if self.empty.any():
            said.append(f"{int(self.empty.sum())} empty")
        if self.controls is not None:
            said.append(self.controls.gate.verdict)
        return ", ".join(said)


_PER_IMAGE = ("raw", "ids", "classes", "names", "score", "empty", "pixels")


def joined(parts: Sequence[Heat]) -> Heat:
    """The heat of several batches of the same question as one.

    Raises:
        InputError: there is none, or the maps differ in size.
    """
    if not parts:
        raise InputError("At least one image is needed, and none could be read.")
    first = parts[0]
    if len(parts) == 1:
        return first
    sizes = {(part.raw.shape[1:], part.size) for part in parts}
    if len(sizes) > 1:
        raise InputError(
            "The heatmaps of several images need one size: pass images of one size, or take them "
            "batch by batch."
        )
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("raw", "classes", "score", "empty")
    }
    gaps = [part.gap for part in parts if part.gap is not None]
    return replace(
        first,
        **arrays,
        ids=tuple(name for part in parts for name in part.ids),
        names=tuple(name for part in parts for name in part.names),
        pixels=tuple(image for part in parts for image in part.pixels),
        gap=np.concatenate(gaps) if gaps else None,
        skipped=parts[-1].skipped,
        controls=_joined_controls([part.controls for part in parts if part.controls]),
    )


def _joined_controls(parts: Sequence[Controls]) -> Controls | None:
    if not parts:
        return None
    rows: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _CONTROLS_PER_IMAGE
    }
    return replace(parts[0], **rows)


def cleaned(raw: NDArray[Any], floor: Floats | float = 0.0) -> tuple[Floats, NDArray[np.bool_]]:
    """Maps without what is no evidence.

    Args:
        raw: (N, h, w).
        floor: per image the size of rounding errors: where no value is larger, there is nothing.

    Returns:
        The maps in float32, zero where they are empty, and which are empty.
    """
    with np.errstate(over="ignore"):
        maps = np.ascontiguousarray(raw, np.float32)
    size = np.abs(maps).max(axis=(1, 2), initial=0.0)
    with np.errstate(invalid="ignore"):
        flat = np.ptp(maps, (1, 2)) == 0 if maps.size else np.zeros(len(maps), bool)
    empty = ~np.isfinite(size) | (size <= floor) | flat
    if empty.any():
        maps = np.where(empty[:, None, None], np.float32(0), maps)
    return maps, empty


def resampled(maps: Floats, size: tuple[int, int]) -> Floats:
    """Maps (N, h, w) at another size, see `RESAMPLER`."""
    count = len(maps)
    if not count:
        return np.empty((0, *size), np.float32)
    stacked = np.ascontiguousarray(np.moveaxis(maps, 0, -1))
    return np.ascontiguousarray(np.moveaxis(resize(stacked, size), -1, 0))


def relative_gap(found: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """How far sums are from what they should be, in shares of that; 0 where both are 0."""
    tiny = math.ulp(1.0)
    return np.asarray(np.abs(found - expected) / np.maximum(np.abs(expected), tiny), np.float32)
