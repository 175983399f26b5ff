"""A store for each test."""

import pytest

from orchestrator.results.store import ResultStore


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))
