"""Runs the trials that are left on Ray Tune: resources, order, retries, stopping.

Tune schedules; what is done is what the results hold. Tune's own record of the run goes to a scratch folder that is
deleted afterwards. Ray is imported inside functions: it reads its environment while it is imported.
"""

import contextlib
import logging
import math
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cluster.private_ray import TUNE_ENVIRONMENT, private_ray
from orchestrator.errors import SweepError
from orchestrator.plan import PlannedTrial
from orchestrator.progress import SweepProgress
from orchestrator.provenance import collect_provenance
from orchestrator.results.store import ResultStore
from orchestrator.sweep_spec import Resources, SweepSpec
from workers.trial import ErrorKind, TrialSpec

if TYPE_CHECKING:
    from orchestrator.searcher import OrderedSearcher

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "HF_HUB_OFFLINE", "SPARSWEEP_CACHE")
"""Variables that workers of a given cluster get from the driver. No secrets: Ray shows these to whoever uses it."""

RETRIED_KINDS: tuple[ErrorKind, ...] = ("storage", "worker_died")
"""Kinds of failure that a second try may not meet again; the others would only fail again."""


class Sweep:
    """A running sweep: what the callbacks of Ray Tune need to know, and the switch that stops it.

    Args:
        spec: the sweep.
        trials: what is left to run, in order.
        store: where results go.
        progress: told of everything that happens.
        trainable: the class that runs trials; benchmarks of the driver give one that does nothing.
        reuse_workers: run trial after trial in one process; else each trial gets a new one.
    """

    def __init__(
        self,
        spec: SweepSpec,
        trials: Sequence[PlannedTrial],
        store: ResultStore,
        progress: SweepProgress,
        trainable: type | None = None,
        reuse_workers: bool = True,
    ):
        self.spec, self.trials, self.store, self.progress = spec, trials, store, progress
        self.trainable, self.reuse_workers = trainable, reuse_workers
        self.stop_reason: str | None = None
        self._stop_signal: Any = None

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self.stop_reason is not None

    def stop(self, reason: str) -> None:
        """Let running trials save their checkpoints and start no more; `run` returns soon after."""
        if not self.is_stopping:
            self.stop_reason = reason
            self.progress.stopping(reason)
            if self._stop_signal is not None:
                self._stop_signal.set.remote()

    def run(self) -> None:
        """Run the trials, from the main thread; returns when none is left or after a stop.

        While they run, SIGINT (Ctrl-C), SIGTERM and SIGUSR2 stop the sweep cleanly; a second Ctrl-C does not wait.

        Raises:
            SweepError: the resources that a trial asks for are not there.
            KeyboardInterrupt: a second Ctrl-C.
        """
        with connected_ray() as ray:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            resources, concurrency = trial_resources(self.spec.resources, nodes, may_grow=is_given_cluster())
            refuse_wrong_kernels(self.spec.pruning.kernels, has_gpu=resources["gpu"] > 0)
            name = f"sparsweep-stop-{secrets.token_hex(8)}"
            self._stop_signal = _make_stop_signal(name)
            # Only now: Ray takes the signals while it connects. And Tune runs in a thread, or it would take them, too.
            with self._stopping_on_signals(), tempfile.TemporaryDirectory(prefix="sparsweep-tune-") as scratch:
                _run_in_thread(lambda: self._tune(resources, concurrency, name, scratch))
            self._stop_signal = None

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            if self.is_stopping and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop(signal.Signals(number).name)

        before = {number: signal.signal(number, stop) for number in STOPPING_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tune(self, resources: dict[str, float], concurrency: int, stop_signal: str, scratch: str) -> None:
        from ray import tune

        from orchestrator.events import SweepCallback
        from orchestrator.searcher import OrderedSearcher
        from orchestrator.trainable import TrialTrainable

        searcher = OrderedSearcher(
            self._configs(stop_signal, use_gpu=resources["gpu"] > 0),
            is_wanted=self._is_wanted,
            is_stopping=lambda: self.is_stopping,
        )
        attempts = 1 + self.spec.resources.max_retries
        tuner = tune.Tuner(
            tune.with_resources(self.trainable or TrialTrainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=len(self.trials) * attempts,
                max_concurrent_trials=concurrency,
                reuse_actors=self.reuse_workers,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=scratch,
                verbose=0,
                callbacks=[SweepCallback(self, searcher)],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what goes wrong is told by the progress view
        tuner.fit()

    def _is_wanted(self, config: dict[str, Any]) -> bool:
        if not self.store.is_completed(config["trial_id"]):
            return True
        self.progress.completed(config["trial_id"], None)  # by another driver on the same results
        return False

    def _configs(self, stop_signal: str, use_gpu: bool) -> list[dict[str, Any]]:
        """What Tune hands to a worker, a trial each."""
        common = {
            "attempt": 1,
            "results": str(self.store.location),
            "sweep": self.spec.name,
            "asked_json": self.spec.model_dump_json(),
            "checkpoint_every_s": self.spec.resources.checkpoint_every_s,
            "num_threads": self.spec.resources.cpus_per_trial,
            "kernels": self.spec.pruning.kernels,
            "use_gpu": use_gpu,
            "stop_signal": stop_signal,
        }
        return [{"trial_id": trial.trial_id, "trial": trial.spec.to_json(), **common} for trial in self.trials]

    def handle_failure(
        self,
        searcher: "OrderedSearcher",
        config: dict[str, Any],
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
        spec, trial_id = TrialSpec.from_json(config["trial"]), config["trial_id"]
        attempt: dict[str, Any] = {
            "kind": kind,
            "message": message,
            "traceback": details,
            "sweep": self.spec.name,
            "asked_json": config["asked_json"],
            "provenance": collect_provenance(),
            "started_at": started_at,
            "ended_at": datetime.now(UTC),
        }
        if kind == "stopped":
            self.store.record_attempt(spec, **attempt)
            self.progress.stopped(trial_id)
        elif kind in RETRIED_KINDS and config["attempt"] <= self.spec.resources.max_retries:
            self.store.record_attempt(spec, **attempt)
            self.progress.retried(trial_id, kind, message)
            searcher.retry(config | {"attempt": config["attempt"] + 1})
        else:
            self.store.commit_failed(spec, **attempt)
            self.store.checkpoint(trial_id).delete()
            self.progress.failed(trial_id, kind, message)


def trial_resources(
    asked: Resources, nodes: Sequence[Mapping[str, float]], may_grow: bool
) -> tuple[dict[str, float], int]:
    """Resources of a trial in Ray's terms, and how many trials run at a time.

    Args:
        asked: the sweep's `resources`.
        nodes: resources of each machine of the Ray cluster.
        may_grow: whether machines may join later, so that a trial that fits on none may wait for one.

    Raises:
        SweepError: a trial fits on no machine, unless the cluster may grow and `max_concurrent_trials` is given.
    """
    gpus = asked.gpus_per_trial
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
    fitting = sum(_num_fitting(node, asked.cpus_per_trial, gpus) for node in nodes)
    if fitting == 0 and not (may_grow and asked.max_concurrent_trials):
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)))
        raise SweepError(
            f"resources: a trial asks for {asked.cpus_per_trial} CPUs and {gpus:g} GPUs, the largest machine has "
            f"{largest.get('CPU', 0):g} and {largest.get('GPU', 0):g}; lower resources.cpus_per_trial or gpus_per_trial"
        )
    concurrency = min(fitting or math.inf, asked.max_concurrent_trials or math.inf)
    return {"cpu": float(asked.cpus_per_trial), "gpu": gpus}, int(concurrency)


def refuse_wrong_kernels(kernels: str, has_gpu: bool) -> None:
    """Kernels that cannot compute where the trials will run would fail every trial; better fail now.

    Raises:
        SweepError: triton without a GPU, or numba with one.
    """
    if kernels == "triton" and not has_gpu:
        raise SweepError("pruning.kernels: triton computes on GPUs, and trials get none here; use auto or numba")
    if kernels == "numba" and has_gpu:
        raise SweepError("pruning.kernels: numba computes on CPUs, and trials get a GPU here; use auto or triton")


def _num_fitting(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Trials that run on one machine at a time; a fraction of a GPU never spans two."""
    by_cpu = math.floor(node.get("CPU", 0) / cpus)
    if not gpus:
        return by_cpu
    num_gpus = node.get("GPU", 0)
    by_gpu = math.floor(num_gpus / gpus) if gpus >= 1 else math.floor(num_gpus) * math.floor(1 / gpus + 1e-9)
    return min(by_cpu, by_gpu)


def is_given_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster; `local` asks for a private Ray in Ray's own words.

    Raises:
        SweepError: it is the address of a Ray client, through which Tune cannot be driven.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise SweepError(f"RAY_ADDRESS: {address} is for Ray's client; run on the cluster and give its HOST:PORT")
    return address not in ("", "local")


@contextlib.contextmanager
def connected_ray() -> Iterator[ModuleType]:
    """Ray, connected to the cluster that RAY_ADDRESS names, or to a private one that ends with the block."""
    if is_given_cluster():
        os.environ.update(TUNE_ENVIRONMENT)
        import ray

        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        ray.init(
            address=os.environ["RAY_ADDRESS"],
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": passed_on},
        )
        try:
            yield ray
        finally:
            ray.shutdown()
        return
    local = private_ray()
    os.environ.update(local.environment)
    import ray

    try:
        ray.init(**local.init_options)
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(local.temp_dir, ignore_errors=True)


def _make_stop_signal(name: str) -> Any:
    """A tiny actor beside the driver that running trials ask with each report whether they shall stop."""
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
