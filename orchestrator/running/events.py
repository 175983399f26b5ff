"""Ray Tune's events, told to the sweep in its own words: progress, and how attempts ended.

Tune knows trials by ids of its own, a new one each time a trial is handed out, and tells of a dead
worker, a lost node and a fault of ours in the same way. What that means for the trial is decided by
`orchestrator.running.outcomes`.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import cloudpickle, tune
from ray.air.execution._internal.actor_manager import RayActorManager

from orchestrator.errors import SweepError
from orchestrator.running.messages import (
    Assignment,
    Completed,
    Failed,
    Report,
    Stopped,
    TooLate,
)
from orchestrator.running.nodes import is_node_loss, place_of_death
from orchestrator.running.outcomes import Attempt, Outcomes
from orchestrator.running.places import Place
from orchestrator.running.prefixes import Prefixes
from orchestrator.running.progress import SweepProgress
from orchestrator.running.searcher import OrderedSearcher
from orchestrator.running.stopping import StopSwitch
from workers.trial import TrialError

PATIENCE_S = 60.0

LOW_MEMORY = "running low on memory"
"""What Ray's memory monitor says of each worker that it kills."""


class NodeWatch(Protocol):
    """What events need of `orchestrator.running.nodes.ClusterWatch`."""

    def leaves(self, node_id: str) -> None:
        """A worker found out that its node is about to leave."""

    def is_lost(self, node_id: str) -> bool:
        """Whether a node is gone or about to go."""


class SweepCallback(tune.Callback):
    """Keeps the attempts that run now, shows their progress, and hands their endings on.

    Args:
        outcomes: decides what becomes of attempts that end.
        progress: shows what happens.
        searcher: knows which trials are left.
        switch: tells why the sweep stops, if it does.
        prefixes: first steps that trials share.

    `watch` is set once there is one.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        progress: SweepProgress,
        searcher: OrderedSearcher,
        switch: StopSwitch,
        prefixes: Prefixes,
    ):
        self.prefixes = prefixes
        self.outcomes, self.progress = outcomes, progress
        self.searcher, self.switch = searcher, switch
        self.watch: NodeWatch | None = None
        self.attempts: dict[str, Attempt] = {}  # by Tune's id of the trial
        self.held: set[str] = set()  # Tune's ids of trials whose workers take none
        self._fault: SweepError | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts to restore them one day; a sweep is not restored but planned
        anew."""
        return {}

    @contextlib.contextmanager
    def raising_faults(self) -> Iterator[None]:
        """While Tune runs in the block: raise what ended the run as it was raised here.

        Tune makes an error of its own of it, with a traceback as its message.
        """
        try:
            yield
        except Exception:
            if self._fault is not None:
                raise self._fault from None
            raise

    @contextlib.contextmanager
    def _handling(self, trial: Any) -> Iterator[None]:
        """Keep a fault that ends the sweep. Where the results cannot be used, stop it: what runs
        saves its state, and the trial at hand is left for the next run."""
        try:
            yield
        except SweepError as error:
            self._fault = error
            raise
        except OSError as error:
            self.switch.results_failed(error)
            self.progress.stopped(self._attempt(trial).trial_id)
            self._forget(trial)

    def busy_nodes(self) -> set[str] | None:
        """Ids of the nodes on which trials run; None while a trial is left, waits for a worker or
        is just arriving."""
        nodes = [attempt.node_id for attempt in list(self.attempts.values())]
        if self.searcher.num_left or self.searcher.num_handed_out != len(nodes) or None in nodes:
            return None
        return {node_id for node_id in nodes if node_id is not None}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """A worker was given the trial."""
        attempt = self._attempt(trial)
        attempt.worker = trial.temporary_state.ray_actor
        self.attempts[trial.trial_id] = attempt
        self.progress.started(attempt.trial_id)

    def end_hanging(self) -> None:
        """End workers that have said nothing for too long. From another thread than Tune's, which
        then learns that they died."""
        for attempt in list(self.attempts.values()):
            if not attempt.is_hanging and attempt.silence.is_too_long(time.monotonic()):
                attempt.is_hanging = True
                with contextlib.suppress(ray.exceptions.RayError, RuntimeError, ValueError):
                    ray.kill(attempt.worker)  # it may have ended meanwhile

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """The worker reported, for example how far the trial is; its last report comes as
        `on_trial_complete`.

        Raises:
            SweepError: the worker runs another version of sparsweep, which ends the sweep.
        """
        with self._handling(trial):
            report, attempt = self._read(result), self._attempt(trial)
            attempt.place = Place(report.node_id, report.host, report.gpu)
            is_loading = report.progress is None or report.progress.phase == "loading"
            attempt.silence.heard(time.monotonic(), is_loading)
            if report.is_leaving:
                attempt.is_leaving = True
                if self.watch:
                    self.watch.leaves(report.node_id)
            if report.is_held:
                self._hold(trial, attempt)
                return
            self.outcomes.arrived(attempt)
            if report.progress is not None:
                self.progress.updated(attempt.trial_id, report.progress, report.host)
                self.prefixes.reached(attempt.trial_id, report.progress.step)

    def _read(self, result: dict[str, Any]) -> Report:
        """A report, of which is told what concerns all trials."""
        report = Report.from_result(result)
        if report.unsaved is not None:
            self.progress.unsaved(report.unsaved)
        return report

    def _hold(self, trial: Any, attempt: Attempt) -> None:
        """The worker keeps its place, which gets no more trials; this one goes elsewhere."""
        if trial.trial_id not in self.held:
            self.held.add(trial.trial_id)
            self.outcomes.too_late(attempt)
            self.searcher.on_trial_complete(trial.trial_id)
            self._forget(trial)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The attempt came to an end that the worker could report.

        Raises:
            SweepError: the worker runs another version of sparsweep, which ends the sweep.
        """
        if trial.trial_id in self.held:
            self.held.discard(trial.trial_id)
            return
        with self._handling(trial):
            report, attempt = self._read(trial.last_result), self._attempt(trial)
            attempt.place = Place(report.node_id, report.host, report.gpu)
            match report.ending:
                case Completed():
                    self.outcomes.completed(attempt, report.ending)
                case Failed():
                    self.outcomes.failed(attempt, report.ending)
                case Stopped():
                    self.outcomes.stopped(attempt, self.switch.reason)
                case TooLate():
                    self.outcomes.too_late(attempt)
            self._forget(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """The worker left or died, or could not even start the trial.

        Raises:
            SweepError: the worker found that it cannot take part, which ends the sweep.
        """
        if trial.trial_id in self.held:
            self.held.discard(trial.trial_id)
            return
        with self._handling(trial):
            attempt = self._attempt(trial)
            error, details = _read_error(trial)
            if getattr(error, "actor_init_failed", False):
                _raise_refusal(str(error))
            attempt.place = attempt.place or place_of_death(error)
            if attempt.is_leaving:
                self.outcomes.departed(attempt)
            elif attempt.is_hanging:
                self.outcomes.hung(attempt)
            elif self._is_node_loss(error, attempt.node_id):
                self.outcomes.node_lost(attempt, details)
            else:
                self.outcomes.failed(attempt, describe_error(error, details))
            self._forget(trial)

    def _is_node_loss(self, error: Exception | None, node_id: str | None) -> bool:
        if error is None or is_node_loss(error):
            return error is not None
        is_about_worker = isinstance(error, ray.exceptions.RayActorError)
        return (
            is_about_worker
            and node_id is not None
            and self.watch is not None
            and self.watch.is_lost(node_id)
        )

    def _attempt(self, trial: Any) -> Attempt:
        """The attempt that Tune speaks of; one that no worker was given begins and ends now."""
        known = self.attempts.get(trial.trial_id)
        return known or Attempt(Assignment.from_config(trial.config), datetime.now(UTC))

    def _forget(self, trial: Any) -> None:
        """The last thing: until the trial was given back, its node must not look idle."""
        self.prefixes.pauses(self._attempt(trial).trial_id)
        self.attempts.pop(trial.trial_id, None)
        # Tune keeps every trial to the end, with statistics of each number of its reports: 30 KiB.
        trial.metric_analysis.clear()
        trial.metric_n_steps.clear()


class StopWhenNoneRuns(tune.Stopper):
    """Ends Tune's run once the sweep stops and no worker has a trial, even if one waits for a node
    that may not come; and once no trial is left, where workers keep places that get none.

    Trials that run report that they stopped, see `orchestrator.running.trainable`. One that does
    not for `PATIENCE_S` has lost its node, or hangs; it is given up and goes on from its last
    checkpoint when the sweep is run again.
    """

    def __init__(self, switch: StopSwitch, callback: SweepCallback):
        self.switch, self.callback = switch, callback

    def __getstate__(self) -> dict[str, Any]:
        """See `SweepCallback`."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to end one trial: never, they end themselves."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all."""
        has_waited = self.switch.seconds_on > PATIENCE_S
        if self.switch.is_on:
            return not self.callback.attempts or has_waited
        searcher = self.callback.searcher
        return bool(self.callback.held) and not searcher.num_left and not searcher.num_handed_out


@contextlib.contextmanager
def other_errors_as_dead_workers() -> Iterator[None]:
    """While Tune runs in the block: a worker that Ray's memory monitor killed, or an object of Ray
    that was lost, ends an attempt as a worker's death does.

    Tune knows errors of actors and of their methods. Any other error of Ray ends its run when it
    comes from a worker that runs; from one that starts it comes without its class.
    """
    manager, names = RayActorManager, ("_actor_task_failed", "_actor_start_failed")
    before = {name: getattr(manager, name) for name in names}

    def translating(handle: Callable[..., None]) -> Callable[..., None]:
        def handle_translated(*place: Any, exception: Exception, **named: Any) -> None:
            known = ray.exceptions.RayActorError | ray.exceptions.RayTaskError
            if isinstance(exception, ray.exceptions.RayError) and not isinstance(exception, known):
                exception = ray.exceptions.RayActorError(error_msg=str(exception))
            handle(*place, exception=exception, **named)

        return handle_translated

    for name, handle in before.items():
        setattr(manager, name, translating(handle))
    try:
        yield
    finally:
        for name, handle in before.items():
            setattr(manager, name, handle)


def describe_error(error: Exception | None, details: str) -> Failed:
    """The cause that ended a worker which could not report it: the worker could not start, it died,
    or it met a fault outside the trial itself.

    Args:
        error: what Tune caught, if it kept it.
        details: its text.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, TrialError):  # it was known, and the worker had to end
        return Failed(kind=cause.kind, message=" ".join(str(cause).split()), traceback=details)
    if getattr(error, "actor_init_failed", False):
        message = f"the worker could not start: {_last_line(str(error))}"
        return Failed(kind="worker_died", message=message, traceback=details)
    if isinstance(error, ray.exceptions.RayActorError):
        message = f"the worker process died: {_cause_of_death(str(error))}"
        return Failed(kind="worker_died", message=message, traceback=details)
    return Failed(kind="unexpected", message=_last_line(details), traceback=details)


def _read_error(trial: Any) -> tuple[Exception | None, str]:
    """What Tune caught, and its text."""
    details = Path(trial.error_file).read_text()
    if not trial.pickled_error_file:
        return None, details
    return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()), details


def _raise_refusal(text: str) -> None:
    """Raise the SweepError by which a worker refused to start, if the text of Ray's error ends in
    one: it holds for the next worker, too."""
    name, _, message = _last_line(text).partition(": ")
    if name.rpartition(".")[2] == SweepError.__name__:
        raise SweepError(message)


def _last_line(text: str) -> str:
    """The last line of a traceback, which is the error itself."""
    return text.strip().splitlines()[-1]


def _cause_of_death(text: str) -> str:
    """What Ray found out, without its ids, its guesses and its advice."""
    if LOW_MEMORY in text:
        amounts = re.search(r"([\d.]+) ?GB used / ([\d.]+) ?GB limit", text)
        used = f", {amounts[1]} of {amounts[2]} GB in use" if amounts else ""
        return f"Ray killed it since the node's memory ran low{used}"
    detail = text.partition("Worker exit detail: ")[2] or text
    return " ".join(detail.partition(" Some common causes")[0].split())
