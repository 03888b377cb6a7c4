"""Errors that a user of layerscope can meet.

Every message says the rule, what was given, and what to do, in one sentence or two.
Each class also inherits the builtin that fits, so that ``except ValueError`` works as expected.
"""


class LayerscopeError(Exception):
    """Base of all errors raised on purpose by layerscope; its text is meant for the user."""


class InputError(LayerscopeError, ValueError):
    """An argument, image, label or option cannot be used as given."""


class UnknownLayerError(InputError, KeyError):
    """A layer pattern matches nothing in the model."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message, quotes and escapes included.
        return str(self.args[0]) if self.args else ""


class ModelError(LayerscopeError, ValueError):
    """The model cannot be used: no image maps, NaN weights, not built, wrong backend."""


class LoadError(ModelError):
    """A model file cannot be read."""


class UnsafeModelError(LoadError):
    """A model file carries Python code, and the user has not allowed it to run."""


class MissingFileError(InputError, FileNotFoundError):
    """A path given by the user does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class EnvironmentFailure(LayerscopeError, OSError):
    """The machine, not the input, is at fault: disk, permission, memory, a missing package."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
