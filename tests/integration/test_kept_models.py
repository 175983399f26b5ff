"""A sweep that keeps its models is asked later what it was not made for, and answers without
training: to the bit what a sweep says that was asked at once."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.real_sweeps import ONE_BY_ONE, numbers, sparsweep, write_sweep

FIRST = {
    "languages": ["ka"],
    "evaluation": {"splits": ["test"]},
    "models": {"keep": "final"},
    "resources": ONE_BY_ONE,
}
LATER = {
    **FIRST,
    "evaluation": {
        "splits": ["validation", "test"],
        "languages": ["bn"],
        "predictions": ["test", "perturbed"],
        "matching": "lenient",
    },
    "robustness": {"perturbations": ["within_language", "within_script"], "draws": 2},
}
NO_RAY = {"RAY_ADDRESS": "nowhere:1"}
"""Whoever asks for Ray fails."""
OF_MODEL = ("scored_from_model", "file_key")


def computed(results: Path) -> dict[str, list[dict]]:
    """All numbers, but for which run of a trial they are of and whether that trained."""
    tables = numbers(results)
    for row in tables["trials"]:
        for name in OF_MODEL:
            del row[name]
    return tables


def digests_of(results: Path) -> dict[str, str | None]:
    rows = ResultStore(str(results)).read("trials", ["trial_id", "model_digest"]).to_pylist()
    return {row["trial_id"]: row["model_digest"] for row in rows}


def from_model(results: Path) -> list[bool | None]:
    column = ResultStore(str(results)).read("trials", ["scored_from_model"])["scored_from_model"]
    return column.to_pylist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def kept(shared_ray, folder) -> Path:
    """Results of a sweep of two trials that has kept its models."""
    results = folder / "kept"
    code, output = sparsweep(
        "run", write_sweep(folder / "first.yaml", results, **FIRST), **shared_ray
    )
    assert code == 0, output
    assert "not kept" not in output
    return results


@pytest.fixture
def copy(kept, tmp_path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "copy"))


def test_each_trial_has_left_its_model_and_says_so(kept, folder):
    store = ResultStore(str(kept))
    rows = store.read("trials").to_pylist()
    assert {row["trial_id"] for row in rows} == store.model_ids()
    for row in rows:
        assert row["model_bytes"] == len(store.model(row["trial_id"]).read_bytes())
        assert row["scored_from_model"] is False
    first = str(folder / "first.yaml")
    code, output = sparsweep("run", first, **NO_RAY)
    assert code == 0, output
    assert sparsweep("score", first, **NO_RAY)[0] == 0, "nothing is lacking"
    assert sparsweep("verify", first, str(kept))[0] == 0


def test_a_later_question_is_answered_from_the_models_to_the_bit(kept, copy, shared_ray, folder):
    spec = write_sweep(folder / "later.yaml", copy, **LATER)
    line = "2 trials to score from kept models, lacking: scores of validation (2), zero-shot"
    for command in ("plan", "status"):
        code, output = sparsweep(command, spec, **NO_RAY)
        assert (code, line in output) == (0, True), output
        assert "--rerun-lacking" not in output
    trials = json.loads(sparsweep("plan", spec, "--json")[1])["trials"]
    assert [trial["model_is_kept"] for trial in trials] == [True, True]

    models = {file.name: file.read_bytes() for file in (copy / "models").iterdir()}
    code, output = sparsweep("score", spec, **shared_ray)
    assert code == 0, output
    assert from_model(copy) == [True, True]
    assert {file.name: file.read_bytes() for file in (copy / "models").iterdir()} == models
    assert "lacking" not in sparsweep("plan", spec)[1]
    assert sparsweep("verify", spec, str(copy))[0] == 0

    at_once = write_sweep(folder / "at-once.yaml", folder / "at-once", **LATER)
    code, output = sparsweep("run", at_once, **shared_ray)
    assert code == 0, output
    assert from_model(folder / "at-once") == [False, False]
    found = computed(copy)
    strict = [row for row in found["scores"] if row["matching"] == "strict"]
    assert len(strict) == len(ResultStore(str(kept)).read("scores")), "they stay readable"
    found["scores"] = [row for row in found["scores"] if row["matching"] == "lenient"]
    assert found == computed(folder / "at-once")


def test_what_cannot_be_scored_is_named_and_the_rest_is_done(copy, shared_ray, tmp_path):
    later = {**LATER, "resources": ONE_BY_ONE | {"max_retries": 0}}
    later["robustness"] = {"perturbations": []}
    spec = write_sweep(tmp_path / "damaged.yaml", copy, **later)
    victim, other = sorted((copy / "models").iterdir())
    data, digests = victim.read_bytes(), digests_of(copy)
    victim.write_bytes(data[:-8] + bytes(8))
    code, output = sparsweep("score", spec, **shared_ray)
    assert code == 3, output
    assert "bad_data: " in output
    assert "the kept model is damaged" in output
    assert "remove the file, and `sparsweep run SPEC --rerun-lacking`" in " ".join(output.split())
    assert sorted(from_model(copy)) == [False, True]

    victim.unlink()  # as it says
    lacking = "1 trial is completed but lack: scores of validation (1)"
    code, output = sparsweep("score", spec, **NO_RAY)
    assert code == 0, output
    assert lacking in output
    assert "the model (1)" in output
    code, output = sparsweep("run", spec, "--rerun-lacking", **shared_ray)
    assert code == 0, output
    assert digests_of(copy) == digests, "trained to the same bits"
    assert sorted(from_model(copy)) == [False, True]
    assert "lack" not in sparsweep("plan", spec)[1]
    assert other.is_file()


def test_models_that_cannot_be_kept_leave_the_numbers_and_are_named(kept, shared_ray, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "models").write_text("in the way")
    spec = write_sweep(tmp_path / "unkept.yaml", results, **FIRST)
    code, output = sparsweep("run", spec, **shared_ray)
    assert code == 0, output
    assert "models cannot be kept" in output
    assert "2 models are not kept, of completed trials" in output
    found, wanted = computed(results), computed(kept)
    assert found["scores"] == wanted["scores"]
    assert [row["model_digest"] for row in found["trials"]] == [None, None]

    (results / "models").unlink()
    code, output = sparsweep("plan", spec, **NO_RAY)
    assert "2 trials are completed but lack: the model (2); give --rerun-lacking" in output
    code, output = sparsweep("run", spec, "--rerun-lacking", **shared_ray)
    assert code == 0, output
    assert computed(results) == computed(kept)
