"""Fixtures of the failover tests; pytest.ini adds the helpers of tests/e2e to the path."""

import pytest

from network import require_namespaces


@pytest.fixture(scope="session")
def namespaces():
    """Fails with a sentence if network namespaces cannot be made."""
    problem = ""
    try:
        require_namespaces()
    except RuntimeError as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
