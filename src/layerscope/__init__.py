"""layerscope: see what every layer of an image CNN sees, and whether to believe it.

TensorFlow loads only when a name that needs it is first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["LayerscopeError", "Maps", "Scope", "__version__", "compare"]

if TYPE_CHECKING:
    from layerscope.audit.comparison import compare
    from layerscope.errors import LayerscopeError
    from layerscope.scope import Scope
    from layerscope.vocabulary import Maps

_HOMES = {
    "LayerscopeError": "layerscope.errors",
    "Maps": "layerscope.vocabulary",
    "Scope": "layerscope.scope",
    "compare": "layerscope.audit.comparison",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'layerscope' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
