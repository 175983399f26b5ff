"""What analysts import from the package itself."""

import subprocess
import sys

import pytest

import orchestrator
from tests.orchestrator.analysis.committing import commit


@pytest.mark.parametrize("name", orchestrator.__all__)
def test_every_name_that_is_offered_is_there_and_documented(name):
    assert getattr(orchestrator, name).__name__ == name
    assert getattr(orchestrator, name).__doc__


@pytest.mark.slow
def test_results_are_read_and_compared_with_one_import(tmp_path):
    from orchestrator import IntervalOptions, ResultStore, aggregate, analyze

    store = ResultStore(str(tmp_path))
    commit(store, "sw", 0.5, 0, 0.75)
    assert store.read("trials").num_rows == 1
    assert aggregate(store).table["f1_mean"].to_pylist() == [0.75]
    found = analyze(store, intervals=IntervalOptions(confidence=0.9))
    tables = {table.name: table for table in found}
    assert tables["quality"].rows["f1_mean"].to_pylist() == [0.75]


def test_an_unknown_name_is_refused():
    with pytest.raises(
        AttributeError, match=r"orchestrator has no 'analyse'; it offers .* aggregate, analyze"
    ):
        orchestrator.analyse  # noqa: B018


def test_importing_the_package_loads_nothing_else():
    code = "import sys, orchestrator; print({'pandas', 'pyarrow', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
