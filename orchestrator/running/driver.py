"""Runs the trials that are left on Ray Tune: resources, order, stopping.

Tune schedules; what is done is what the results hold. Tune's own record of the run goes to a
scratch folder that is deleted afterwards. Ray is imported inside functions: it reads its
environment while it is imported.
"""

import contextlib
import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cluster.node.machine import (
    available_memory_bytes,
    smallest_gpu_bytes,
    usable_memory_bytes,
)
from cluster.node.own_folder import make_own_folder, remove_own_folder
from orchestrator.errors import SweepError
from orchestrator.planning.capacity import (
    Machine,
    num_within_memory,
    refuse_small_share,
    trial_resources,
)
from orchestrator.planning.memory import GIB, TrialMemory
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.sharing import find_sharing
from orchestrator.results.store import ResultStore
from orchestrator.running.messages import Assignment, WorkerSetup, report_every_s
from orchestrator.running.outcomes import Outcomes
from orchestrator.running.pace import TimeLimit, Timetable
from orchestrator.running.prefixes import Prefixes
from orchestrator.running.progress import SweepProgress
from orchestrator.running.ray_cluster import (
    NoRayError,
    connected_ray,
    is_autoscaled,
    is_elastic,
    is_given_cluster,
    wait_for_nodes,
)
from orchestrator.running.ray_watch import RayWatch
from orchestrator.running.stopping import StopSignals, StopSwitch
from orchestrator.spec.sweep_spec import SweepSpec
from workers.source import code_identity
from workers.visits import ANSWERS_WITHIN_S, find_silent, unanswered

if TYPE_CHECKING:
    from ray.tune import Tuner

    from orchestrator.running.events import SweepCallback
    from orchestrator.running.searcher import OrderedSearcher

TIME_LIMIT = "time limit"
SAVES_WITHIN_S, ENDS_WITHIN_S = 10.0, 40.0
"""Seconds that a sweep goes on when the Ray under it is gone; where it had been stopped before. Ray
itself ends the driver a minute after the head."""


class Driver:
    """Runs the trials of a sweep on Ray Tune until none is left, or the sweep is stopped.

    Args:
        spec: the sweep.
        trials: what is left to run, in order.
        store: where results go.
        progress: shows what happens, and knows how long trials take.
        trainable: the class that runs trials; benchmarks of the driver give one that does nothing.
        reuse_workers: run trial after trial in one process; else each trial gets a new one.
        signals: what listens to signals since the process started; None: listen while the sweep
            runs.
        memory: what a trial takes of it; None: not known.
        models: digests of kept models by trial id: a trial that has one is scored from it, and not
            trained.

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
        memory: TrialMemory | None = None,
        models: Mapping[str, str] | None = None,
    ):
        self.spec, self.trials, self.store, self.progress = spec, trials, store, progress
        self.trainable, self.reuse_workers, self.signals = trainable, reuse_workers, signals
        self.memory = memory or TrialMemory()
        self._models = models or {}
        self._specs = {trial.trial_id: trial.spec for trial in trials}
        trained = [trial for trial in trials if trial.trial_id not in self._models]
        sharing = find_sharing(trained, spec.resources.share_first_steps)
        self._prefixes = Prefixes(sharing.prefixes, store)
        self._switch = StopSwitch()
        self._is_ray_lost = threading.Event()
        try:
            limit = TimeLimit.from_environment(os.environ, time.time())
        except ValueError as error:
            raise SweepError(str(error)) from error
        self._timetable = Timetable(limit, progress.expected_s)

    @property
    def stop_reason(self) -> str | None:
        """Why the sweep was stopped; None if it was not."""
        return self._switch.reason

    def run(self) -> None:
        """Run the trials, from the main thread; returns when none is left or after a stop.

        While Ray starts and they run, SIGINT (Ctrl-C), SIGTERM, SIGUSR2 and SIGHUP stop the sweep
        cleanly; a second Ctrl-C does not wait.

        Raises:
            SweepError: the resources that a trial asks for are not there, a worker runs another
                version of sparsweep, or the results cannot be read.
            OSError: a temporary folder cannot be written.
            KeyboardInterrupt: a second Ctrl-C.
        """
        with contextlib.ExitStack() as stack:
            signals = self.signals or stack.enter_context(StopSignals())
            stack.enter_context(self._switch.telling(self.progress.stopping))
            # Ray starts and ends inside: a Ctrl-C that is raised while it forks is dropped, and
            # may leave a lock of Python's logging taken, for which all threads would wait.
            stack.enter_context(signals.calling(self._switch.stop))
            if self._switch.is_on:
                return
            try:
                connected = stack.enter_context(connected_ray(signals))
            except NoRayError as error:
                self._switch.stop(f"Ray did not start: {error}")
                return
            if not self._switch.is_on:
                self._run_on(*connected)

    def _run_on(self, ray: ModuleType, watch: RayWatch) -> None:
        wait_for_nodes(ray, lambda: self._switch.is_on)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        resources, concurrency = trial_resources(
            self.spec.resources, nodes, is_given_cluster(), is_elastic()
        )
        if not is_elastic():
            resources, concurrency = self._fit_into_memory(resources, concurrency, nodes)
        use_gpu = resources["gpu"] > 0
        refuse_wrong_kernels(self.spec.pruning.kernels, has_gpu=use_gpu)
        self.progress.runs_on("GPU" if use_gpu else "CPU")

        name = f"sparsweep-stop-{secrets.token_hex(8)}"
        signal = _make_stop_signal(name)
        setup = self._worker_setup(name, resources["gpu"], concurrency)
        with (
            self._switch.telling(lambda reason: signal.set.remote()),
            self._prefixes.kept(),
            _scratch_folder() as scratch,
            watch.telling(self._lose_ray),
        ):
            # In a thread, or Tune would take the signals.
            run_in_thread(
                lambda: self._tune(resources, concurrency, setup, scratch, signal),
                self._is_ray_lost,
            )

    def _fit_into_memory(
        self, resources: dict[str, float], concurrency: int, nodes: Sequence[Mapping[str, float]]
    ) -> tuple[dict[str, float], int]:
        """Resources of a trial and how many run at a time, with regard to memory.

        Raises:
            SweepError: not one trial fits.
        """
        is_private = not is_given_cluster()
        if resources["gpu"]:
            gpu_bytes = smallest_gpu_bytes() if is_private else None
            gpu_gib = None if gpu_bytes is None else gpu_bytes / GIB
            self._limited(refuse_small_share(self.memory.of_gpu, resources["gpu"], gpu_gib))
            return resources, concurrency
        need, cpus_per_trial = self.memory.of_host, self.spec.resources.cpus_per_trial
        machines = [
            Machine(cpus=node["CPU"], free_bytes=node["memory"])
            for node in nodes
            if node.get("CPU", 0) >= cpus_per_trial and node.get("memory")
        ]
        if need is None or not machines:  # those that are to come tell nothing yet
            return resources, concurrency
        if is_private:
            free, whole = available_memory_bytes(), usable_memory_bytes()
            machines = [replace(machines[0], free_bytes=free, all_bytes=whole)]
        else:  # or Ray might place all of them on one machine
            smallest = min(machine.free_bytes for machine in machines)
            resources |= {"memory": float(math.floor(min(need.gib * GIB, smallest)))}
        concurrency, why = num_within_memory(cpus_per_trial, concurrency, machines, need)
        self._limited(why)
        return resources, concurrency

    def _limited(self, why: str) -> None:
        if why:
            self.progress.limited(why)

    def _lose_ray(self, what: str) -> None:
        """Stop; workers that are still there may save their trials meanwhile.

        Where the sweep stops already, the nodes of a job may be ending one by one, this one first.
        """
        within_s = ENDS_WITHIN_S if self._switch.is_on else SAVES_WITHIN_S
        self._switch.stop(what)
        time.sleep(within_s)
        self._is_ray_lost.set()

    def _tune(
        self,
        resources: dict[str, float],
        concurrency: int,
        setup: WorkerSetup,
        scratch: str,
        signal: Any,
    ) -> None:
        from orchestrator.running.events import SweepCallback, other_errors_as_dead_workers
        from orchestrator.running.nodes import ClusterWatch
        from orchestrator.running.trainable import TrialTrainable, make_worker

        searcher = self._make_searcher(concurrency)
        outcomes = self._make_outcomes(searcher, resources, concurrency, signal)
        callback = SweepCallback(outcomes, self.progress, searcher, self._switch, self._prefixes)
        worker = make_worker(self.trainable or TrialTrainable, setup, resources)
        tuner = self._make_tuner(worker, searcher, callback, scratch)
        # Else Tune starts one worker at a time for searchers that are not its own, and none where
        # trials are shorter than that takes.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrency)
        # What goes wrong is told by the progress view.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        busy_nodes = callback.busy_nodes if is_elastic() or is_autoscaled() else None

        def tick() -> None:
            self._stop_in_time()
            self._tell_silence()
            callback.end_hanging()

        watch = ClusterWatch(busy_nodes, tick, drains_idle=is_elastic())
        with watch as callback.watch, callback.raising_faults(), other_errors_as_dead_workers():
            tuner.fit()
        try:
            outcomes.close()
        except OSError as error:
            self._switch.results_failed(error)

    def _make_tuner(
        self, worker: Any, searcher: "OrderedSearcher", callback: "SweepCallback", scratch: str
    ) -> "Tuner":
        """Tune, which places the trials, and leaves all else to the callback."""
        from ray import tune

        from orchestrator.running.events import StopWhenNoneRuns
        from orchestrator.running.scheduler import NewestFirst

        return tune.Tuner(
            worker,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=NewestFirst(),
                num_samples=-1,  # as many as the searcher gives: trials may come back at any time
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
                stop=StopWhenNoneRuns(self._switch, callback),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )

    def _make_outcomes(
        self,
        searcher: "OrderedSearcher",
        resources: dict[str, float],
        concurrency: int,
        signal: Any,
    ) -> Outcomes:
        """What becomes of trials that end."""
        import ray

        from orchestrator.running.nodes import nodes_for_trials

        return Outcomes(
            self.spec,
            self.trials,
            self.store,
            self.progress,
            give_back=searcher.retry,
            num_workers=concurrency,
            stop=self._switch.stop,
            close=lambda place: signal.close.remote(place.node_id, place.gpu),
            is_over=self._prefixes.is_over,
            nodes=lambda: nodes_for_trials(ray.nodes(), resources),
        )

    def _make_searcher(self, concurrency: int) -> "OrderedSearcher":
        """What hands the trials out, those that still make sense in time."""
        from orchestrator.running.searcher import OrderedSearcher

        return OrderedSearcher(
            map(self._assignment, self.trials),
            is_wanted=self._is_wanted,
            is_stopping=lambda: self._switch.is_on,
            admit=self._admit,
            on_none_admitted=lambda: self._switch.stop(TIME_LIMIT),
            is_better_later=lambda assignment: self._prefixes.is_awaited(assignment.trial_id),
            # Not by Tune, for which workers that keep trials off their places would count.
            max_running=concurrency,
        )

    def _assignment(self, trial: PlannedTrial) -> Assignment:
        prefix = self._prefixes.of(trial.trial_id)
        return Assignment(
            trial_id=trial.trial_id,
            spec_json=trial.spec.to_json(),
            prefix_id=prefix.prefix_id if prefix else None,
            prefix_steps=prefix.num_steps if prefix else 0,
            model_digest=self._models.get(trial.trial_id),
        )

    def _stop_in_time(self) -> None:
        if self._timetable.is_over(time.time()):
            self._switch.stop(TIME_LIMIT)

    def _tell_silence(self) -> None:
        """Trials go on while the results do not answer; a signal ends the waiting."""
        if (place := find_silent()) is not None:
            self.progress.waiting(unanswered(place, ANSWERS_WITHIN_S))

    def _admit(self, assignment: Assignment) -> Assignment | None:
        """The assignment with the trial's latest start, or None if it is too late for that."""
        start_by = self._timetable.latest_start(assignment.trial_id)
        if start_by is not None and time.time() > start_by:
            return None
        return replace(assignment, start_by=start_by)

    def _is_wanted(self, assignment: Assignment) -> bool:
        try:
            spec = self._specs[assignment.trial_id]
            is_done = self.store.has(spec, with_model=self.spec.keeps_models)
        except OSError as error:
            self._switch.results_failed(error)
            return False
        if not is_done:
            self._timetable.has_started()
            self._prefixes.begins(assignment.trial_id)
            return True
        self.progress.completed(assignment.trial_id, None)  # by another driver on the same results
        self._prefixes.is_over(assignment.trial_id)
        return False

    def _worker_setup(
        self, stop_signal: str, gpus_per_trial: float, concurrency: int
    ) -> WorkerSetup:
        return WorkerSetup(
            results=str(self.store.location),
            sweep_name=self.spec.name,
            asked_json=self.spec.model_dump_json(),
            checkpoint_every_s=self.spec.resources.checkpoint_every_s,
            num_threads=self.spec.resources.cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            kernels=self.spec.pruning.kernels,
            keeps_models=self.spec.keeps_models,
            stop_signal=stop_signal,
            report_every_s=report_every_s(concurrency),
            code=code_identity(),
        )


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


@contextlib.contextmanager
def _scratch_folder() -> Iterator[str]:
    folder = make_own_folder("sparsweep-tune-")
    try:
        yield str(folder)
    finally:
        remove_own_folder(folder)


def _make_stop_signal(name: str) -> Any:
    """A tiny actor beside the driver that running trials ask with each report whether they shall
    stop, and at their beginning whether their place gets no more trials."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote(num_cpus=0)
    class StopSignal:
        def __init__(self) -> None:
            self.is_on = False
            self.closed: set[tuple[str, str | None]] = set()

        def set(self) -> None:
            self.is_on = True

        def is_set(self) -> bool:
            return self.is_on

        def close(self, node_id: str, gpu: str | None) -> None:
            self.closed.add((node_id, gpu))

        def is_closed(self, node_id: str, gpu: str | None) -> bool:
            return not self.closed.isdisjoint({(node_id, gpu), (node_id, None)})

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # Its process may be killed as any other, for memory for example.
    return StopSignal.options(  # type: ignore[attr-defined]
        name=name, scheduling_strategy=here, max_restarts=-1
    ).remote()


def run_in_thread(action: Callable[[], None], is_given_up: threading.Event) -> None:
    """Run beside the main thread, which is left to signals; raises what it raises.

    Args:
        action: what runs.
        is_given_up: its end is not waited for any more once this is set, as it may wait for what
            will not come.
    """
    failures: list[BaseException] = []

    def target() -> None:
        try:
            action()
        except BaseException as error:  # handed to the main thread, which raises it
            failures.append(error)

    thread = threading.Thread(target=target, name="sweep", daemon=True)
    thread.start()
    while thread.is_alive() and not is_given_up.is_set():
        thread.join(0.2)  # a join without end would not let Python handle signals
    if failures:
        raise failures[0]
