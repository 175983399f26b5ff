"""Ray Tune's events, as Tune gives them, without a Ray that runs."""

import traceback
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayTaskError
from ray.tune import TuneError
from ray.tune.experiment import Trial

from orchestrator.errors import SweepError
from orchestrator.running.events import (
    PATIENCE_S,
    StopWhenNoneRuns,
    SweepCallback,
    describe_error,
    other_errors_as_dead_workers,
)
from orchestrator.running.messages import Assignment, Failed, Report, Stopped, TooLate
from orchestrator.running.prefixes import Prefixes
from orchestrator.running.searcher import OrderedSearcher
from orchestrator.running.stopping import StopSwitch
from tests.orchestrator.running.test_outcomes import SPEC, TRIAL, Run
from workers.result import Progress
from workers.trial import TrialError

ASSIGNMENT = Assignment(trial_id=TRIAL.trial_id, spec_json=SPEC.to_json())
REPORT = Report(node_id="n1", host="node7")


class Watch:
    """Nodes that are lost, and those that were announced to leave."""

    def __init__(self, *lost: str):
        self.lost, self.announced = lost, []

    def leaves(self, node_id: str) -> None:
        self.announced.append(node_id)

    def is_lost(self, node_id: str) -> bool:
        return node_id in self.lost


class Events:
    """A callback on a sweep with one trial, and Tune's view of that trial."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.run = Run(folder / "results")
        self.switch = StopSwitch()
        self.searcher = OrderedSearcher([ASSIGNMENT], lambda each: True, lambda: self.switch.is_on)
        outcomes, progress = self.run.outcomes, self.run.progress
        self.callback = SweepCallback(
            outcomes, progress, self.searcher, self.switch, Prefixes({}, self.run.store)
        )
        self.callback.watch = self.watch = Watch()
        self.trial = SimpleNamespace(
            trial_id="tune-1",
            config=self.searcher.suggest("tune-1"),
            temporary_state=SimpleNamespace(ray_actor="the worker"),
            metric_analysis={},
            metric_n_steps={},
        )

    def start(self) -> None:
        self.callback.on_trial_start(1, [], self.trial)

    def report(self, report: Report) -> None:
        """An interim one, or the last."""
        result = report.to_result() | {"training_iteration": 1}
        if report.ending is None:
            self.callback.on_trial_result(1, [], self.trial, result)
        else:
            self.trial.last_result = result
            self.callback.on_trial_complete(1, [], self.trial)

    def fail(self, error: Exception | None, details: str = "Traceback\nValueError: broken") -> None:
        """The actor of the trial ends with an error."""
        self.trial.error_file, self.trial.pickled_error_file = self.folder / "error.txt", None
        self.trial.error_file.write_text(details)
        if error is not None:
            self.trial.pickled_error_file = self.folder / "error.pkl"
            self.trial.pickled_error_file.write_bytes(cloudpickle.dumps(error))
        self.callback.on_trial_error(1, [], self.trial)


@pytest.fixture
def events(tmp_path) -> Events:
    return Events(tmp_path)


def test_statistics_that_tune_makes_of_reports_are_not_kept(events):
    trial = Trial("a trainable", stub=True, trial_id="tune-1", config=events.trial.config)
    events.start()
    result = replace(REPORT, ending=Stopped()).to_result() | {"training_iteration": 1}
    trial.update_last_result(result)
    assert trial.metric_analysis
    assert trial.metric_n_steps
    events.callback.on_trial_complete(1, [], trial)
    assert not trial.metric_analysis
    assert not trial.metric_n_steps


def test_reports_are_shown_with_the_machine(events):
    events.start()
    events.report(REPORT)
    progress = Progress(
        step=3, num_steps=9, loss=0.5, sparsity=0.0, subwords_per_s=1.0, phase="training"
    )
    events.report(replace(REPORT, progress=progress))
    (running,) = events.run.progress.snapshot().running
    assert (running.host, running.progress.step) == ("node7", 3)


def test_nodes_are_busy_when_every_trial_has_arrived_on_one(events):
    assert events.callback.busy_nodes() is None, "it was handed out and not given to a worker"
    events.start()
    assert events.callback.busy_nodes() is None, "it has not told where it is"
    events.report(REPORT)
    assert events.callback.busy_nodes() == {"n1"}
    events.searcher.retry(ASSIGNMENT)
    assert events.callback.busy_nodes() is None, "a trial is left"


def test_a_failure_that_the_worker_reports_is_recorded_from_its_start_on(events):
    events.start()
    events.report(REPORT)
    events.report(
        replace(REPORT, ending=Failed(kind="bad_data", message="no rows", traceback=None))
    )
    assert events.run.attempts() == [("failed", "bad_data", "no rows")]
    assert events.callback.attempts == {}


@pytest.mark.parametrize(("gpu", "kind"), [(None, "worker_died"), ("0", "device")])
def test_a_worker_that_says_nothing_any_more_is_ended_and_its_trial_tried_again(
    events, monkeypatch, gpu, kind
):
    killed = []
    monkeypatch.setattr(ray, "kill", killed.append)
    events.start()
    events.report(replace(REPORT, gpu=gpu))
    events.callback.end_hanging()
    assert killed == []
    (attempt,) = events.callback.attempts.values()
    monkeypatch.setattr(attempt.silence, "is_too_long", lambda now_s: True)
    attempt.silence.silent_s = 601.0
    events.callback.end_hanging()
    events.callback.end_hanging()
    assert killed == ["the worker"], "once"
    events.fail(ray.exceptions.RayActorError(error_msg="The actor is dead"))
    message = "the worker on node7 said nothing for 10 minutes, and was ended"
    assert events.run.attempts() == [("failed", kind, message)]
    assert [again.attempt for again in events.run.given_back] == [2]


def test_a_stopped_trial_names_the_reason(events):
    events.start()
    events.switch.stop("SIGUSR2")
    events.report(replace(REPORT, ending=Stopped()))
    assert events.run.attempts() == [("stopped", "stopped", "stopped by SIGUSR2")]


def test_results_that_cannot_be_written_stop_the_sweep_and_leave_the_trial(events, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "attempts").write_text("in the way")
    events.start()
    ending = Failed(kind="storage", message="No space left on device", traceback=None)
    events.report(replace(REPORT, ending=ending))
    assert events.switch.reason.startswith("the results cannot be used, make room or mend the")
    assert str(tmp_path / "results" / "attempts") in events.switch.reason
    assert events.callback.attempts == {}, "nothing is waited for"
    assert events.run.last_event().startswith("stopped")
    assert events.run.given_back == []


def test_a_trial_that_came_too_late_is_given_back(events):
    events.start()
    events.report(replace(REPORT, ending=TooLate()))
    assert events.run.given_back == [ASSIGNMENT]


def test_a_worker_that_left_gives_its_trial_back_and_its_node_is_announced(events):
    events.start()
    events.report(replace(REPORT, is_leaving=True))
    assert events.watch.announced == ["n1"]
    events.fail(ray.exceptions.RayActorError())
    assert events.run.attempts() == [("stopped", "stopped", "its node node7 leaves")]
    assert events.run.given_back == [ASSIGNMENT]


def test_a_worker_that_died_on_a_node_that_is_gone_is_a_lost_node(events):
    events.start()
    events.report(REPORT)
    events.watch.lost = ("n1",)
    events.fail(ray.exceptions.RayActorError())
    assert events.run.given_back == [replace(ASSIGNMENT, num_node_losses=1)]


def test_a_worker_that_died_on_a_node_that_is_there_is_an_attempt(events):
    events.start()
    events.report(REPORT)
    events.fail(ray.exceptions.RayActorError())
    assert events.run.given_back == [replace(ASSIGNMENT, attempt=2, wait_s=2.0)]


@pytest.mark.parametrize("kind", ["device", "out_of_memory"])
def test_a_worker_that_ended_for_a_known_reason_is_described_by_it(events, kind):
    events.start()
    events.report(REPORT)
    known = RayTaskError("step", "Traceback", TrialError(kind, "the GPU\nfailed"))
    events.fail(known.as_instanceof_cause())
    assert events.run.attempts() == [("failed", kind, "the GPU failed")]
    again = [replace(ASSIGNMENT, attempt=2, wait_s=2.0)]
    assert events.run.given_back == (again if kind == "device" else [])


def test_a_trial_that_could_not_even_start_is_a_failure(events):
    events.fail(None)
    assert events.run.attempts() == [("failed", "unexpected", "ValueError: broken")]


def test_a_report_of_another_version_ends_the_sweep_with_one_line(events):
    events.start()
    with pytest.raises(SweepError, match="result: missing key 'report'; .* different versions"):
        events.callback.on_trial_result(1, [], events.trial, {"progress": {}})


def test_what_a_person_can_mend_is_raised_as_it_is_and_not_as_tune_words_it(events):
    def fit() -> None:
        try:
            events.callback.on_trial_result(1, [], events.trial, {"progress": {}})
        except SweepError:  # what Tune does with each error of a callback
            raise TuneError(traceback.format_exc()) from None

    events.start()
    refused = pytest.raises(SweepError, match="^result: missing key 'report'; .* different version")
    with refused, events.callback.raising_faults():
        fit()


def test_faults_of_tune_itself_stay_what_they_are(events):
    with pytest.raises(TuneError, match="a fault of Tune"), events.callback.raising_faults():
        raise TuneError("a fault of Tune")


def test_a_dead_worker_is_described_without_the_guesses_of_ray():
    text = "The actor died. Worker exit detail: exit code\n137. Some common causes include: (1) ..."
    error = ray.exceptions.RayActorError(error_msg=text)
    assert describe_error(error, "Traceback") == Failed(
        kind="worker_died",
        message="the worker process died: exit code 137.",
        traceback="Traceback",
    )


def killed_by_ray() -> Exception:
    return ray.exceptions.OutOfMemoryError(
        "2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
        "127.0.0.1, ID: 5ae3) was 21.94GB used / 23.54GB limit (0.95)\n"
        "Refer to the documentation on how to address the out of memory issue: https://docs.ray.io"
    )


@pytest.mark.parametrize("happens", ["_actor_task_failed", "_actor_start_failed"])
def test_a_worker_that_rays_memory_monitor_killed_has_died_and_the_sweep_goes_on(happens):
    told: list[Exception] = []
    worker = SimpleNamespace(actor_id=1, _on_error=lambda actor, error: told.append(error))
    task = SimpleNamespace(_tracked_actor=worker, _on_error=None)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    with other_errors_as_dead_workers():
        handle = getattr(RayActorManager, happens)
        which = {"tracked_actor_task": task} if "task" in happens else {"tracked_actor": worker}
        handle(manager, **which, exception=killed_by_ray())
    (error,) = told
    assert describe_error(error, str(error)) == Failed(
        kind="worker_died",
        message="the worker process died: Ray killed it since the node's memory ran low, "
        "21.94 of 23.54 GB in use",
        traceback=str(error),
    )


def test_what_is_no_error_of_ray_stays_a_fault():
    worker = SimpleNamespace(actor_id=1, _on_error=None)
    task = SimpleNamespace(_tracked_actor=worker, _on_error=None)
    with other_errors_as_dead_workers(), pytest.raises(RuntimeError, match="unexpected"):
        RayActorManager._actor_task_failed(
            SimpleNamespace(), tracked_actor_task=task, exception=ValueError("broken")
        )


def test_a_worker_that_could_not_start_is_described_by_its_error():
    text = "The actor died because of an error raised in its creation task, ray::X()\n  File x\n"
    error = ray.exceptions.RayActorError(
        error_msg=f"{text}SweepError: assignment: unknown key 'colour'", actor_init_failed=True
    )
    failed = describe_error(error, "Traceback")
    assert failed.message == (
        "the worker could not start: SweepError: assignment: unknown key 'colour'"
    )


def test_a_worker_that_refuses_to_take_part_ends_the_sweep_with_its_one_line(events):
    text = (
        "The actor died because of an error raised in its creation task, ray::X()\n  File x\n"
        "orchestrator.errors.SweepError: the worker on node7 found sparsweep 0.1.0: install\n"
    )
    error = ray.exceptions.RayActorError(error_msg=text, actor_init_failed=True)
    with pytest.raises(SweepError, match="^the worker on node7 found sparsweep 0.1.0: install$"):
        events.fail(error)
    assert events.run.attempts() == []


def test_a_stopping_sweep_waits_for_running_trials_but_not_for_ever(events, monkeypatch):
    stopper = StopWhenNoneRuns(events.switch, events.callback)
    events.start()
    assert not stopper.stop_all()
    events.switch.stop("SIGTERM")
    assert not stopper.stop_all()
    events.report(replace(REPORT, ending=Stopped()))
    assert stopper.stop_all()
    events.start()
    monkeypatch.setattr("orchestrator.running.events.PATIENCE_S", 0.0)
    assert stopper.stop_all(), f"it is given up after {PATIENCE_S} s"
    assert stopper("tune-1", {}) is False


def test_checkpoints_that_cannot_be_written_are_told_once(events):
    events.start()
    for why in ("/a: is full", "/a: is full", "/b: is gone"):
        events.report(replace(REPORT, unsaved=why))
    events.report(replace(REPORT, unsaved="/b: is gone", ending=Stopped()))
    told = [str(event) for event in events.run.progress.events() if event.kind == "unsaved"]
    assert told == ["unsaved  /a: is full", "unsaved  /b: is gone"]


def test_a_worker_in_a_closed_place_holds_it_and_its_trial_goes_elsewhere(events):
    stopper = StopWhenNoneRuns(events.switch, events.callback)
    events.start()
    events.report(replace(REPORT, is_held=True))
    events.report(replace(REPORT, is_held=True))
    assert events.run.given_back == [ASSIGNMENT]
    assert (events.callback.attempts, events.searcher.num_handed_out) == ({}, 0)
    events.searcher.retry(ASSIGNMENT)
    assert not stopper.stop_all(), "the trial is left"
    events.searcher.suggest("tune-2")
    assert not stopper.stop_all(), "it runs elsewhere"
    events.searcher.on_trial_complete("tune-2")
    assert stopper.stop_all(), "nothing is left for which the place must be held"
    events.fail(ray.exceptions.RayActorError())
    assert events.run.attempts() == [], "whatever becomes of the worker"
