"""Paths of what the tests share with those of tests/outside: the sidecar's start and the stubs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "outside"))

from network import require_namespaces  # noqa: E402


@pytest.fixture(scope="session")
def namespaces():
    """Fails with a sentence where network namespaces cannot be made."""
    problem = ""
    try:
        require_namespaces()
    except RuntimeError as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
