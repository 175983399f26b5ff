"""Runs the trials that are left on Ray Tune: resources, order, retries, stopping.

Tune schedules; what is done is what the results hold. Tune's own record of the run goes to a
scratch folder that is deleted afterwards. Ray is imported inside functions: it reads its
environment while it is imported.
"""

import contextlib
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.planning.capacity import trial_resources
from orchestrator.planning.plan import PlannedTrial
from orchestrator.provenance import collect_provenance
from orchestrator.results.store import ResultStore
from orchestrator.running.pace import TimeLimit, Timetable
from orchestrator.running.progress import SweepProgress
from orchestrator.running.ray_cluster import (
    connected_ray,
    is_elastic,
    is_given_cluster,
    wait_for_nodes,
)
from orchestrator.running.stopping import StopSignals
from orchestrator.spec.sweep_spec import SweepSpec
from workers.trial import ErrorKind, TrialSpec

if TYPE_CHECKING:
    from orchestrator.running.searcher import Config, OrderedSearcher

RETRIED_KINDS: tuple[ErrorKind, ...] = ("storage", "worker_died")
"""Kinds of failure that a second try may not meet again; the others would only fail again."""

MAX_NODE_LOSSES = 10
"""Nodes that may be lost under one trial in one run without counting as its attempts. A node that
announces that it leaves never counts, so ten that vanish under the same trial are rather its doing:
it may take its node down with it."""

TIME_LIMIT = "time limit"


class Sweep:
    """A running sweep: what the callbacks of Ray Tune need to know, and the switch that stops it.

    Args:
        spec: the sweep.
        trials: what is left to run, in order.
        store: where results go.
        progress: told of everything that happens.
        trainable: the class that runs trials; benchmarks of the driver give one that does nothing.
        reuse_workers: run trial after trial in one process; else each trial gets a new one.
        signals: what listens to signals since the process started; None: listen while the sweep
            runs.
        completed: trials of the sweep that are done; how long they took says how long others take.

    Raises:
        SweepError: the time limit in the environment is not a number.
    """

    def __init__(
        self,
        spec: SweepSpec,
        trials: Sequence[PlannedTrial],
        store: ResultStore,
        progress: SweepProgress,
        trainable: type | None = None,
        reuse_workers: bool = True,
        signals: StopSignals | None = None,
        completed: Sequence[PlannedTrial] = (),
    ):
        self.spec, self.trials, self.store, self.progress = spec, trials, store, progress
        self.trainable, self.reuse_workers = trainable, reuse_workers
        self.signals, self.completed = signals, completed
        self.stop_reason: str | None = None
        self._stopped_at: float | None = None
        self._stop_signal: Any = None
        self._timetable = self._make_timetable()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self.stop_reason is not None

    @property
    def stopping_s(self) -> float:
        """Seconds since `stop` was called."""
        return 0.0 if self._stopped_at is None else time.monotonic() - self._stopped_at

    def stop(self, reason: str) -> None:
        """Let running trials save their checkpoints and start no more; `run` returns soon after."""
        if not self.is_stopping:
            self.stop_reason, self._stopped_at = reason, time.monotonic()
            self.progress.stopping(reason)
            if self._stop_signal is not None:
                self._stop_signal.set.remote()

    def run(self) -> None:
        """Run the trials, from the main thread; returns when none is left or after a stop.

        While they run, SIGINT (Ctrl-C), SIGTERM and SIGUSR2 stop the sweep cleanly; a second Ctrl-C
        does not wait.

        Raises:
            SweepError: the resources that a trial asks for are not there.
            KeyboardInterrupt: a second Ctrl-C.
        """
        with contextlib.ExitStack() as stack:
            signals = self.signals or stack.enter_context(StopSignals())
            ray = None if signals.received else stack.enter_context(connected_ray(signals))
            with signals.calling(self.stop):
                if ray is not None and not self.is_stopping:
                    self._run_on(ray)
        self._stop_signal = None

    def _run_on(self, ray: ModuleType) -> None:
        wait_for_nodes(ray, lambda: self.is_stopping)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        resources, concurrency = trial_resources(
            self.spec.resources, nodes, is_given_cluster(), is_elastic()
        )
        refuse_wrong_kernels(self.spec.pruning.kernels, has_gpu=resources["gpu"] > 0)
        name = f"sparsweep-stop-{secrets.token_hex(8)}"
        self._stop_signal = _make_stop_signal(name)
        with tempfile.TemporaryDirectory(prefix="sparsweep-tune-") as scratch:
            # In a thread, or Tune would take the signals.
            _run_in_thread(lambda: self._tune(resources, concurrency, name, scratch))

    def _tune(
        self, resources: dict[str, float], concurrency: int, stop_signal: str, scratch: str
    ) -> None:
        from ray import tune

        from orchestrator.running.events import StopWhenNoneRuns, SweepCallback
        from orchestrator.running.nodes import ClusterWatch
        from orchestrator.running.searcher import OrderedSearcher
        from orchestrator.running.trainable import TrialTrainable

        searcher = OrderedSearcher(
            self._configs(stop_signal, use_gpu=resources["gpu"] > 0),
            is_wanted=self._is_wanted,
            is_stopping=lambda: self.is_stopping,
            admit=self._admit,
            on_none_admitted=lambda: self.stop(TIME_LIMIT),
        )
        callback = SweepCallback(self, searcher)
        tuner = tune.Tuner(
            tune.with_resources(self.trainable or TrialTrainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,  # as many as the searcher gives: trials may come back any number of times
                max_concurrent_trials=min(concurrency, len(self.trials)),
                reuse_actors=self.reuse_workers,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[callback],
                # Left out, Tune would save at each trial's end, to a folder that other machines do
                # not have.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                stop=StopWhenNoneRuns(self, callback),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        logging.getLogger("ray.tune").setLevel(
            logging.CRITICAL
        )  # what goes wrong is told by the progress view
        with ClusterWatch(
            callback.busy_nodes if is_elastic() else None, tick=self._stop_in_time
        ) as callback.watch:
            tuner.fit()

    def _make_timetable(self) -> Timetable:
        """What the time limit of the job leaves room for; only where there is one, it matters how
        long trials take."""
        try:
            limit = TimeLimit.from_environment(os.environ, time.time())
        except ValueError as error:
            raise SweepError(str(error)) from error
        timetable = Timetable(limit, {trial.trial_id: trial.cost for trial in self.trials})
        if limit is not None and self.completed:
            columns = ["trial_id", "load_s", "train_s", "evaluate_s"]
            rows = {row["trial_id"]: row for row in self.store.read("trials", columns).to_pylist()}
            for trial in self.completed:
                parts = [rows.get(trial.trial_id, {}).get(name) for name in columns[1:]]
                timetable.pace.learn(trial.cost, sum(part for part in parts if part is not None))
        return timetable

    def _stop_in_time(self) -> None:
        if self._timetable.is_over(time.time()):
            self.stop(TIME_LIMIT)

    def _admit(self, config: "Config") -> "Config | None":
        """The configuration with its latest start, or None if it is too late for that."""
        start_by = self._timetable.latest_start(config["trial_id"])
        return (
            None
            if start_by is not None and time.time() > start_by
            else config | {"start_by": start_by}
        )

    def _is_wanted(self, config: "Config") -> bool:
        if not self.store.is_completed(config["trial_id"]):
            self._timetable.has_started()
            return True
        self.progress.completed(config["trial_id"], None)  # by another driver on the same results
        return False

    def _configs(self, stop_signal: str, use_gpu: bool) -> "list[Config]":
        """What Tune hands to a worker, a trial each."""
        common = {
            "attempt": 1,
            "num_node_losses": 0,
            "start_by": None,
            "results": str(self.store.location),
            "sweep": self.spec.name,
            "asked_json": self.spec.model_dump_json(),
            "checkpoint_every_s": self.spec.resources.checkpoint_every_s,
            "num_threads": self.spec.resources.cpus_per_trial,
            "kernels": self.spec.pruning.kernels,
            "use_gpu": use_gpu,
            "stop_signal": stop_signal,
        }
        return [
            {"trial_id": trial.trial_id, "trial": trial.spec.to_json(), **common}
            for trial in self.trials
        ]

    def handle_completed(self, trial_id: str, f1: float | None, seconds: float) -> None:
        """Its result is stored.

        Args:
            trial_id: of the trial.
            f1: to show.
            seconds: that it took, interruptions left out.
        """
        self._timetable.has_ended(trial_id, seconds)
        self.progress.completed(trial_id, f1)

    def handle_departure(
        self, searcher: "OrderedSearcher", config: "Config", started_at: datetime, message: str
    ) -> None:
        """A worker saved its trial and ended, since its node leaves: the trial goes on elsewhere,
        as the next one."""
        self._record(config, started_at, "stopped", message, None)
        self.progress.moved(config["trial_id"], message)
        searcher.retry(config)

    def handle_node_loss(
        self,
        searcher: "OrderedSearcher",
        config: "Config",
        started_at: datetime,
        message: str,
        details: str,
    ) -> None:
        """A worker was lost with its node, which does not count as an attempt of its trial, up to
        `MAX_NODE_LOSSES`."""
        num_losses = config["num_node_losses"] + 1
        config = config | {"num_node_losses": num_losses}
        if num_losses > MAX_NODE_LOSSES:
            message = f"{message}, the {num_losses}th under this trial in this run"
            self.handle_failure(searcher, config, started_at, "worker_died", message, details)
            return
        self._record(config, started_at, "worker_died", message, details)
        self.progress.retried(config["trial_id"], "worker_died", message)
        searcher.retry(config)

    def handle_failure(
        self,
        searcher: "OrderedSearcher",
        config: "Config",
        started_at: datetime,
        kind: ErrorKind,
        message: str,
        details: str | None,
    ) -> None:
        """Record the attempt; try again if its kind deserves it, else commit the trial as failed.

        Args:
            searcher: takes trials that are tried again.
            config: of the trial, as Tune has it.
            started_at: when the attempt began.
            kind: what went wrong; `stopped` is no failure, the trial is left for the next run.
            message: one line.
            details: the traceback, if there is one.
        """
        trial_id = config["trial_id"]
        if kind == "stopped":
            self._record(config, started_at, kind, message, details)
            self.progress.stopped(trial_id)
        elif kind in RETRIED_KINDS and config["attempt"] <= self.spec.resources.max_retries:
            self._record(config, started_at, kind, message, details)
            self.progress.retried(trial_id, kind, message)
            searcher.retry(config | {"attempt": config["attempt"] + 1})
        else:
            spec = TrialSpec.from_json(config["trial"])
            self.store.commit_failed(spec, **_attempt(config, started_at, kind, message, details))
            self.store.checkpoint(trial_id).delete()
            self.progress.failed(trial_id, kind, message)

    def _record(
        self,
        config: "Config",
        started_at: datetime,
        kind: ErrorKind,
        message: str,
        details: str | None,
    ) -> None:
        spec = TrialSpec.from_json(config["trial"])
        self.store.record_attempt(spec, **_attempt(config, started_at, kind, message, details))


def _attempt(
    config: "Config", started_at: datetime, kind: ErrorKind, message: str, details: str | None
) -> dict[str, Any]:
    """What the store keeps of an attempt that ends now."""
    return {
        "kind": kind,
        "message": message,
        "traceback": details,
        "sweep": config["sweep"],
        "asked_json": config["asked_json"],
        "provenance": collect_provenance(),
        "started_at": started_at,
        "ended_at": datetime.now(UTC),
    }


def refuse_wrong_kernels(kernels: str, has_gpu: bool) -> None:
    """Kernels that cannot compute where the trials will run would fail every trial; better fail
    now.

    Raises:
        SweepError: triton without a GPU, or numba with one.
    """
    if kernels == "triton" and not has_gpu:
        raise SweepError(
            "pruning.kernels: triton computes on GPUs, and trials get none here; use auto or numba"
        )
    if kernels == "numba" and has_gpu:
        raise SweepError(
            "pruning.kernels: numba computes on CPUs, and trials get a GPU here; use auto or triton"
        )


def _make_stop_signal(name: str) -> Any:
    """A tiny actor beside the driver that running trials ask with each report whether they shall
    stop."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0)
    class StopSignal:
        def __init__(self) -> None:
            self.is_on = False

        def set(self) -> None:
            self.is_on = True

        def is_set(self) -> bool:
            return self.is_on

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = StopSignal.options(name=name, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    ray.get(actor.is_set.remote())
    return actor


def _run_in_thread(action: Callable[[], None]) -> None:
    """Run beside the main thread, which is left to signals; raises what it raises."""
    failures: list[BaseException] = []

    def target() -> None:
        try:
            action()
        except BaseException as error:  # handed to the main thread, which raises it
            failures.append(error)

    thread = threading.Thread(target=target, name="sweep", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)  # a join without end would not let Python handle signals
    if failures:
        raise failures[0]
