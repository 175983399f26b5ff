"""A sweep that an earlier version ran by another recipe is run by this one, in the same folder."""

import csv
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.golden_results import GOLDEN, unpack
from tests.real_sweeps import sparsweep
from workers.trial import RECIPE_VERSION

TINY = str(GOLDEN / "results" / "tiny.yaml")


@pytest.fixture
def results(tmp_path) -> Path:
    """Trials of versions 1 and 3, of recipes 1 and 2."""
    unpack(tmp_path, "results/v1")
    return unpack(tmp_path, "results/v3")


def stored_files(results: Path) -> dict[Path, bytes]:
    """All files of single trials."""
    return {
        file: file.read_bytes()
        for file in results.rglob("*.parquet")
        if file.parent.name not in ("compact", "plans")
    }


def test_what_earlier_recipes_made_is_kept_beside_what_runs_again(results):
    store = ResultStore(str(results))
    before = store.read("trials", ["recipe_version", "model_fingerprint"]).to_pylist()
    num_old = Counter(row["recipe_version"] for row in before)
    tokenizers = f"builtin:small-bert-tokenizers{version('tokenizers')}"
    num_kept = 4 if tokenizers in {row["model_fingerprint"] for row in before} else 0
    files = stored_files(results)
    words = (TINY, "--set", f"results={results}")
    code, output = sparsweep("run", *words, "--set", "seeds=[1]")
    assert code == 0, output
    assert "tiny: 2 trials, 0 completed, 0 failed, 2 new" in output
    assert files.items() <= stored_files(results).items(), "nothing stored was rewritten"

    store = ResultStore(str(results))
    new = [
        row for row in store.read("trials").to_pylist() if row["recipe_version"] == RECIPE_VERSION
    ]
    assert store.read("trials").num_rows == len(before) + len(new) == len(before) + 2
    code, output = sparsweep("plan", *words)
    assert (code, "4 trials, 2 completed, 0 failed, 2 new" in output) == (0, True), output
    assert ("4 trials of recipe 2 are kept and not compared" in output) == (num_kept == 4)
    code, output = sparsweep("verify", *words, "--set", "seeds=[1]", str(results))
    assert (code, "2 of 2 trials are valid" in output) == (0, True), output

    for command in ("aggregate", "analyze"):
        code, output = sparsweep(command, str(results))
        assert code == 0, output
        notes = " ".join(output.split())
        assert f"{num_old[1]} trials of recipe 1" in notes, notes
        assert f"{num_old[2]} trials of recipe 2" in notes, notes
    code, output = sparsweep("aggregate", str(results), "--csv", str(results / "f1.csv"))
    assert code == 0, output
    rows = list(csv.DictReader((results / "f1.csv").read_text().splitlines()))
    assert {row["cell_id"] for row in rows} == {row["cell_id"] for row in new}
    assert {row["num_seeds"] for row in rows} == {"1"}
