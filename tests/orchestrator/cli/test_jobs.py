"""The commands that submit and follow: what they print and refuse. The batch system is a toy; real
ones are met in tests/integration."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import BACKENDS
from cluster.errors import ClusterError
from orchestrator.cli import jobs
from orchestrator.cli.main import main
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.factories import make_circumstances
from tests.hub_server import TINY_MODEL, folder_files, hub
from tests.orchestrator.toybox.backend import ToyBackend
from tests.orchestrator.toybox.profile import ToyProfile

__all__ = ["hub"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sparsweep(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code and what it printed to both streams."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def spec(toy_queue: Path, tmp_path: Path) -> str:
    """A sweep of four trials, which names a toy cluster `mine`."""
    return write_spec(tmp_path / "tiny.yaml", toy_queue)


def write_spec(file: Path, queue: Path, **changes: Any) -> str:
    fields = {
        "name": "tiny",
        "results": str(file.parent / "results"),
        "corpus": {"kind": "synthetic"},
        "model": {"name": "builtin:small-bert", "init": "random"},
        "languages": ["ka", "bn"],
        "sparsities": [0.0, 0.5],
        "seeds": [0],
        "clusters": {"mine": {"backend": "toy", "queue": str(queue)}},
    }
    file.write_text(yaml.safe_dump(fields | changes))
    return str(file)


def job(sparsweep: Run, spec: str) -> dict[str, Any]:
    code, out, _ = sparsweep("status", spec, "--json")
    assert code == 0
    return json.loads(out)["job"]


def test_dry_run_prints_what_would_be_sent_and_leaves_nothing(sparsweep, spec, toy_queue, tmp_path):
    code, out, _ = sparsweep("submit", spec, "--on", "mine", "--dry-run")
    assert code == 0
    assert out.startswith("sparsweep run ")
    assert list(toy_queue.iterdir()) == []
    assert not (tmp_path / "results").exists()


def test_sweep_is_sent_followed_stopped_and_sent_again(sparsweep, spec, toy_queue):
    code, out, _ = sparsweep("submit", spec, "--on", "mine")
    first = job(sparsweep, spec)
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith(f"tiny: mine job {first['job_id']} runs 4 trials; results in ")
    assert (first["backend"], first["profile"], first["state"]) == ("toy", "mine", "pending")
    assert (first["is_over"], first["has_changed"]) == (False, False)

    code, out, _ = sparsweep("submit", spec, "--on", "mine")
    assert (code, "is pending already; --another sends one beside it" in out) == (0, True)

    (toy_queue / first["job_id"]).write_text("running")
    code, out, _ = sparsweep("status", spec)
    assert out.splitlines() == [
        f"tiny: 4 trials, 0 completed, 0 failed, 4 new; results in {Path(spec).parent}/results",
        f"mine job {first['job_id']}: running",
    ]
    assert sparsweep("logs", spec)[1] == f"{first['job_id']} in {first['folder']}\n"

    code, out, _ = sparsweep("cancel", spec)
    assert code == 0
    assert out == (f"mine job {first['job_id']}: stops as soon as the trials that run are saved\n")
    code, _, err = sparsweep("cancel", spec)
    assert (code, "tiny: no job of it is live" in err) == (2, True)

    code, out, _ = sparsweep("resume", spec)
    assert (code, "runs 4 trials" in out) == (0, True)
    assert job(sparsweep, spec)["job_id"] != first["job_id"]


def test_job_that_waits_is_stopped_at_once(sparsweep, spec):
    sparsweep("submit", spec, "--on", "mine")
    assert sparsweep("cancel", spec)[1].endswith(
        "stops at once; what is not saved is computed again\n"
    )


def test_status_is_watched_until_the_job_is_over(sparsweep, spec, toy_queue):
    sparsweep("submit", spec, "--on", "mine")
    (toy_queue / job(sparsweep, spec)["job_id"]).write_text("completed")
    code, out, _ = sparsweep("status", spec, "--watch")
    assert (code, out.count("completed\n")) == (0, 1)


@pytest.mark.slow
def test_each_look_of_a_watch_counts_and_names_what_failed_by_then(
    sparsweep, spec, toy_queue, tmp_path, monkeypatch
):
    monkeypatch.setattr(jobs, "LOOKS_EVERY_S", 0.1)
    sparsweep("submit", spec, "--on", "mine")
    job_id = job(sparsweep, spec)["job_id"]
    trial = make_plan(load_sweep_spec(spec, []))[0]

    def fail_and_end() -> None:
        failure = {"kind": "bad_data", "message": "no sentences", "traceback": None}
        store = ResultStore(str(tmp_path / "results"))
        store.commit_failed(trial.spec, **failure, **make_circumstances())
        (toy_queue / job_id).write_text("completed")

    batch = threading.Timer(1.0, fail_and_end)
    batch.start()
    code, out, _ = sparsweep("status", spec, "--watch")
    batch.join()
    assert code == 0
    assert out.startswith("tiny: 4 trials, 0 completed, 0 failed, 4 new")
    last = out[out.rindex("tiny: 4 trials, ") :]
    assert last.startswith("tiny: 4 trials, 0 completed, 1 failed, 3 new")
    assert last.endswith(f"failed: {trial.spec.describe()}: bad_data: no sentences\n")


def test_progress_of_results_that_only_the_cluster_sees_is_what_the_driver_says(
    sparsweep, spec, toy_queue, monkeypatch
):
    monkeypatch.setattr(ToyProfile, "data_is_there", True)
    sparsweep("submit", spec, "--on", "mine")
    job_id = job(sparsweep, spec)["job_id"]
    assert sparsweep("status", spec)[1].startswith("tiny: not counted here; results in ")

    (toy_queue / job_id).write_text("running\n[1/4 done, 1 failed, 1 running, 1 left]")
    said = "tiny: 1/4 done, 1 failed, 1 running, 1 left, as the driver says; results in "
    assert sparsweep("status", spec)[1].startswith(said)
    counts = {"done": 1, "total": 4, "failed": 1, "running": 1, "left": 1}
    assert job(sparsweep, spec)["progress"] == counts

    (toy_queue / job_id).write_text("completed\n3/4 done, 1 failed, 0 running, 0 left")
    job(sparsweep, spec)
    (toy_queue / job_id).unlink()  # a batch system forgets
    assert sparsweep("status", spec)[1].startswith("tiny: 3/4 done, 1 failed, 0 running, 0 left")


def test_cancelling_waits_for_the_last_words_of_a_driver_whose_log_goes_with_its_job(
    sparsweep, spec, toy_queue, monkeypatch
):
    monkeypatch.setattr(ToyProfile, "keeps_log", False)
    monkeypatch.setattr(jobs, "HEARS_EVERY_S", 0.1)
    heard = [["started"], ["started"], ["started", "stopping SIGTERM"], ["stopping SIGTERM"]]

    def logs(backend: ToyBackend, job_id: str, folder: Path, follow: bool) -> list[str]:
        if len(heard) == 2:
            (toy_queue / job_id).write_text("cancelled")
        return heard.pop(0)

    monkeypatch.setattr(ToyBackend, "logs", logs)
    monkeypatch.setattr(ToyBackend, "cancel", lambda *_: None)
    sparsweep("submit", spec, "--on", "mine")
    job_id = job(sparsweep, spec)["job_id"]
    (toy_queue / job_id).write_text("running")

    code, out, _ = sparsweep("cancel", spec)

    assert (code, heard) == (0, [])
    assert out.splitlines() == [
        f"mine job {job_id}: stops as soon as the trials that run are saved",
        "Its log until the end, since it goes with the job; ^C leaves the job to itself:",
        "stopping SIGTERM",
    ]


def test_jobs_are_cancelled_before_any_is_heard_and_though_no_log_can_be_read(
    sparsweep, spec, toy_queue, monkeypatch
):
    monkeypatch.setattr(ToyProfile, "keeps_log", False)
    monkeypatch.setattr(jobs, "HEARS_EVERY_S", 0.01)
    cancelled, asked = [], []

    def logs(backend: ToyBackend, job_id: str, folder: Path, follow: bool) -> list[str]:
        asked.append(job_id)
        if len(cancelled) < 3:
            raise ClusterError("the node does not answer")
        if asked.count(job_id) == 2:
            return [f"{job_id}: no output yet, the job is running"]
        (toy_queue / job_id).write_text("cancelled")
        return ["first", "last"]

    def cancel(backend: ToyBackend, job_id: str, *_: object) -> None:
        cancelled.append(job_id)
        if job_id.endswith(".2"):
            raise ClusterError("job: may not be stopped")

    monkeypatch.setattr(ToyBackend, "logs", logs)
    monkeypatch.setattr(ToyBackend, "cancel", cancel)
    for _ in range(3):
        sparsweep("submit", spec, "--on", "mine", "--another")
    for file in toy_queue.iterdir():
        file.write_text("running")

    code, out, err = sparsweep("cancel", spec)

    third, second, first = cancelled
    assert (code, err) == (2, "sparsweep: job: may not be stopped\n")
    assert second.endswith(".2")
    assert out.splitlines() == [
        f"mine job {third}: stops as soon as the trials that run are saved",
        f"mine job {first}: stops as soon as the trials that run are saved",
        "Their logs until the end, since they go with the jobs; ^C leaves the jobs to themselves:",
        *(f"{job_id}: {line}" for job_id in (third, first) for line in ("first", "last")),
    ]


def test_a_job_is_found_and_stopped_while_the_hub_refuses_its_sweep(
    sparsweep, hub, toy_queue, tmp_path, caplog
):
    model = {"name": "some/encoder", "init": "random"}
    hub.publish("model", "some/encoder", folder_files(TINY_MODEL))
    spec = write_spec(tmp_path / "tiny.yaml", toy_queue, model=model)
    assert sparsweep("submit", spec, "--on", "mine")[0] == 0
    job_id = job(sparsweep, spec)["job_id"]
    hub.repositories.clear()
    for command in ("plan", "resume"):
        code, _, err = sparsweep(command, spec)
        assert (code, "some/encoder: is not on the hub" in err) == (2, True)

    code, out, _ = sparsweep("status", spec)
    assert (code, f"mine job {job_id}: pending" in out) == (0, True)
    (said,) = caplog.messages
    assert said.startswith("model.name: some/encoder: is not on the hub")
    assert "; model.revision: main is taken as it is written, so that trials may count" in said
    code, out, err = sparsweep("logs", spec)
    assert (code, out.startswith(f"{job_id} in "), err) == (0, True, "")
    code, out, err = sparsweep("cancel", spec)
    assert (code, out.startswith(f"mine job {job_id}: stops"), err) == (0, True, "")


def test_scores_are_read_again_only_where_the_sweep_stands_otherwise(spec, monkeypatch):
    sweep = load_sweep_spec(spec, [])
    store, planned = ResultStore(sweep.results), make_plan(sweep)
    read, tables = store.read, []
    monkeypatch.setattr(
        store, "read", lambda table, *args: tables.append(table) or read(table, *args)
    )
    first = jobs.Stored.read(sweep, planned, store)
    tables.clear()
    assert jobs.Stored.read(sweep, planned, store, first) == first
    assert "trials" in tables
    assert "scores" not in tables

    failure = {"kind": "bad_data", "message": "no sentences", "traceback": None}
    store.commit_failed(planned[0].spec, **failure, **make_circumstances())
    assert jobs.Stored.read(sweep, planned, store, first) != first
    assert "scores" in tables


def test_a_cluster_that_takes_one_job_of_a_sweep_is_not_offered_another(
    sparsweep, spec, monkeypatch
):
    monkeypatch.setattr(ToyProfile, "takes_another", False)
    sparsweep("submit", spec, "--on", "mine")
    code, out, _ = sparsweep("submit", spec, "--on", "mine")
    end = "is pending already; there is one at a time; wait for its end or cancel it\n"
    assert (code, out.endswith(end)) == (0, True)

    text = Path(spec).read_text()
    Path(spec).write_text(text.replace("[0]", "[0, 1]").replace("- 0\n", "- 0\n- 1\n"))
    code, _, err = sparsweep("submit", spec, "--on", "mine")
    assert (code, "of another version" in err, "--another" in err) == (2, True, False), err


def test_what_only_the_cluster_sees_is_not_counted_before_it_is_sent(
    sparsweep, spec, toy_queue, monkeypatch
):
    monkeypatch.setattr(ToyProfile, "data_is_there", True)
    _, out, _ = sparsweep("plan", spec, "--on", "mine")
    assert "tiny: 4 trials; what of it is done is not counted here; results in " in out
    assert "4 new" not in out
    assert "runs what is left of its trials" in sparsweep("submit", spec, "--on", "mine")[1]


def test_what_a_cluster_adds_to_the_profile_is_planned(sparsweep, toy_queue, tmp_path):
    pods = {"backend": "kubernetes", "image": "i", "gpus_per_worker": 0}
    spec = write_spec(tmp_path / "tiny.yaml", toy_queue, clusters={"pods": pods})
    _, out, _ = sparsweep("plan", spec, "--on", "pods")
    assert (
        "on that cluster: besides the workers, the head asks for 2 CPUs and 8Gi, KubeRay's "
        "autoscaler in the same pod for 500m and 512Mi, the pod that follows the driver's log for "
        "500m and 1Gi"
    ) in " ".join(out.split())


def test_changed_sweep_is_said_to_be_so_and_not_resumed(sparsweep, spec, toy_queue):
    sparsweep("submit", spec, "--on", "mine")
    write_spec(Path(spec), toy_queue, seeds=[0, 1])
    assert "The sweep has changed since; the job has it as it was." in sparsweep("status", spec)[1]
    assert job(sparsweep, spec)["has_changed"]
    code, _, err = sparsweep("resume", spec)
    assert (code, "has changed since it was submitted at" in err) == (2, True)


def test_what_was_not_submitted_cannot_be_followed(sparsweep, spec):
    for command in ("logs", "resume"):
        code, _, err = sparsweep(command, spec)
        assert (code, "was not submitted" in err) == (2, True)
    assert job(sparsweep, spec) is None


@pytest.mark.parametrize(
    ("trial", "message"), [("zz", "--trial zz: no trial of tiny"), ("", "4 trials of tiny")]
)
def test_trial_of_logs_is_named_by_the_beginning_of_one_id(sparsweep, spec, trial, message):
    sparsweep("submit", spec, "--on", "mine")
    code, _, err = sparsweep("logs", spec, "--trial", trial)
    assert (code, message in err) == (2, True)
    assert "give more of an id that `plan --json` lists" in err


def test_cluster_that_takes_nothing_is_said_with_the_remedy(sparsweep, toy_queue, tmp_path):
    spec = write_spec(tmp_path / "tiny.yaml", tmp_path / "elsewhere")
    code, _, err = sparsweep("submit", spec, "--on", "mine")
    assert (code, "queue: " in err, "is not there; make it" in err) == (2, True, True)
    assert job(sparsweep, spec) is None


def test_profiles_are_listed_with_what_is_wrong(sparsweep, spec, toy_queue, tmp_path):
    folder = tmp_path / "config" / "sparsweep" / "clusters"
    code, out, _ = sparsweep("clusters")
    assert code == 0
    assert out == f"no profiles in {folder}; `--on` also takes: {', '.join(BACKENDS)}\n"
    folder.mkdir(parents=True)
    (folder / "fine.yaml").write_text(f"backend: toy\nqueue: {toy_queue}\n")
    (folder / "wrong.yaml").write_text("backend: toy\nworkers: 2\n")
    code, out, _ = sparsweep("clusters", "--sweep", spec)
    assert code == 3
    assert out.splitlines()[:3] == [
        f"mine: backend: toy, queue: {toy_queue}: ok",
        f"fine: backend: toy, queue: {toy_queue}: ok",
        "wrong: not usable",
    ]
    assert "workers: a field of slurm and kubernetes profiles, and this one is of toy" in out


def test_hours_are_told_for_the_machines_of_the_profile(sparsweep, spec):
    out = sparsweep("plan", spec, "--on", "mine")[1]
    assert "up to 8 trials at a time" in out


def test_fields_of_a_profile_are_described(sparsweep, toy_queue):
    code, out, _ = sparsweep("schema", "--cluster", "toy")
    assert (code, json.loads(out)["properties"]["machines"]["default"]) == (0, 2)


def test_data_may_be_on_the_cluster_alone_only_where_the_profile_says_so(
    sparsweep, toy_queue, tmp_path
):
    pods = {
        "backend": "kubernetes",
        "image": "i",
        "volumes": [{"claim": "c", "mount": "/data"}],
        "gpus_per_worker": 0,
    }
    spec = write_spec(
        tmp_path / "tiny.yaml",
        toy_queue,
        results="/data/results",
        corpus={"path": "/data/corpus"},
        model={"name": "/data/encoder"},
        clusters={"mine": {"backend": "toy", "queue": str(toy_queue)}, "pods": pods},
    )
    code, out, _ = sparsweep("submit", spec, "--on", "pods", "--dry-run")
    assert (code, "kind: RayJob" in out) == (0, True)
    code, _, err = sparsweep("submit", spec, "--on", "mine", "--dry-run")
    assert (code, "/data/encoder" in err) == (2, True), err
