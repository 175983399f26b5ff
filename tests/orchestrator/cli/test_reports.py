"""The command that makes the report."""

import pytest

from orchestrator.results.store import ResultStore
from tests.factories import make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.cli.command import run


@pytest.fixture
def results(tmp_path):
    """A folder with one trial."""
    store = ResultStore(str(tmp_path / "results"))
    spec = make_trial_spec()
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    store.write_plan("demo", [spec])
    return tmp_path / "results"


@pytest.mark.slow
def test_a_report_of_one_trial_is_one_file(capsys, results, tmp_path):
    code, out, err = run(capsys, "report", str(results))
    assert (code, err) == (0, "")
    assert out == f"Report: {results}/report.html\n"
    assert (results / "report.html").read_text().startswith("<!DOCTYPE html>")
    code, out, _ = run(capsys, "report", str(results), "--out", str(tmp_path / "there" / "a.html"))
    assert (code, out) == (0, f"Report: {tmp_path}/there/a.html\n")


def test_a_folder_without_results_is_refused(capsys, tmp_path):
    code, out, err = run(capsys, "report", str(tmp_path))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "holds no results; give the results of a sweep that has been run" in err
