"""A sweep that asks for more scores than its completed trials have: what follows from stored
predictions is computed, the rest is named and run again only when told to."""

import json
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.integration.conftest import checkpoints, sparsweep, write_sweep

FIRST = {
    "languages": ["ka"],
    "evaluation": {"splits": ["test"], "predictions": ["test", "perturbed"]},
    "robustness": {"perturbations": ["within_language", "within_script"], "draws": 2},
}
NO_RAY = {"RAY_ADDRESS": "nowhere:1"}
"""Whoever asks for Ray fails."""


def by_rule(results: Path, rule: str) -> dict[str, list[dict]]:
    """All scores by one rule of matching."""
    store = ResultStore(str(results))
    return {
        name: [row for row in store.read(name).to_pylist() if row["matching"] == rule]
        for name in ("scores", "robustness")
    }


def trial_files(results: Path) -> dict[str, bytes]:
    """All files of single trials but for records of attempts."""
    return {
        str(file): file.read_bytes()
        for file in results.rglob("*.parquet")
        if file.parent.name not in ("compact", "attempts", "plans", "analysis")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scoring")


@pytest.fixture(scope="module")
def strict(folder) -> Path:
    """Results of a sweep that was scored by the strict rule, with predictions."""
    results = folder / "strict"
    code, output = sparsweep("run", write_sweep(folder / "first.yaml", results, **FIRST))
    assert code == 0, output
    return results


def test_other_scores_are_computed_from_stored_predictions_to_the_last_bit(strict, folder):
    evaluation = FIRST["evaluation"] | {"matching": "lenient"}
    lenient = {**FIRST, "evaluation": evaluation}
    spec = write_sweep(folder / "lenient.yaml", strict, **lenient)
    before, strict_before = trial_files(strict), by_rule(strict, "strict")
    code, output = sparsweep("plan", spec)
    assert code == 0, output
    assert "2 trials to score from stored predictions" in output
    assert "2 trials, 2 completed, 0 failed, 0 new" in output

    code, output = sparsweep("run", spec, **NO_RAY)
    assert code == 0, output
    assert "2 trials scored by the lenient rule from stored predictions" in output
    assert before.items() <= trial_files(strict).items(), "nothing that was stored was rewritten"
    assert by_rule(strict, "strict") == strict_before
    assert "stored predictions" not in sparsweep("plan", spec)[1]
    assert sparsweep("verify", spec, str(strict))[0] == 0

    other = write_sweep(folder / "from-the-start.yaml", folder / "from-the-start", **lenient)
    code, output = sparsweep("run", other)
    assert code == 0, output
    assert by_rule(strict, "lenient") == by_rule(folder / "from-the-start", "lenient")
    assert by_rule(folder / "from-the-start", "strict") == {"scores": [], "robustness": []}
    assert any(
        row["status"] == "not_applicable" for row in by_rule(strict, "lenient")["robustness"]
    )
    assert len(by_rule(strict, "lenient")["scores"]) == len(strict_before["scores"]) > 0


def test_what_predictions_do_not_give_is_named_and_run_again_when_told_to(strict, folder):
    more = {**FIRST, "evaluation": {"predictions": ["test"]}}
    spec = write_sweep(folder / "more.yaml", strict, **more)
    before = trial_files(strict)
    lacking = "2 trials are completed but lack: scores of validation (2); give --rerun-lacking"
    for command in ("plan", "run", "status"):
        code, output = sparsweep(command, spec, **NO_RAY)
        assert (code, lacking in output) == (0, True), output
    trials = json.loads(sparsweep("plan", spec, "--json")[1])["trials"]
    assert [trial["lacks"] for trial in trials] == [["scores of validation"]] * 2
    assert trial_files(strict) == before, "run did nothing"

    code, output = sparsweep("run", spec, "--rerun-lacking")
    assert code == 0, output
    assert before.items() <= trial_files(strict).items()
    assert "lack" not in sparsweep("plan", spec)[1]
    scored = ResultStore(str(strict)).read("scores", ["split"])["split"].to_pylist()
    assert set(scored) == {"validation", "test"}
    stored = json.loads(
        ResultStore(str(strict)).read("trials", ["spec_json"])["spec_json"][0].as_py()
    )
    assert stored["evaluation"]["predictions"] == ["test", "perturbed"], "nothing was lost"
    assert sparsweep("verify", spec, str(strict))[0] == 0
    assert checkpoints(strict) == []
