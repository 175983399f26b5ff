"""A sweep that an earlier version left half done is finished by this one, in the same folder."""

from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.golden_results import GOLDEN, unpack
from tests.real_sweeps import ONE_BY_ONE, sparsweep

TINY = str(GOLDEN / "results" / "tiny.yaml")
NAME_OF_LEFT = "8bc81f42c003f5bf"
"""Of the files of a trial of version 3 that is taken out: half pruned, seed 1."""
ID_OF_LEFT = "4c8ec53ea2fc878c"
"""Its id today."""


@pytest.fixture
def results(tmp_path) -> Path:
    """Trials of versions 1 and 3, one of the latter as if it had never run."""
    unpack(tmp_path, "results/v1")
    unpack(tmp_path, "results/v3")
    for file in (tmp_path / "compact").iterdir():  # they know the trial, too
        file.unlink()
    taken = list(tmp_path.glob(f"*/{NAME_OF_LEFT}*.parquet"))
    assert len(taken) == 7, "its row, five tables of numbers and its attempt"
    for file in taken:
        file.unlink()
    return tmp_path


def stored_files(results: Path) -> dict[Path, bytes]:
    """All files of single trials."""
    return {
        file: file.read_bytes()
        for file in results.rglob("*.parquet")
        if file.parent.name not in ("compact", "plans")
    }


def test_what_an_earlier_version_left_is_run_and_read_with_the_rest(results):
    before = ResultStore(str(results)).read("trials", ["recipe_version", "model_fingerprint"])
    tokenizers = f"builtin:small-bert-tokenizers{version('tokenizers')}"
    if tokenizers not in before["model_fingerprint"].to_pylist():
        pytest.skip(f"the stored trials have another vocabulary than {tokenizers} trains")
    files = stored_files(results)
    resources = f"resources={{max_concurrent_trials: {ONE_BY_ONE['max_concurrent_trials']}}}"
    words = (TINY, "--set", f"results={results}", "--set", resources)
    code, output = sparsweep("run", *words)
    assert code == 0, output
    assert "tiny: 4 trials, 3 completed, 0 failed, 1 new" in output

    store = ResultStore(str(results))
    assert store.read("trials").num_rows == before.num_rows + 1
    new = stored_files(results).keys() - files.keys()
    assert {file.stem.partition("-")[0] for file in new} == {ID_OF_LEFT}, "that trial alone ran"
    assert files.items() <= stored_files(results).items(), "nothing stored was rewritten"
    code, output = sparsweep("verify", *words, str(results))
    assert (code, "4 of 4 trials are valid" in output) == (0, True), output

    rows = {row["trial_id"]: row for row in store.read("trials").to_pylist()}
    left, other = rows[ID_OF_LEFT], rows["9e421d2d0d04365c"]  # of version 3: seed 0
    assert (left["cell_id"], left["recipe_version"]) == (other["cell_id"], other["recipe_version"])
    assert left["dense_trial_id"] == "431c35ab2ff69f64", "which version 3 ran"
    num_old = before["recipe_version"].to_pylist().count(1)
    for command in ("aggregate", "analyze"):
        code, output = sparsweep(command, str(results))
        assert code == 0, output
        notes = " ".join(output.split())
        assert f"{num_old} trials of recipe 1 are kept and not compared." in notes
    code, output = sparsweep("aggregate", str(results), "--csv", str(results / "f1.csv"))
    assert code == 0, output
    (line,) = [
        line for line in (results / "f1.csv").read_text().splitlines() if left["cell_id"] in line
    ]
    names = (results / "f1.csv").read_text().splitlines()[0].replace('"', "").split(",")
    of_cell = dict(zip(names, line.replace('"', "").split(","), strict=True))
    assert (of_cell["num_seeds"], of_cell["num_pairs"], of_cell["num_holes"]) == ("2", "2", "0")
