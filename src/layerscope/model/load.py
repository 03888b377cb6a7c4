"""Load a Keras model from a file, safely, and check that its maps can be read."""

import difflib
import importlib
import inspect
import json
import stat
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from layerscope.errors import (
    EnvironmentFailure,
    InputError,
    LoadError,
    MissingFileError,
    ModelError,
)
from layerscope.model.hdf5_trial import survives
from layerscope.model.safety import (
    Allowed,
    Node,
    Saved,
    check_safe,
    damaged,
    is_module_name,
    misfit,
    quote,
    sentence,
    unexported_layers,
)

_SUFFIXES = (".keras", ".h5", ".hdf5")

_UNSUPPORTED = {
    ".tflite": ("a TFLite model", "give the Keras model that it was converted from"),
    ".pth": ("a PyTorch file", "rebuild the network in Keras and save it as .keras"),
    ".pt": ("a PyTorch file", "rebuild the network in Keras and save it as .keras"),
    ".onnx": ("an ONNX model", "give the Keras model that it was exported from"),
    ".pb": ("a TensorFlow graph", "give the Keras model that it was exported from"),
}

_WEIGHTS = "model.weights.h5"

_BOMB = 100
"""How many times its own size an archive may claim to hold."""

# The configuration of the largest of keras.applications has 1 MB; a zip bomb has what it likes.
_CONFIG_LIMIT = 64 * 2**20


def load(path: str | Path, trust: bool = False, custom_objects: str | None = None) -> keras.Model:
    """Load a whole model from a ``.keras``, ``.h5`` or ``.hdf5`` file, uncompiled and checked.

    Classes and functions that the calling program has registered with Keras
    (``keras.saving.register_keras_serializable``, ``keras.saving.custom_object_scope``) are
    allowed: their code runs in this process already.

    Args:
        path: the file.
        trust: run Python code that the file carries (Lambda layers), and read other files that it
            names. Modules that it names are not imported; ``custom_objects`` does that.
        custom_objects: name of a module to import, from the current directory too; what it
            registers with Keras, its classes and its functions become available to the file.

    Raises:
        MissingFileError: there is no such file.
        UnsafeModelError: the file needs a permission that was not given.
        LoadError: the file is damaged, of another format, or of a Keras that does not fit.
        ModelError: the model was loaded and cannot be used, see `check_model`.
        InputError: the module cannot be imported.
        EnvironmentFailure: the model does not fit into memory.
    """
    _check_backend()
    path = Path(path)
    _check_file(path)
    allowed = Allowed(trust, custom_objects, _objects_of(custom_objects))
    saved = _read_keras(path) if path.suffix == ".keras" else _read_h5(path)
    check_safe(saved, allowed)
    model = _deserialize(saved, allowed)
    check_model(model)
    return model


def check_model(model: object) -> None:
    """Raise ModelError, which says what to do, unless the maps of this model can be read.

    It must be a built ``keras.Model`` of Keras 3 on the TensorFlow backend, with the channels
    last and every weight finite. The model is not run: one pass over its weights is the cost.
    """
    _check_backend()
    if not isinstance(model, keras.Model):
        raise ModelError(_no_model(model))
    if not model.built:
        raise ModelError(
            f"A model must be built, and {quote(model.name)} has no weights yet: call it once on "
            "a batch of images, or give it a keras.Input."
        )
    for layer in _layers(model):
        if getattr(layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"Layer {quote(layer.name)} has its channels first, which is not supported yet: "
                "rebuild the model with data_format='channels_last'."
            )
    _check_finite(model)


def _check_file(path: Path) -> None:
    shown = quote(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise MissingFileError(f"There is no model file {shown}{_near(path)}.") from None
    except OSError as error:
        raise LoadError(
            f"{shown} cannot be read ({error.strerror}): check its permissions."
        ) from None
    if stat.S_ISDIR(mode):
        raise LoadError(_directory(path))
    if path.suffix.lower() in _UNSUPPORTED:
        kind, advice = _UNSUPPORTED[path.suffix.lower()]
        raise LoadError(f"{shown} is {kind}, which is not supported yet: {advice}.")
    if path.suffix not in _SUFFIXES:
        raise LoadError(f"A model file must end in .keras, .h5 or .hdf5, got {shown}.")
    if not stat.S_ISREG(mode):
        raise LoadError(f"{shown} is not a regular file: copy the model to one.")


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, names)
    return f"; there is {', '.join(map(quote, close))}" if close else ""


def _directory(path: Path) -> str:
    shown = quote(path)
    if (path / "saved_model.pb").exists():
        return (
            f"{shown} is a SavedModel, which is not supported yet: save the Keras model that it "
            "was exported from with model.save('model.keras'), and use that file."
        )
    if (path / "config.json").exists():
        return (
            f"{shown} is an unpacked .keras model, which is not supported yet: load it in Python "
            "with keras.saving.load_model and save it under a name that ends in .keras."
        )
    return f"{shown} is a directory: give a model file that ends in .keras, .h5 or .hdf5."


def _read_keras(path: Path) -> Saved:
    # The archive first: weights that lie at 512, 1024 ... in it would pass for an HDF5 file.
    if not zipfile.is_zipfile(path):
        if h5py.is_hdf5(path):
            raise LoadError(f"{quote(path)} is an HDF5 file: rename it to end in .h5.")
        raise damaged(path, "it is no zip archive, which every .keras file is")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" not in names:
                raise damaged(path, "it has no config.json")
            if not {_WEIGHTS, "model.weights.npz"} & set(names):
                raise damaged(path, f"it has no {_WEIGHTS}")
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT:
                raise damaged(path, f"its config.json is over {_CONFIG_LIMIT >> 20} MiB")
            config = _object(json.loads(archive.read("config.json")))
            about = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
        return Saved(path, config, str(about.get("keras_version", "")))
    except LoadError:
        raise
    except Exception as error:  # a damaged archive makes zipfile and json raise almost anything
        raise damaged(path, sentence(error).rstrip(".")) from error


def _read_h5(path: Path) -> Saved:
    if zipfile.is_zipfile(path):
        raise LoadError(f"{quote(path)} is a zip archive: rename it to end in .keras.")
    # The weights in a .keras file have a checksum that zipfile compares; an .h5 file has none.
    if not survives(str(path)):
        raise damaged(path, "reading it ends or halts the program that does")
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            if config is None:
                raise LoadError(_without_model(path, file))
            version = file.attrs.get("keras_version", "")
            version = version.decode() if isinstance(version, bytes) else str(version)
        return Saved(path, _object(json.loads(config)), version)
    except LoadError:
        raise
    except Exception as error:  # a damaged file makes h5py and json raise almost anything
        raise damaged(path, sentence(error).rstrip(".")) from error


def _object(config: object) -> Node:
    if not isinstance(config, dict):
        raise ValueError("its configuration is no JSON object")
    return config


def _without_model(path: Path, file: h5py.File) -> str:
    groups = {"layers", "vars", "_layer_checkpoint_dependencies"}
    if "layer_names" in file.attrs or groups & set(file):
        return (
            f"{quote(path)} holds weights but no model: build the model in Python, call "
            "model.load_weights on this file, then pass the model to layerscope.Scope or save it "
            "as .keras."
        )
    return f"{quote(path)} is an HDF5 file without a Keras model: save the model as .keras."


def _deserialize(saved: Saved, allowed: Allowed) -> keras.Model:
    legacy = {} if saved.path.suffix == ".keras" else unexported_layers()
    try:
        with warnings.catch_warnings():
            # Every file of Keras 2 provokes this advice to whoever wrote the model's code.
            warnings.filterwarnings("ignore", "Do not pass an `input_shape`", UserWarning)
            return keras.saving.load_model(
                str(saved.path),
                custom_objects={**legacy, **allowed.objects},
                compile=False,
                safe_mode=not allowed.trust,
            )
    except MemoryError:
        raise EnvironmentFailure(
            f"{quote(saved.path)} does not fit into memory: use a machine with more."
        ) from None
    except Exception as error:  # whatever a layer's own code, h5py or TensorFlow raises
        if broken := _broken(saved.path):
            raise damaged(saved.path, broken) from error
        raise misfit(saved, sentence(error)) from error


def _broken(path: Path) -> str:
    """What is broken in an archive that Keras could not load; empty where it is sound."""
    if path.suffix != ".keras":
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > _BOMB * path.stat().st_size:
                return ""  # Keras does not compress; to read all of it could take for ever
            if name := archive.testzip():
                return f"the checksum of {quote(name)} in it is wrong"
            if _WEIGHTS in archive.namelist():
                with archive.open(_WEIGHTS) as weights, h5py.File(weights, "r"):
                    pass
    except Exception as error:  # a damaged archive makes zipfile and h5py raise almost anything
        return sentence(error).rstrip(".")
    return ""


def _objects_of(module: str | None) -> dict[str, Any]:
    """Import a module and collect its classes and functions by name."""
    if module is None:
        return {}
    imported = _import(module)
    root = module.split(".")[0]
    return {
        name: value
        for name, value in vars(imported).items()
        if (inspect.isclass(value) and hasattr(value, "from_config") and _home(value) != "keras")
        or (inspect.isfunction(value) and _home(value) == root)
    }


def _home(value: Any) -> str:
    return str(value.__module__).split(".")[0]


def _import(module: str) -> object:
    shown = quote(module)
    if not is_module_name(module):
        raise InputError(
            f"Custom objects come from a module, named as in an import (my_layers or "
            f"package.layers), got {shown}."
        )
    sys.path.insert(0, "")  # the current directory comes first, as with python -m
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise InputError(
                f"There is no module {shown} for the custom objects: run the command in the "
                "folder that holds it, or install it."
            ) from None
        raise InputError(
            f"The module {shown} with the custom objects needs {quote(error.name)}, which is not "
            "installed."
        ) from None
    except (Exception, SystemExit) as error:  # a script without a guard may do anything
        raise InputError(
            f"The module {shown} with the custom objects fails when it is imported: "
            f"{type(error).__name__}: {sentence(error)}"
        ) from error
    finally:
        sys.path.remove("")


def _check_backend() -> None:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ModelError(
            f"layerscope reads maps with TensorFlow, and Keras runs on {quote(backend)}: set "
            "KERAS_BACKEND=tensorflow before Python starts."
        )


def _no_model(model: object) -> str:
    kinds = type(model).__mro__
    roots = {kind.__module__.split(".")[0] for kind in kinds}
    name = quote(f"{type(model).__module__}.{type(model).__qualname__}")
    start = "A model must be a keras.Model of Keras 3, got"
    if "tf_keras" in roots or any(
        k.__module__.startswith("tensorflow.python.keras") for k in kinds
    ):
        return (
            f"{start} {name} of Keras 2, which is not supported yet: rebuild the model with keras "
            "3 and load its weights."
        )
    if "torch" in roots:
        return (
            f"{start} the PyTorch module {name}, which is not supported yet: rebuild the network "
            "in Keras."
        )
    if isinstance(model, str | Path):
        return f"{start} the path {quote(model)}: load it with layerscope.Scope first."
    if isinstance(model, type):
        return f"{start} the class {quote(model.__qualname__)}: create the model first."
    if inspect.isroutine(model):
        return f"{start} the function {quote(model.__qualname__)}: give the model it calls."
    return f"{start} {name}: wrap it in a keras.Model."


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the model and every layer inside it, those in lists of custom layers included."""
    waiting, seen = [model], {id(model)}
    while waiting:
        layer = waiting.pop()
        yield layer
        for value in vars(layer).values():
            parts = value.values() if isinstance(value, dict) else value
            for part in parts if isinstance(value, list | tuple | dict) else [value]:
                if isinstance(part, keras.Layer) and id(part) not in seen:
                    seen.add(id(part))
                    waiting.append(part)


def _check_finite(model: keras.Model) -> None:
    bad = [
        weights.path
        for weights in model.weights
        if keras.backend.is_float_dtype(weights.dtype)
        and not tf.reduce_all(tf.math.is_finite(weights.value))
    ]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ModelError(
            f"Every weight must be finite, and there is NaN or infinity in "
            f"{', '.join(map(quote, bad[:3]))}{more}: use a checkpoint from before the training "
            "diverged."
        )
