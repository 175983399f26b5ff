"""Whole sweeps on a real Ray: run, run again, extended, failed and retried, two at once."""

import json

import duckdb
import pytest

from cluster.node.machine import usable_cpus
from orchestrator.results.store import ResultStore
from tests.real_sweeps import (
    ONE_BY_ONE,
    Command,
    checkpoints,
    numbers,
    sparsweep,
    write_sweep,
)
from workers.data import synthetic


def test_sweep_runs_to_its_end_and_its_results_are_valid(undisturbed, tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", undisturbed)
    code, output = sparsweep("verify", spec, str(undisturbed))
    assert (code, "4 of 4 trials are valid" in output) == (0, True), output
    query = (
        f"select language, target_sparsity, achieved_sparsity from '{undisturbed}/trials/*.parquet'"
    )
    rows = sorted(duckdb.sql(query).fetchall())
    assert rows == [("bn", 0.0, 0.0), ("bn", 0.5, 0.5), ("ka", 0.0, 0.0), ("ka", 0.5, 0.5)]
    assert checkpoints(undisturbed) == []


def test_no_more_trials_run_at_a_time_than_fit_into_memory(undisturbed, tmp_path):
    resources = {"memory_gib_per_trial": 1e6}
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", resources=resources)
    code, output = sparsweep("run", spec)
    assert code == 0, output
    if usable_cpus() > 1:
        assert "1 trial at a time and not " in output
    assert numbers(tmp_path / "results") == numbers(undisturbed)


def test_second_run_has_nothing_to_do_and_touches_nothing(undisturbed, tmp_path):
    def state():
        return {file: file.stat().st_mtime_ns for file in undisturbed.glob("trials/*")}

    before = state()
    code, output = sparsweep(
        "run", write_sweep(tmp_path / "tiny.yaml", undisturbed), RAY_ADDRESS="nowhere:1"
    )
    assert code == 0, output
    assert "4 trials, 4 completed, 0 failed, 0 new" in output
    assert state() == before


def test_status_plan_aggregate_and_compact_agree(undisturbed, tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", undisturbed, seeds=[0, 1])
    code, output = sparsweep("status", spec, "--json")
    assert code == 0
    assert {key: json.loads(output)[key] for key in ("completed", "failed", "new")} == {
        "completed": 4,
        "failed": 0,
        "new": 4,
    }
    trials = json.loads(sparsweep("plan", spec, "--json")[1])["trials"]
    assert [trial["status"] for trial in trials if trial["spec"]["seed"] == 0] == ["completed"] * 4
    assert [trial["status"] for trial in trials if trial["spec"]["seed"] == 1] == ["new"] * 4

    csv = tmp_path / "aggregates.csv"
    code, output = sparsweep("aggregate", str(undisturbed), "--csv", str(csv))
    assert code == 0, output
    assert sparsweep("compact", str(undisturbed))[0] == 0
    query = f"""
        select language, target_sparsity, avg(f1) from '{undisturbed}/compact/scores.parquet'
        where split = 'test' and subset = 'all' and entity_type = 'micro'
        group by all order by all
    """
    expected = duckdb.sql(query).fetchall()
    found = duckdb.sql(
        f"select language, target_sparsity, f1_mean from '{csv}' order by all"
    ).fetchall()
    assert found == [pytest.approx(row) for row in expected]
    assert len(expected) == 4


def test_two_drivers_on_one_folder_do_not_disturb_each_other(undisturbed, shared_ray, tmp_path):
    spec = write_sweep(
        tmp_path / "tiny.yaml",
        tmp_path / "results",
        seeds=[0, 1],
        languages=["ka"],
        resources=ONE_BY_ONE,
    )
    both = [Command("run", spec, **shared_ray) for _ in range(2)]
    for command in both:
        code, output = command.finish()
        assert code == 0, output
    code, output = sparsweep("verify", spec, str(tmp_path / "results"))
    assert code == 0, output
    seed_0 = [row for row in numbers(tmp_path / "results")["scores"] if row["seed"] == 0]
    assert seed_0 == [row for row in numbers(undisturbed)["scores"] if row["language"] == "ka"]


def test_failed_trials_are_rows_and_are_run_again_only_when_asked(shared_ray, tmp_path):
    wild = {"num_steps": 60, "lr": 1e30, "max_grad_norm": 1e30}
    spec = write_sweep(
        tmp_path / "tiny.yaml",
        tmp_path / "results",
        training=wild,
        languages=["ka"],
        sparsities=[0.0],
    )
    code, output = sparsweep("run", spec, **shared_ray)
    assert code == 3, output
    assert "failed: ka sparsity 0 seed 0: non_finite_loss: loss is" in output
    assert "lower training.lr (1e+30)" in output
    assert "--retry-failed" in output

    store = ResultStore(str(tmp_path / "results"))
    row = store.read("trials").to_pylist()[0]
    assert (row["status"], row["error_kind"], row["num_attempts"]) == (
        "failed",
        "non_finite_loss",
        1,
    )
    assert "TrialError" in row["error_traceback"]

    code, output = sparsweep("run", spec, **shared_ray)
    assert code == 3, output
    assert store.read("trials").to_pylist()[0]["num_attempts"] == 1, (
        "a failed trial is not run again unasked"
    )
    code, output = sparsweep("run", spec, "--retry-failed", **shared_ray)
    assert code == 3, output
    assert store.read("trials").to_pylist()[0]["num_attempts"] == 2
    assert store.read("attempts").num_rows == 2


def test_data_that_vanishes_fails_its_trials_and_no_others(shared_ray, tmp_path):
    corpus = tmp_path / "corpus"
    for language in ("ka", "bn"):
        write_corpus(corpus / language, language)
    spec = write_sweep(
        tmp_path / "tiny.yaml",
        tmp_path / "results",
        corpus={"kind": "path", "path": str(corpus)},
        sparsities=[0.0],
        training={"num_steps": 3},
        resources=ONE_BY_ONE,
    )
    command = Command("run", spec, **shared_ray)
    command.wait_until(lambda: (tmp_path / "results" / "plans" / "tiny.parquet").exists())
    (corpus / "bn" / "test.tsv").unlink()
    code, output = command.finish()
    assert code == 3, output
    assert "failed: bn sparsity 0 seed 0: bad_data:" in output
    rows = {
        row["language"]: row
        for row in ResultStore(str(tmp_path / "results")).read("trials").to_pylist()
    }
    assert (rows["ka"]["status"], rows["bn"]["status"]) == ("completed", "failed")
    assert rows["ka"]["kernels"] == "reference", "the kernels asked for are those used"
    assert rows["bn"]["num_attempts"] == 1, "bad data is not retried"


def test_a_sweep_on_an_object_store_gives_the_same_numbers(undisturbed, tmp_path, s3_location):
    resources = ONE_BY_ONE | {"checkpoint_every_s": 5}
    spec = write_sweep(tmp_path / "tiny.yaml", s3_location, resources=resources)
    code, output = sparsweep("run", spec)
    assert code == 0, output
    assert sparsweep("verify", spec, s3_location)[0] == 0
    assert numbers(s3_location) == numbers(undisturbed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsities": [1.0]}, "sparsities.0: 1.0: input should be less than 1"),
        ({"languages": ["xx"]}, "'xx' is not in the synthetic corpus"),
        ({"results": "/proc/no/such"}, "results: /proc/no/such: cannot be written"),
        ({"resources": {"cpus_per_trial": 4096}}, "resources: a trial asks for 4096 CPUs"),
    ],
)
def test_bad_input_ends_with_one_line_and_exit_code_2(tmp_path, changes, message):
    changes = {"results": tmp_path / "results"} | changes
    spec = write_sweep(tmp_path / "tiny.yaml", **changes)
    code, output = sparsweep("run", spec)
    assert code == 2, output
    assert message in output
    assert "Traceback" not in output


def write_corpus(folder, language: str) -> None:
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        tokens, tags = synthetic.make_sentences(language, split, 0)
        lines = [
            "".join(f"{a}\t{b}\n" for a, b in zip(*pair, strict=True))
            for pair in zip(tokens, tags, strict=True)
        ]
        (folder / f"{split}.tsv").write_text("\n".join(lines[:20]), encoding="utf-8")
