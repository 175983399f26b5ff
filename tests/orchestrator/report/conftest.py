"""Made-up results of two languages, analysed once for all figures."""

import pytest

from orchestrator.report.material import read_material
from orchestrator.report.sections import FIGURES, needs
from orchestrator.results.store import ResultStore
from tests.benchmarks.analysis import make_results


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """Two languages at two sparsities and two seeds, with all that figures need."""
    folder = str(tmp_path_factory.mktemp("results"))
    make_results(
        folder,
        ("de", "my"),
        sparsities=(0.5, 0.9),
        seeds=(0, 1),
        num_sentences=20,
        stores_perturbed=True,
    )
    return read_material(ResultStore(folder), needs(FIGURES.values()))
