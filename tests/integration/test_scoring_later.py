"""A sweep that asks for more scores than its completed trials have: what follows from stored
predictions is computed, the rest is named and run again only when told to."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from orchestrator.results.table_files import number_of_run
from tests.real_sweeps import ONE_BY_ONE, checkpoints, sparsweep, write_sweep

FIRST = {
    "languages": ["ka"],
    "evaluation": {"splits": ["test"], "predictions": ["test", "perturbed"]},
    "robustness": {"perturbations": ["within_language", "within_script"], "draws": 2},
    "resources": ONE_BY_ONE,
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
def strict(shared_ray, folder) -> Path:
    """Results of a sweep that was scored by the strict rule, with predictions."""
    results = folder / "strict"
    code, output = sparsweep(
        "run", write_sweep(folder / "first.yaml", results, **FIRST), **shared_ray
    )
    assert code == 0, output
    return results


def test_other_scores_are_computed_from_stored_predictions_to_the_last_bit(
    strict, shared_ray, folder
):
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
    code, output = sparsweep("run", other, **shared_ray)
    assert code == 0, output
    assert by_rule(strict, "lenient") == by_rule(folder / "from-the-start", "lenient")
    assert by_rule(folder / "from-the-start", "strict") == {"scores": [], "robustness": []}
    assert any(
        row["status"] == "not_applicable" for row in by_rule(strict, "lenient")["robustness"]
    )
    assert len(by_rule(strict, "lenient")["scores"]) == len(strict_before["scores"]) > 0


def test_what_predictions_do_not_give_is_named_and_run_again_when_told_to(
    strict, shared_ray, folder
):
    both = ["validation", "test"]
    more = {**FIRST, "evaluation": {"splits": both, "predictions": ["test"]}}
    spec = write_sweep(folder / "more.yaml", strict, **more)
    before = trial_files(strict)
    lacking = "2 trials are completed but lack: scores of validation (2); give --rerun-lacking"
    for command in ("plan", "run", "status"):
        code, output = sparsweep(command, spec, **NO_RAY)
        assert (code, lacking in output) == (0, True), output
    trials = json.loads(sparsweep("plan", spec, "--json")[1])["trials"]
    assert [trial["lacks"] for trial in trials] == [["scores of validation"]] * 2
    assert trial_files(strict) == before, "run did nothing"

    code, output = sparsweep("run", spec, "--rerun-lacking", **shared_ray)
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


def test_a_rerun_that_fails_is_a_failed_trial_and_what_was_there_stays(strict, shared_ray, folder):
    results = folder / "failing"
    shutil.copytree(strict, results)
    more = {**FIRST, "evaluation": {"predictions": ["validation", "test", "perturbed"]}}
    more["resources"] = ONE_BY_ONE | {"max_retries": 0}
    spec = write_sweep(folder / "failing.yaml", results, **more)
    trials = json.loads(sparsweep("plan", spec, "--json")[1])["trials"]
    assert all("predictions of validation" in trial["lacks"] for trial in trials)
    victim = trials[0]["trial_id"]
    before = ResultStore(str(results)).file_keys()
    number = 1 + number_of_run(before[victim], victim)
    layers = results / "layers" / f"{victim}-{number}.parquet"
    (layers / "in-the-way").mkdir(parents=True)  # so this table of its next run cannot be written

    code, output = sparsweep("run", spec, "--rerun-lacking", **shared_ray)
    assert code == 3, output
    assert "failed: ka sparsity 0 seed 0: storage: " in output
    assert "1 of 2 trials that ran again failed and are as they were" in output
    assert sparsweep("run", spec)[0] == 0, "nothing was tried again"
    assert ResultStore(str(results)).file_keys()[victim] == before[victim]
