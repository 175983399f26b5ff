"""The class that Ray starts once a worker and uses for trial after trial.

The first `step` of a trial reports on which node it is; each further one runs the trial until its
next report is due and tells how far it is; the last one commits the result. Whatever goes wrong
inside a trial ends here, as a report of the cause; the driver decides whether the trial is tried
again. Only the death of the process itself is left for the driver to notice.

On a node that is about to leave (see `DRAIN_FILE`) a worker saves its trial's checkpoint, reports
that it leaves, and ends with its next step. It must end: Ray Tune would otherwise hand it the next
trial.
"""

import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from cluster.contract import DRAIN_FILE, TRIAL_TITLE
from cluster.node.machine import usable_cpus, usable_memory_bytes, visible_gpus
from orchestrator.errors import SweepError
from orchestrator.provenance import collect_provenance
from orchestrator.results.store import ResultStore
from orchestrator.running.messages import (
    Assignment,
    Completed,
    Ending,
    Failed,
    Report,
    Stopped,
    TooLate,
    WorkerSetup,
)
from workers.result import Progress, TrialResult
from workers.source import code_folder, code_identity
from workers.trial import MICRO, ErrorKind, TrialError, TrialSpec

if TYPE_CHECKING:
    from workers.model.kept_model import KeptModel

LOOKS_EVERY_S = 0.5
"""At `DRAIN_FILE`."""

ENDS_WORKER: tuple[ErrorKind, ...] = ("device", "out_of_memory")
"""Kinds of failure on a GPU that may stay with the process, as a broken context or memory that is
not given back; so Tune shall end it, as it does with each worker that raises."""


class TrialTrainable(tune.Trainable):
    """Runs the trials that it is given, see `orchestrator.running.messages`.

    What computes is imported inside functions: the driver only names this class to Ray, and does
    without torch, which takes more than a second to load.
    """

    signal: Any = None

    def setup(self, config: dict[str, Any], setup: Mapping[str, Any]) -> None:
        """Once a worker, before its first trial: `setup` is a `WorkerSetup`.

        Raises:
            SweepError: this worker would run other code than the driver planned with.
        """
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")  # into the worker's log
        logging.getLogger("workers").setLevel(logging.INFO)
        self.sweep = WorkerSetup.from_parameter(setup)
        refuse_other_code(self.sweep.code)
        self.store = ResultStore(self.sweep.results)
        self.node_id, self.shall_stop = self.connect(self.sweep.stop_signal)
        given = self.given_gpus() if self.sweep.use_gpu else ()
        self.gpu = ", ".join(map(str, given)) or None
        self.drain_file = os.environ.get(DRAIN_FILE)
        self.is_leaving = False
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run until the next report is due, or to the end of the trial."""
        if self.is_leaving:
            # For Tune a worker that died, so that it forgets it; the driver was told the reason.
            ray.actor.exit_actor()
        try:
            return self._advance().to_result()
        except TrialError as error:
            if self.sweep.use_gpu and error.kind in ENDS_WORKER:
                raise
            return self._fail(error.kind, error)
        except OSError as error:  # files, object stores, the hub
            return self._fail("storage", error)
        except Exception as error:  # the only broad one: a trial must not end the sweep
            if self.sweep.use_gpu:
                raise  # a fault on a GPU may stay with the process, so Tune shall end it
            return self._fail("unexpected", error)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: a trial's state is in its own checkpoint, beside the results."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, see `save_checkpoint`."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """The work of a trial; what benchmarks of the driver replace."""
        from workers.run import prepare_process, run_trial

        kept = None if self.kept_digest is None else self.read_model(self.kept_digest)
        num_threads = self.sweep.num_threads
        memory_bytes = _share_of_memory(num_threads)
        if self.sweep.use_gpu:
            refuse_other_gpus(self.given_gpus(), os.environ)
        share, kernels = min(self.sweep.gpus_per_trial, 1.0), self.sweep.kernels
        device = prepare_process(num_threads, self.sweep.use_gpu, memory_bytes, kernels, share)
        files = (self.checkpoint, kernels, self.prefix, self.model_file, kept)
        return (yield from run_trial(spec, device, *files))

    def read_model(self, digest: str) -> "KeptModel":
        """The kept model of the trial.

        Raises:
            TrialError: kind `bad_data`, when it is gone, damaged, or not the one that the stored
                scores are of.
        """
        from workers.model.kept_model import read_model_of

        trial_id = self.spec.trial_id()
        return read_model_of(self.store.model(trial_id), trial_id, digest)

    def connect(self, stop_signal: str) -> tuple[str, Callable[[], bool]]:
        """The id of this node, and what tells whether the sweep stops; what tests without a Ray
        that runs replace.

        Args:
            stop_signal: name of the actor that knows it.
        """
        self.signal = actor = ray.get_actor(stop_signal)

        def shall_stop() -> bool:
            try:
                return bool(ray.get(actor.is_set.remote()))
            except (ray.exceptions.ActorUnavailableError, ray.exceptions.OutOfMemoryError):
                return False  # its process was killed, and Ray starts another
            except ray.exceptions.RayActorError:  # it went with the driver's node
                return True

        return ray.get_runtime_context().get_node_id(), shall_stop

    def is_closed(self) -> bool:
        """Whether this place gets no more trials."""
        if self.signal is None:
            return False
        try:
            return bool(ray.get(self.signal.is_closed.remote(self.node_id, self.gpu)))
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
            return False  # its process was killed, which `shall_stop` looks at

    def given_gpus(self) -> Sequence[int | str]:
        """Ids of the GPUs that Ray gave to this worker; replaced as `connect` is."""
        given: list[int] | list[str] = ray.get_gpu_ids()
        return given

    def _begin(self, config: dict[str, Any]) -> None:
        from workers.checkpoint import Checkpoint
        from workers.model.kept_model import ModelFile
        from workers.prefix_file import PrefixFile

        assignment = Assignment.from_config(config)
        self.spec, self.start_by = assignment.spec(), assignment.start_by
        self.checkpoint = Checkpoint(
            self.store.checkpoint(assignment.trial_id),
            assignment.trial_id,
            self.sweep.checkpoint_every_s,
        )
        self.prefix: PrefixFile | None = None
        if (prefix := assignment.prefix) is not None:
            self.prefix = PrefixFile(self.store.prefix(prefix.prefix_id), prefix)
        self.kept_digest = assignment.model_digest
        self.model_file: ModelFile | None = None
        if self.sweep.keeps_models and self.kept_digest is None:
            self.model_file = ModelFile(self.store.model(assignment.trial_id))
        self.started_at = datetime.now(UTC)
        self.has_arrived, self.begins_s = False, time.monotonic() + assignment.wait_s
        self.is_held = False
        self.running = self.make_run(self.spec)

    def _advance(self) -> Report:
        if self._shall_leave():
            return self._leave(None)
        if not self.has_arrived:
            return self._arrive()
        if self.is_held:
            time.sleep(self.sweep.report_every_s)
            return self._report()
        begun = time.monotonic()
        due, looks = begun + self.sweep.report_every_s, begun + LOOKS_EVERY_S
        if self.begins_s > begun:
            time.sleep(min(self.begins_s, due) - begun)
            return self._report(ending=Stopped() if self.shall_stop() else None)
        while True:
            try:
                progress = next(self.running)
            except StopIteration as finished:
                return self._commit(finished.value)
            now = time.monotonic()
            if now >= due and self.shall_stop():
                self.running.close()  # saves its checkpoint
                return self._report(ending=Stopped())
            if now >= min(looks, due):
                looks = now + LOOKS_EVERY_S
                if self._shall_leave():
                    return self._leave(progress)
            if now >= due:
                return self._report(progress)

    def _arrive(self) -> Report:
        """The first report, which says where the trial runs; the only one of a trial that waited
        for a worker until it could not end in time any more."""
        self.has_arrived = True
        self.is_held = self.is_closed()
        if self.is_held:
            return self._report()
        if self.start_by is not None and time.time() > self.start_by:
            return self._report(ending=TooLate())
        return self._report()

    def _report(
        self,
        progress: Progress | None = None,
        ending: Ending | None = None,
        is_leaving: bool = False,
    ) -> Report:
        return Report(
            node_id=self.node_id,
            host=socket.gethostname(),
            gpu=self.gpu,
            progress=progress,
            is_held=self.is_held,
            is_leaving=is_leaving,
            unsaved=self._unsaved(),
            ending=ending,
        )

    def _unsaved(self) -> str | None:
        unkept = None if self.model_file is None else self.model_file.unkept
        return unkept or self.checkpoint.unsaved

    def _shall_leave(self) -> bool:
        return self.drain_file is not None and Path(self.drain_file).exists()

    def _leave(self, progress: Progress | None) -> Report:
        """The last report from this node, before the worker ends with its next step."""
        self.running.close()  # saves its checkpoint
        self.is_leaving = True
        return self._report(progress, is_leaving=True)

    def _commit(self, result: TrialResult) -> Report:
        model = self.model_file
        self.store.commit_completed(self.spec, result, model, **self._circumstances())
        self.checkpoint.delete()
        is_scored = result.scored_from_model
        completed = Completed(
            f1=_overall_f1(result, self.spec.languages),
            remark=_remark(result, self.spec),
            device=result.device,
            device_name=result.device_name,
            num_threads=result.num_threads,
            load_s=result.load_s,
            work_s=result.evaluate_s + (0.0 if is_scored else result.train_s),
            share=1.0 if is_scored else result.shared_steps / result.num_steps,
        )
        return self._report(ending=completed)

    def _fail(self, kind: ErrorKind, error: Exception) -> dict[str, Any]:
        self.running.close()
        if self.model_file is not None:
            self.model_file.discard()
        failed = Failed(
            kind=kind,
            message=" ".join(str(error).split()) or type(error).__name__,
            traceback="".join(traceback.format_exception(error)),
        )
        return self._report(ending=failed).to_result()

    def _circumstances(self) -> dict[str, Any]:
        return {
            "sweep": self.sweep.sweep_name,
            "asked_json": self.sweep.asked_json,
            "provenance": collect_provenance(),
            "started_at": self.started_at,
            "ended_at": datetime.now(UTC),
        }


def refuse_other_gpus(given: Sequence[int | str], environ: Mapping[str, str]) -> None:
    """A worker computes on the first GPU that it sees, which must be the one that it was given.

    Args:
        given: ids of the GPUs that Ray gave to this worker.
        environ: variables of this process.

    Raises:
        TrialError: kind `device`, when it sees others: it would compute where other trials do.
    """
    visible = visible_gpus(environ)
    if visible == [str(gpu) for gpu in given]:
        return
    seen = "all" if visible is None else ", ".join(visible) or "none"
    raise TrialError(
        "device",
        f"Ray gave this worker the GPU {', '.join(map(str, given)) or 'none'}, and it sees {seen} "
        f"(CUDA_VISIBLE_DEVICES: {environ.get('CUDA_VISIBLE_DEVICES', 'not set')}), where other "
        "trials compute; start Ray without RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES",
    )


def make_worker(
    trainable: type[tune.Trainable], setup: WorkerSetup, resources: Mapping[str, float]
) -> type[tune.Trainable]:
    """The class that Ray starts as a worker.

    Args:
        trainable: runs trials.
        setup: what is the same for all of them. Ray sends it once to each worker; Tune would send
            it with each trial.
        resources: of a trial, in Ray's terms.
    """
    with_setup = tune.with_parameters(trainable, setup=setup.to_parameter())
    worker: type[tune.Trainable] = tune.with_resources(with_setup, dict(resources))
    # Ray takes the title of a worker's process from its class, and nodes know workers by the title.
    worker.__name__ = worker.__qualname__ = f"Trial{TRIAL_TITLE}"
    return worker


def refuse_other_code(planned_with: str) -> None:
    """Trials are computed by the code that planned them, or not at all.

    Args:
        planned_with: the driver's `code_identity`.

    Raises:
        SweepError: this process found other code.
    """
    if (here := code_identity()) != planned_with:
        raise SweepError(
            f"the worker on {socket.gethostname()} found sparsweep {here} in {code_folder()}, the "
            f"driver runs {planned_with}; install the same sparsweep on all machines, and do not "
            "change it while a sweep runs"
        )


def _overall_f1(result: TrialResult, languages: Collection[str]) -> float | None:
    """Micro F1 on test, or else on validation; of several languages their mean.

    Args:
        result: of the trial.
        languages: those that it was trained on, the others do not count.
    """
    f1: dict[str, list[float]] = {}
    for score in result.scores:
        if score.language not in languages or score.f1 is None:
            continue
        if (score.subset, score.entity_type) == ("all", MICRO):
            f1.setdefault(score.split, []).append(score.f1)
    shown = f1.get("test", f1.get("validation", []))
    return fmean(shown) if shown else None


def _remark(result: TrialResult, spec: TrialSpec) -> str:
    """That not one entity is predicted on the split that is shown, of some language at least: such
    an F1 is not merely bad. Nothing as a rule."""
    micro = [
        score
        for score in result.scores
        if (score.subset, score.entity_type) == ("all", MICRO) and score.language in spec.languages
    ]
    shown = "test" if any(score.split == "test" for score in micro) else "validation"
    silent = [
        score.language
        for score in micro
        if score.split == shown and score.support and not score.num_predicted
    ]
    if not silent:
        return ""
    of_which = f" of {', '.join(silent)}" if len(spec.languages) > 1 else ""
    return f"no entity{of_which} predicted after {result.num_steps:,} steps"


def _share_of_memory(num_threads: int) -> int:
    """Bytes of the node's memory that fall to a worker with so many of its cores."""
    return usable_memory_bytes() * min(num_threads, usable_cpus()) // usable_cpus()
