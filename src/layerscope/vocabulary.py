"""The nouns of layerscope. Read this file first.

Everything else is a verb on these: images become an `ImageBatch`, a model has `Layer` rows, one
forward pass turns an image batch into `Maps`, and a picture is made from the float maps with an
explicit colour scale. Nothing here knows TensorFlow.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import EnvironmentFailure, InputError

Floats = NDArray[np.float32]

Kind = Literal["conv", "depthwise", "separable", "transposed", "dense", "block", "other"]
"""What computed a map. ``dense`` is a dense layer that works on every pixel of a map (ConvNeXt);
``block`` is the sum that closes a residual block; ``other`` is any layer output that is none of
these."""

Regime = Literal["early", "middle", "late"]
"""How far from the pixels a layer is, see `layerscope.measures.depth`."""

CONVOLUTION_KINDS: tuple[Kind, ...] = ("conv", "depthwise", "separable", "transposed", "dense")


@dataclass(frozen=True, slots=True)
class Class:
    """One output of a classifier: its position and its name."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was asked for and could not be used, with the reason in words."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """A preprocessing that was considered, with what was measured for it; ``None`` where nothing.

    Attributes:
        name: of the preprocessing.
        divergence: at the first BatchNorm layer, 0 for a perfect fit.
        accuracy: share of the labelled images that the model classifies as labelled, 0 to 1.
    """

    name: str
    divergence: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One place in a model where a map can be read.

    Attributes:
        path: names from the outermost layer inwards, ``backbone/block1_conv``; the second call of
            a shared layer, or a second sibling of that name, is ``name@2``.
        kind: what computed the map.
        shape: height, width and channels of the map; ``None`` where it depends on the image.
        stride: input pixels per map pixel (the larger of the two axes), ``None`` if unknown.
        receptive_field: side in input pixels of the square that can influence one map pixel
            (the larger of the two axes, maximum over branches), ``None`` if it is unknown or the
            whole image.
        depth: 0 for the first convolution to 1 for the last, by the number of convolutions on
            the longest way from the input.
        pre_activation: True where no nonlinearity lies between the convolution and the map, so
            that the map is signed.
        output: path of the layer whose output the map is, or ``path`` followed by the graph
            operation when no layer ends there.
        not_shown: empty, or the reason why the map is listed but not drawn.
        notes: remarks on the figures of this row, such as why a receptive field is unknown.
    """

    path: str
    kind: Kind
    shape: tuple[int | None, int | None, int | None]
    stride: float | None
    receptive_field: int | None
    depth: float
    pre_activation: bool
    output: str
    not_shown: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Some images, ready for a model.

    Attributes:
        pixels: float32 of shape (N, H, W, C). Files arrive as RGB 0..255 before preprocessing;
            arrays are taken as given.
        ids: one stable name per image: the path below the folder, or the position in an array.
        labels: class index per image, -1 where unknown; ``None`` if the whole set is unlabelled.
    """

    pixels: Floats
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Maps(Mapping[str, Floats]):
    """The maps of some images: layer path -> float32 (N, H, W, C), in the order of the layers.

    Attributes:
        ids: one stable name per image.
        predictions: the model's output, float32 (N, ...); for several outputs a dict by name.
        layers: the rows that describe each map, by path.
        skipped: files that were asked for and could not be used, with the reasons; of a stream,
            up to this batch, and complete with the last.
    """

    arrays: Mapping[str, Floats]
    ids: tuple[str, ...]
    predictions: Floats | dict[str, Floats]
    layers: Mapping[str, Layer] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()

    def __getitem__(self, path: str) -> Floats:
        return self.arrays[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        shown = [f"  {path}: {array.shape}" for path, array in list(self.arrays.items())[:8]]
        more = [f"  ... and {len(self) - 8} more"] if len(self) > 8 else []
        head = f"Maps of {len(self.ids)} image(s), {len(self)} layer(s):"
        return "\n".join([head, *shown, *more])

    def to_zarr(self, path: str | Path) -> None:
        """Write every map, the predictions and the ids as one Zarr group.

        Args:
            path: a directory that does not exist yet. The group holds ``maps/PATH`` (slashes in
                a path make groups), ``predictions`` (a group where there are several outputs) and
                the attribute ``ids``.

        Raises:
            InputError: the directory exists.
            EnvironmentFailure: it cannot be written; nothing is left behind.
        """
        import zarr  # heavy, and needed here alone

        target = Path(path)
        if target.exists():
            raise InputError(f"Maps are written to a new directory, and '{target}' exists.")
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        outputs = self.predictions
        several = outputs if isinstance(outputs, dict) else {"": outputs}
        try:
            group = zarr.open_group(partial, mode="w")
            group.attrs["ids"] = list(self.ids)
            for name, array in self.arrays.items():
                group.create_array(f"maps/{name}", data=array)
            for name, array in several.items():
                group.create_array(f"predictions/{name}".rstrip("/"), data=array)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise EnvironmentFailure(f"'{target}' cannot be written ({error}).") from error
