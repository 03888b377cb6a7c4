"""Refuse a model file that would run code, before Keras reads it.

A model file names classes and functions and may hold Python code. Keras builds the objects as it
reads, and what it refuses has changed from version to version (CVE-2024-3660, CVE-2025-1550,
CVE-2025-8747, CVE-2025-9905, CVE-2025-9906, CVE-2025-12058). So the configuration is read here as
plain JSON, and every object in it must be on an allow-list before Keras sees the file: a part of a
model that Keras itself has loaded, or one that the user has registered or named. Nothing is
imported to find that out.
"""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from layerscope.errors import LoadError, UnsafeModelError

Node = dict[str, Any]
"""One object of a configuration: its ``class_name``, often ``module``, ``config`` and more."""

# Where Keras looks for a function of which a file gives only the name.
_FUNCTIONS = (
    keras.activations,
    keras.constraints,
    keras.initializers,
    keras.losses,
    keras.metrics,
    keras.optimizers,
    keras.regularizers,
)

# Where a class can live that an .h5 file names without its module.
_HOMES = (
    keras.layers,
    keras.models,
    *_FUNCTIONS,
    keras.dtype_policies,
    keras.optimizers.schedules,
    keras.quantizers,
)

# What a model is made of. Nothing else that Keras exports has a place in a configuration.
_PARTS = (
    keras.Operation,
    keras.DTypePolicy,
    keras.Initializer,
    keras.Regularizer,
    keras.constraints.Constraint,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.Quantizer,
    keras.random.SeedGenerator,
    *filter(None, [getattr(keras.quantizers, "QuantizationConfig", None)]),
)

# Parts that run marshalled code, a pickle, or the graph of another file.
_CARRIERS = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}

# Tags of plain values, which look like classes.
_VALUES = {
    *("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"),
    *("__tuple__", "TensorShape"),
}

# What Keras 2 writes for a TensorFlow function in a model, and for mixed precision.
_KERAS_2 = {
    *("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"),
    *("InstanceProperty", "Policy"),
}


@dataclass(frozen=True, slots=True)
class Saved:
    """What a model file says about itself: its configuration, and the Keras that saved it."""

    path: Path
    config: Node
    keras: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the user permits: code in the file, and the objects of one module."""

    trust: bool = False
    module: str | None = None
    objects: dict[str, Any] = field(default_factory=dict)


def check_safe(saved: Saved, allowed: Allowed) -> None:
    """Raise unless Keras can be given this file: every object in it is known or permitted.

    Raises:
        UnsafeModelError: an object needs a permission; the text names it and the option.
        LoadError: an object that this Keras does not have.
    """
    # With compile=False Keras drops this entry itself: a model's loss is not needed here.
    config = {**saved.config, "compile_config": None}
    for node, layer in _nodes(config):
        _check_node(node, f" (in layer {quote(layer)})" if layer else "", saved, allowed)


def _nodes(config: Node) -> Iterator[tuple[Node, str]]:
    """Yield every object of a configuration, in its order, and the name of the layer it is in."""
    waiting: list[tuple[Any, str]] = [(config, "")]
    while waiting:  # without recursion: whoever made the file chose how deep it goes
        item, layer = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                inner = item.get("config")
                name = item.get("name") or (isinstance(inner, dict) and inner.get("name"))
                layer = name if isinstance(name, str) and name else layer
                yield item, layer
            item = list(item.values())
        if isinstance(item, list):
            waiting.extend((child, layer) for child in reversed(item))


def _check_node(node: Node, where: str, saved: Saved, allowed: Allowed) -> None:
    """Raise unless this object may reach Keras."""
    name, file = node["class_name"], quote(saved.path)
    if not isinstance(name, str):
        raise damaged(saved.path, f"a class has {quote(name)} for its name")
    if name in _VALUES and "module" not in node:
        return
    if name in _CARRIERS:
        _demand_trust(f"carries code of its own, a {name}{where}", file, allowed)
        return
    if _registered(node, allowed):
        return
    if _is_operation(node):
        raise LoadError(
            f"{file} holds {quote(name)}{where}, a keras.ops call or an operator between layers, "
            "which no .h5 file can bring back: save the model as .keras."
        )
    found = _in_keras(node)
    if found is None:
        raise _unknown(node, where, saved, allowed)
    if not _is_part(found, node):
        raise UnsafeModelError(_refused(file, f"{quote(_full_name(node))}{where}"))
    inner = node.get("config")
    vocabulary = inner.get("vocabulary") if isinstance(inner, dict) else None
    if isinstance(vocabulary, str):
        _demand_trust(f"reads another file, {quote(vocabulary)}{where}", file, allowed)


def _is_operation(node: Node) -> bool:
    """Tell whether an .h5 file has a ``+`` here, which Keras would read back as a layer Add."""
    inner = node.get("config")
    if "module" in node or "inbound_nodes" not in node:
        return False
    if isinstance(inner, dict) and "trainable" in inner:  # as every layer has it
        return False
    return any(
        kind.__name__ == node["class_name"] and not issubclass(kind, keras.Layer)
        for kind in _keras_classes(keras.Operation)
    )


def _demand_trust(what: str, file: str, allowed: Allowed) -> None:
    if not allowed.trust:
        raise UnsafeModelError(
            f"{file} is refused because it {what}: if you trust where it comes from, allow that "
            "with --trust (in Python trust=True)."
        )


def _registered(node: Node, allowed: Allowed) -> bool:
    """Tell whether Keras finds this object among the user's own, where it looks first."""
    key = node["class_name"]
    if key == "function":
        key = node.get("config")
    elif "module" in node:  # without it the older reader is at work, which knows no other name
        key = node.get("registered_name", key)
    if not isinstance(key, str):
        return False
    return keras.saving.get_registered_object(key, allowed.objects) is not None


def _in_keras(node: Node) -> object | None:
    """Find what Keras would take for this object, in modules that are imported already."""
    is_function = node["class_name"] == "function"
    name = node.get("config") if is_function else node["class_name"]
    if not isinstance(name, str):
        return None
    homes: tuple[object, ...] = ()
    if "module" not in node and not is_function:
        homes = _HOMES
    elif node.get("module") == "builtins" and is_function:
        homes = _FUNCTIONS
    elif _root(node) == "keras":
        homes = (_loaded(node["module"]),)
    for home in homes:
        if inspect.ismodule(home) and name in vars(home):
            found: object = vars(home)[name]
            return found
    return None if "module" in node else unexported_layers().get(name)


def _loaded(module: str) -> object | None:
    """Find a module of Keras without importing it."""
    if module in sys.modules:
        return sys.modules[module]
    home: object | None = keras  # Keras before 3.9 has keras.layers by attribute only
    for part in module.split(".")[1:]:
        home = getattr(home, part, None)
    return home


def _is_part(found: object, node: Node) -> bool:
    """Tell whether something that Keras would find has a place in a model."""
    if node["class_name"] == "function":
        homes = (*_FUNCTIONS, keras.ops)
        return (
            inspect.isfunction(found)
            and any(vars(home).get(found.__name__) is found for home in homes)
            and found.__name__ not in ("get", "serialize", "deserialize")
        )
    return (
        isinstance(found, type)
        and issubclass(found, _PARTS)
        and found.__name__ not in _CARRIERS  # reached through another name
    )


def _keras_classes(base: type) -> Iterator[type]:
    """Yield the subclasses that Keras itself has defined."""
    kind: type
    for kind in base.__subclasses__():
        if kind.__module__.startswith("keras."):
            yield kind
        yield from _keras_classes(kind)


def _unknown(node: Node, where: str, saved: Saved, allowed: Allowed) -> LoadError:
    """Say what can be done about an object that neither Keras nor the user has."""
    file, name, root = quote(saved.path), node["class_name"], _root(node)
    what = f"{quote(_full_name(node))}{where}"
    if root in ("keras", "tf_keras") or (not root and name in _KERAS_2):
        return misfit(saved, f"it has no {what}.")
    missing = f" nor in {quote(allowed.module)}" if allowed.module else ""
    module = node["module"] if _can_propose(node.get("module")) else "MODULE"
    return UnsafeModelError(
        f"{file} is refused because it needs {what}, which is not in Keras{missing}: if you trust "
        "that code, import the module that defines it with --custom-objects "
        f"{module} (in Python custom_objects={module!r})."
    )


def _can_propose(module: object) -> bool:
    """Tell whether a module name from a file may stand in a command that we propose."""
    if not isinstance(module, str) or not is_module_name(module):
        return False
    # Keras writes "builtins" for any function, and nobody's layers are in the standard library.
    return module.split(".")[0] not in {*sys.stdlib_module_names, "__main__"}


def _refused(file: str, what: str) -> str:
    return (
        f"{file} is refused because it names {what}, which is no part of a model: no option loads "
        "it, do not use this file."
    )


def _root(node: Node) -> str:
    module = node.get("module")
    return module.split(".")[0] if isinstance(module, str) else ""


def _full_name(node: Node) -> str:
    name = node.get("config") if node["class_name"] == "function" else node["class_name"]
    known = node.get("module") not in (None, "builtins")
    return f"{node['module']}.{name}" if known else str(name)


def unexported_layers() -> dict[str, type]:
    """Collect Keras' own layers that it fails to find for an .h5 file (ConvNeXt's LayerScale)."""
    return {
        kind.__name__: kind
        for kind in _keras_classes(keras.Layer)
        if kind.__name__ not in {*vars(keras.layers), *_CARRIERS}
    }


def is_module_name(text: str) -> bool:
    """Tell whether the text could be imported: identifiers with dots between them."""
    return all(part.isidentifier() for part in text.split("."))


def damaged(path: Path, why: str) -> LoadError:
    """Make the error for a file that cannot be read as what its name says."""
    return LoadError(f"{quote(path)} is damaged ({why}): copy it again, or save it again.")


def misfit(saved: Saved, why: str) -> LoadError:
    """Make the error for a sound file that this Keras cannot load; ``why`` is a sentence."""
    advice = "rebuild the model with this Keras and load its weights"
    if saved.keras.startswith("2.") and saved.path.suffix == ".keras":
        advice = "open it with Keras 2 (tf_keras) and save it as .h5, or " + advice
    return LoadError(
        f"Keras {keras.__version__} cannot load {quote(saved.path)}, saved by Keras "
        f"{saved.keras or '(unknown)'}: {why} To use it, {advice}."
    )


def quote(text: object) -> str:
    """Put text that may come from a file in quotes, short and free of control characters."""
    shown = str(text)
    return repr(shown if len(shown) <= 200 else f"{shown[:100]}...{shown[-97:]}")


def sentence(error: BaseException) -> str:
    """Put the text of somebody else's error on one line, short, printable, with a full stop."""
    # Keras puts the cause last, after the whole configuration.
    cause = str(error).rsplit("Exception encountered: ", 1)[-1]
    line = " ".join(cause.split()) or type(error).__name__
    line = "".join(c if c.isprintable() else "?" for c in line)
    return f"{line[:300]}..." if len(line) > 300 else f"{line.rstrip('.')}."
