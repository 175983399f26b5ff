"""A store for each test, and one analysis of made-up results for all."""

import pytest

from orchestrator.analysis.analyze import analyze
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """All tables, of two languages at seven sparsities."""
    folder = str(tmp_path_factory.mktemp("results"))
    sparsities = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
    make_results(folder, ("de", "my"), sparsities=sparsities, seeds=(0, 1), num_sentences=20)
    return analyze(ResultStore(folder))
