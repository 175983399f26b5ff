"""What becomes of an attempt, with real results and no Ray."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.planning.plan import PlannedTrial
from orchestrator.results.store import ResultStore
from orchestrator.running.messages import Assignment, Completed, Failed
from orchestrator.running.outcomes import MAX_NODE_LOSSES, Attempt, Outcomes
from orchestrator.running.places import Place
from orchestrator.running.progress import SweepProgress
from orchestrator.spec.sweep_spec import SweepSpec
from tests.factories import (
    STARTED_AT,
    make_circumstances,
    make_trial_result,
    make_trial_spec,
)

SPEC = make_trial_spec()
TRIAL = PlannedTrial(SPEC, SPEC.trial_id(), 10.0)
COMPLETED = Completed(
    f1=0.5,
    remark="",
    device="cpu",
    device_name="AMD EPYC",
    num_threads=1,
    load_s=1.0,
    work_s=20.0,
    share=0.0,
)
DIED = Failed(kind="worker_died", message="exit code 137", traceback="Traceback")


class Run:
    """Outcomes of a sweep with one trial, which has been started."""

    def __init__(self, folder: Path, **resources):
        self.store = ResultStore(str(folder))
        self.progress = SweepProgress("tiny", str(folder), [TRIAL])
        self.given_back: list[Assignment] = []
        sweep = SweepSpec(
            name="tiny",
            results=str(folder),
            languages=["sw"],
            sparsities=[0.5],
            seeds=[0],
            resources={"max_retries": 1} | resources,
        )
        self.outcomes = Outcomes(
            sweep, [TRIAL], self.store, self.progress, give_back=self.given_back.append
        )
        self.progress.started(TRIAL.trial_id)

    def attempts(self) -> list[tuple[str, str | None, str | None]]:
        """Status, kind and message of those that the results keep, in order."""
        rows = self.store.read("attempts").to_pylist()
        rows.sort(key=lambda row: row["attempt"])
        return [(row["status"], row["error_kind"], row["error_message"]) for row in rows]

    def last_event(self) -> str:
        return str(self.progress.events()[-1])


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path / "results")


def attempt(**changes) -> Attempt:
    """By a worker on node7."""
    assignment = Assignment(trial_id=TRIAL.trial_id, spec_json=SPEC.to_json())
    return Attempt(replace(assignment, **changes), STARTED_AT, Place("n1", "node7"))


def test_a_stored_result_is_shown_and_teaches_how_long_trials_take(run):
    run.store.commit_completed(SPEC, make_trial_result(), **make_circumstances())
    run.outcomes.completed(attempt(), COMPLETED)
    assert run.last_event().startswith("done     sw sparsity 0.5 seed 0: F1 0.500")
    assert run.progress.expected_s(TRIAL.trial_id) == pytest.approx(21)
    assert run.given_back == []


def test_a_result_that_the_driver_does_not_see_is_a_failure_with_the_remedy(run):
    run.outcomes.completed(attempt(), COMPLETED)
    message = (
        "the worker on node7 wrote its results where the driver does not see them; "
        "give a results location that all machines share"
    )
    assert run.attempts() == [("failed", "bad_data", message)]
    assert run.store.statuses() == {TRIAL.trial_id: "failed"}


def test_a_stopped_trial_is_left_for_the_next_run(run):
    run.outcomes.stopped(attempt(), "SIGTERM")
    assert run.attempts() == [("stopped", "stopped", "stopped by SIGTERM")]
    assert run.store.statuses() == {}
    assert run.given_back == []
    assert run.last_event().startswith("stopped  sw")


def test_a_trial_that_came_too_late_waits_and_leaves_no_record(run):
    run.outcomes.too_late(attempt(start_by=5.0))
    assert run.given_back == [attempt(start_by=5.0).assignment]
    assert run.attempts() == []
    assert run.progress.snapshot().num_left == 1


def test_a_departure_counts_neither_as_an_attempt_nor_as_a_loss(run):
    run.outcomes.departed(attempt())
    assert run.given_back == [attempt().assignment]
    assert run.attempts() == [("stopped", "stopped", "its node node7 leaves")]
    assert run.last_event().startswith("moved    sw")


def test_a_lost_node_counts_as_a_loss_and_not_as_an_attempt(run):
    run.outcomes.node_lost(attempt(), "details")
    assert run.given_back == [attempt(num_node_losses=1).assignment]
    assert run.attempts() == [("failed", "worker_died", "the node node7 was lost")]
    nowhere = replace(attempt(), place=None)
    run.outcomes.node_lost(nowhere, "details")
    assert run.attempts()[-1][2] == "the node of its worker was lost"


def test_too_many_lost_nodes_are_the_trials_doing(run):
    run.outcomes.node_lost(attempt(num_node_losses=MAX_NODE_LOSSES - 1), "details")
    assert run.given_back[-1].attempt == 1
    run.outcomes.node_lost(attempt(num_node_losses=MAX_NODE_LOSSES), "details")
    assert run.given_back[-1].attempt == 2, "now it counts as an attempt"
    assert run.attempts()[-1][2] == "the node node7 was lost, the 11th under this trial in this run"


def test_a_dead_worker_is_replaced_as_often_as_the_sweep_allows(run):
    run.outcomes.failed(attempt(), DIED)
    assert run.given_back == [attempt(attempt=2, wait_s=2.0).assignment]
    assert run.last_event() == "retry    sw sparsity 0.5 seed 0: worker_died: exit code 137"
    assert run.store.statuses() == {}
    run.outcomes.failed(attempt(attempt=2), DIED)
    assert len(run.given_back) == 1
    run.outcomes.close()
    assert run.store.statuses() == {TRIAL.trial_id: "failed"}
    assert run.last_event().startswith("failed   sw")


def test_what_would_only_fail_again_is_not_tried_again(run):
    wild = Failed(kind="non_finite_loss", message="loss is inf", traceback="Traceback")
    run.outcomes.failed(attempt(), wild)
    assert run.given_back == []
    row = run.store.read("trials").to_pylist()[0]
    assert (row["status"], row["error_kind"], row["error_traceback"], row["sweep"]) == (
        "failed",
        "non_finite_loss",
        "Traceback",
        "tiny",
    )
    assert row["started_at"] == STARTED_AT


def test_a_fault_of_a_device_is_not_held_against_the_trial(run):
    ecc = Failed(kind="device", message="CUDA error: ECC", traceback="Traceback")
    run.outcomes.failed(attempt(), ecc)
    assert run.given_back == [attempt(attempt=2, wait_s=2.0).assignment]
    assert run.store.statuses() == {}


@pytest.mark.parametrize(
    ("gpus_per_trial", "is_retried"), [(None, False), (0, False), (1, False), (0.5, True)]
)
def test_memory_that_is_missing_is_the_trials_own_unless_it_shares_a_gpu(
    tmp_path, gpus_per_trial, is_retried
):
    run = Run(tmp_path / "results", gpus_per_trial=gpus_per_trial)
    full = Failed(kind="out_of_memory", message="full", traceback="Traceback")
    run.outcomes.failed(attempt(), full)
    assert bool(run.given_back) == is_retried
    assert run.store.statuses() == ({} if is_retried else {TRIAL.trial_id: "failed"})


def test_the_checkpoint_of_a_failed_trial_is_deleted_and_that_of_a_retried_one_kept(run):
    checkpoint = Path(run.store.checkpoint(TRIAL.trial_id).path)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"state")
    run.outcomes.failed(attempt(), DIED)
    assert checkpoint.exists()
    run.outcomes.failed(attempt(attempt=2), DIED)
    run.outcomes.close()
    assert not checkpoint.exists()


def test_each_further_attempt_waits_longer(tmp_path):
    run = Run(tmp_path / "results", max_retries=3)
    for tried in (1, 2, 3):
        run.outcomes.failed(attempt(attempt=tried), DIED)
    assert [again.wait_s for again in run.given_back] == [2.0, 10.0, 50.0]


class Several(Run):
    """Outcomes of a sweep with four trials, of which all have been started."""

    def __init__(
        self, folder: Path, nodes: Callable[[], list[Place]] | None = None, **resources: object
    ):
        super().__init__(folder, **resources)
        self.closed: list[Place] = []
        self.specs = [make_trial_spec(seed=seed) for seed in range(4)]
        trials = [PlannedTrial(spec, spec.trial_id(), 10.0) for spec in self.specs]
        self.progress = SweepProgress("tiny", str(folder), trials)
        self.stops: list[str] = []
        self.outcomes = Outcomes(
            self.outcomes.sweep,
            trials,
            self.store,
            self.progress,
            give_back=self.given_back.append,
            stop=self.stops.append,
            close=self.closed.append,
            nodes=nodes,
        )
        for trial in trials:
            self.progress.started(trial.trial_id)

    def attempt(self, number: int, tried: int = 1, gpu: str | None = None) -> Attempt:
        spec = self.specs[number]
        assignment = Assignment(trial_id=spec.trial_id(), spec_json=spec.to_json(), attempt=tried)
        return Attempt(assignment, STARTED_AT, Place("n1", "node7", gpu))


WILD = Failed(kind="non_finite_loss", message="loss is inf", traceback="Traceback")


def test_the_same_failure_everywhere_stops_the_sweep_and_its_trials_stay_new(tmp_path):
    run = Several(tmp_path / "results")
    for number in range(3):
        assert run.stops == []
        run.outcomes.failed(run.attempt(number), WILD)
    assert run.stops == [
        "3 trials failed alike and none succeeded; mend the cause first: non_finite_loss: "
        "loss is inf"
    ]
    run.outcomes.failed(run.attempt(3), WILD)  # it ran when the sweep was stopped
    run.outcomes.close()
    assert run.store.statuses() == {}
    assert [kind for _, kind, _ in run.attempts()] == ["non_finite_loss"] * 4
    assert run.progress.snapshot().num_failed == 0


def test_failures_before_the_first_success_are_committed_with_it(tmp_path):
    run = Several(tmp_path / "results")
    for number in range(2):
        run.outcomes.failed(run.attempt(number), WILD)
    assert run.store.statuses() == {}
    assert run.progress.snapshot().num_failed == 2
    run.store.commit_completed(run.specs[2], make_trial_result(), **make_circumstances())
    run.outcomes.completed(run.attempt(2), COMPLETED)
    run.outcomes.failed(run.attempt(3), WILD)
    statuses = run.store.statuses()
    assert [statuses[spec.trial_id()] for spec in run.specs] == [
        *("failed", "failed", "completed", "failed")
    ]
    assert run.stops == []


def test_failures_without_any_success_are_committed_at_the_end(tmp_path):
    run = Several(tmp_path / "results")
    run.outcomes.failed(run.attempt(0), WILD)
    run.outcomes.close()
    assert list(run.store.statuses().values()) == ["failed"]


ECC = Failed(kind="device", message="CUDA error: ECC", traceback="Traceback")


def test_a_gpu_where_trials_fail_one_after_another_gets_no_more_and_they_go_on_elsewhere(tmp_path):
    run = Several(tmp_path / "results")
    run.outcomes.arrived(run.attempt(2, gpu="0"))
    run.outcomes.failed(run.attempt(0, gpu="1"), ECC)
    run.outcomes.failed(run.attempt(0, tried=2, gpu="1"), ECC)
    assert len(run.given_back) == 1, "its last attempt"
    assert run.store.statuses() == {}, "not committed before it is known whose fault it is"
    run.outcomes.failed(run.attempt(1, gpu="1"), ECC)
    assert run.closed == [Place("n1", "node7", "1")]
    assert run.last_event().startswith("retry")
    closing = "GPU 1 of node7 gets no more trials: 3 trials in a row failed there: device: CUDA"
    assert any(event.detail.startswith(closing) for event in run.progress.events())
    messages = [message for _, _, message in run.attempts()]
    assert "CUDA error: ECC; GPU 1 of node7 gets no more trials" in messages
    ids = {spec.trial_id() for spec in run.specs[:2]}
    assert {again.trial_id for again in run.given_back[1:]} == ids
    assert run.progress.snapshot().num_failed == 0

    run.outcomes.failed(run.attempt(0, tried=2, gpu="0"), ECC)
    assert len(run.given_back) == 4, "attempts on the sick GPU do not count"
    run.outcomes.arrived(run.attempt(3, gpu="1"))
    assert len(run.closed) == 2, "a worker that did not know is told again"


def test_a_sick_node_ends_no_sweep_while_the_first_worker_of_another_is_starting(tmp_path):
    """The three workers that died would else have been a common cause of all trials."""
    nodes = [Place("n1", "node7"), Place("n2", "node8")]
    run = Several(tmp_path / "results", nodes=lambda: nodes, max_retries=0)
    for number in range(2):
        run.outcomes.failed(run.attempt(number), DIED)
    assert (run.stops, run.closed) == ([], [Place("n1", "node7")])
    assert len(run.given_back) == 2
    run.outcomes.close()
    assert run.store.statuses() == {}


def test_a_fault_of_a_gpu_that_trials_share_is_one_and_ends_no_sweep(tmp_path):
    """There is one GPU; after two faults of all trials on it, they go on there."""
    run = Several(tmp_path / "results", gpus_per_trial=0.25, max_retries=2)
    run.store.commit_completed(run.specs[3], make_trial_result(), **make_circumstances())
    run.outcomes.completed(run.attempt(3, gpu="0"), COMPLETED)
    for tried in (1, 2):
        began = datetime.now(UTC)
        for number in range(3):
            ended = replace(run.attempt(number, tried, gpu="0"), started_at=began)
            run.outcomes.failed(ended, ECC)
    assert (run.stops, run.closed, len(run.given_back)) == ([], [], 6)

    alone = Several(tmp_path / "alone")  # with a GPU each they would be three faults
    alone.store.commit_completed(run.specs[3], make_trial_result(), **make_circumstances())
    alone.outcomes.completed(alone.attempt(3, gpu="0"), COMPLETED)
    for number in range(3):
        alone.outcomes.failed(alone.attempt(number, gpu="0"), ECC)
    assert len(alone.stops) == 1


def test_where_no_place_is_left_the_sweep_stops_and_its_trials_stay_new(tmp_path):
    run = Several(tmp_path / "results")
    run.store.commit_completed(run.specs[3], make_trial_result(), **make_circumstances())
    run.outcomes.completed(run.attempt(3), COMPLETED)
    for number in range(3):
        assert run.stops == []
        run.outcomes.failed(run.attempt(number, tried=2), DIED)
    assert run.stops == [
        "no place is left that computes; mend node7, where 3 trials in a row failed there: "
        "worker_died: exit code 137"
    ]
    assert list(run.store.statuses().values()) == ["completed"]
    hosts = run.store.read("attempts", ["host", "status"]).to_pylist()
    assert {row["host"] for row in hosts if row["status"] == "failed"} == {"node7"}


def test_a_trial_that_fails_alone_is_committed_as_soon_as_others_succeed_there(tmp_path):
    run = Several(tmp_path / "results")
    for tried in (1, 2):
        run.outcomes.failed(run.attempt(0, tried), DIED)
    assert run.store.statuses() == {}
    run.store.commit_completed(run.specs[1], make_trial_result(), **make_circumstances())
    run.outcomes.completed(run.attempt(1), COMPLETED)
    assert run.store.statuses()[run.specs[0].trial_id()] == "failed"
