"""Tests of one model of the matrix run in one process; those of large nets mostly on demand."""

import pytest
from matrix import CASES
from ready_models import Ready, ready

LARGE = {"ConvNeXtTiny", "DenseNet121", "EfficientNetV2B0", "InceptionV3", "ResNet50"}
BRIEF = {"test_maps_equal_those_of_a_plain_sub_model", "test_the_traced_output_is_the_models_own"}
"""Tests that run on large nets by default, too."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of one model in one process, which builds it once."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "kind" in params:
            item.add_marker(pytest.mark.xdist_group(params["kind"]))
        if params.get("kind") in LARGE and getattr(item, "originalname", "") not in BRIEF:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=list(CASES))
def kind(request: pytest.FixtureRequest) -> Ready:
    """One kind of model with its trace and a batch of inputs."""
    return ready(request.param)
