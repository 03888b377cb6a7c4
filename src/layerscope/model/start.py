"""Wake TensorFlow up."""

import tensorflow as tf


def find_devices() -> None:
    """Make TensorFlow look for its devices now; it logs what it finds whatever its log level."""
    tf.zeros(1)


def hush() -> None:
    """Keep TensorFlow's Python logger to errors: retracing hints mean our own functions."""
    tf.get_logger().setLevel("ERROR")
