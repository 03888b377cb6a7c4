"""Trained nets that several tests look at."""

from functools import cache

import pytest

from layerscope.testing import planted


@pytest.fixture(scope="session")
def memorising():
    """Nets that know their training images, each trained once: images, noise, seed -> net."""
    return cache(lambda images, noise, seed=7: planted.memorising_net(images, noise, seed))
