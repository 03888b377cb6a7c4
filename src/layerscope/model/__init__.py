"""The Keras model: loading it safely, naming its layers, reading its maps."""

import os

# TensorFlow reads this once, when it is imported. On a machine without a GPU it logs, at the level
# of an error, that it found none; whatever really fails still arrives as a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from layerscope.errors import EnvironmentFailure, ModelError

try:
    import keras  # noqa: F401
except (ImportError, ValueError) as error:
    # A package is missing, or KERAS_BACKEND names something that Keras does not know.
    kind = EnvironmentFailure if isinstance(error, ImportError) else ModelError
    raise kind(
        f"Keras cannot start ({error}): layerscope needs its TensorFlow backend, so install "
        "tensorflow and set KERAS_BACKEND=tensorflow."
    ) from error
