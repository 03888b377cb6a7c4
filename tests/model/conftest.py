"""Tests of one model of the matrix run in one process."""

import pytest
from matrix import CASES
from ready_models import Ready, ready


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of one model in one process, which builds it once."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "kind" in params:
            item.add_marker(pytest.mark.xdist_group(params["kind"]))


@pytest.fixture(params=list(CASES))
def kind(request: pytest.FixtureRequest) -> Ready:
    """One kind of model with its trace and a batch of inputs."""
    return ready(request.param)
