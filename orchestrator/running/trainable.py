"""The class that Ray starts once a worker and uses for trial after trial.

The first `step` of a trial says on which node it is; each further one runs it for half a second and
reports how far it is; the last one commits the result. Whatever goes wrong inside a trial ends
here, as a report of what it was; the driver decides whether it is tried again. Only the death of
the process itself is left for the driver to notice.

On a node that is about to leave (see `DRAIN_FILE`) a worker saves its trial's checkpoint, reports
that it leaves, and ends with its next step. It must end: Ray Tune would otherwise hand it the next
trial.
"""

import logging
import os
import time
import traceback
from collections.abc import Generator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import ray
from ray import tune

from cluster.contract import DRAIN_FILE
from orchestrator.provenance import collect_provenance
from orchestrator.results.store import ResultStore
from workers.checkpoint import Checkpoint
from workers.result import Progress, TrialResult
from workers.run import prepare_process, run_trial
from workers.trial import MICRO, ErrorKind, TrialError, TrialSpec

REPORT_EVERY_S = 0.5


class TrialTrainable(tune.Trainable):
    """Runs trials as `config` describes them, see `orchestrator.running.driver`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Once a worker, before its first trial."""
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")  # into the worker's log
        logging.getLogger("workers").setLevel(logging.INFO)
        self.resources = (config["num_threads"], config["use_gpu"])
        self.stop_signal = ray.get_actor(config["stop_signal"])
        self.node_id = ray.get_runtime_context().get_node_id()
        self.drain_file = os.environ.get(DRAIN_FILE)
        self.is_leaving = False
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in the same process."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run for half a second, or to the end of the trial."""
        if self.is_leaving:
            ray.actor.exit_actor()  # to Tune a worker that died, so that it forgets it; the driver knows better
        try:
            return self._advance()
        except TrialError as error:
            return self._fail(error.kind, error)
        except OSError as error:  # files, object stores, the hub
            return self._fail("storage", error)
        except (
            Exception
        ) as error:  # the one broad except: a trial's failure must not stop the sweep
            if self.resources[1]:
                raise  # a fault on a GPU may stay with the process, so Tune shall end it
            return self._fail("unexpected", error)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: a trial's state is in its own checkpoint, beside the results."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, see `save_checkpoint`."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """The work of a trial; what benchmarks of the driver replace."""
        return (
            yield from run_trial(
                spec, prepare_process(*self.resources), self.checkpoint, self.kernels
            )
        )

    def _begin(self, config: dict[str, Any]) -> None:
        self.spec = TrialSpec.from_json(config["trial"])
        self.store = ResultStore(config["results"])
        self.sweep, self.asked_json = config["sweep"], config["asked_json"]
        self.kernels = config["kernels"]
        self.checkpoint = Checkpoint(
            self.store.checkpoint(self.spec.trial_id()),
            self.spec.trial_id(),
            config["checkpoint_every_s"],
        )
        self.start_by = config["start_by"]
        self.started_at = datetime.now(UTC)
        self.has_arrived = False
        self.running = self.make_run(self.spec)

    def _advance(self) -> dict[str, Any]:
        if self._shall_leave():
            return self._leave(None)
        if not self.has_arrived:
            return self._arrive()
        until = time.monotonic() + REPORT_EVERY_S
        while True:
            try:
                progress = next(self.running)
            except StopIteration as finished:
                return self._commit(finished.value)
            if time.monotonic() >= until:
                if self._shall_stop():
                    self.running.close()  # saves its checkpoint
                    return {"done": True, "outcome": "stopped"}
                if self._shall_leave():
                    return self._leave(progress)
                return {"done": False, "progress": asdict(progress)}

    def _arrive(self) -> dict[str, Any]:
        """Say where the trial runs; not at all where it waited for a worker until it could not end
        in time any more."""
        self.has_arrived = True
        if self.start_by is not None and time.time() > self.start_by:
            return {"done": True, "outcome": "too_late"}
        return {"done": False, "node_id": self.node_id}

    def _shall_leave(self) -> bool:
        return self.drain_file is not None and Path(self.drain_file).exists()

    def _leave(self, progress: Progress | None) -> dict[str, Any]:
        """The last report from this node, before the worker ends with its next step."""
        self.running.close()  # saves its checkpoint
        self.is_leaving = True
        where = {} if progress is None else {"progress": asdict(progress)}
        return {"done": False, "node_id": self.node_id, "is_leaving": True, **where}

    def _shall_stop(self) -> bool:
        try:
            return bool(ray.get(self.stop_signal.is_set.remote()))
        except ray.exceptions.RayActorError:  # it went with the driver's node
            return True

    def _commit(self, result: TrialResult) -> dict[str, Any]:
        is_first = self.store.commit_completed(self.spec, result, **self._circumstances())
        self.checkpoint.delete()
        return {
            "done": True,
            "outcome": "completed" if is_first else "duplicate",
            "f1": _overall_f1(result),
            "seconds": result.load_s + result.train_s + result.evaluate_s,
        }

    def _fail(self, kind: ErrorKind, error: Exception) -> dict[str, Any]:
        self.running.close()
        return {
            "done": True,
            "outcome": "failed",
            "kind": kind,
            "message": " ".join(str(error).split()) or type(error).__name__,
            "traceback": "".join(traceback.format_exception(error)),
        }

    def _circumstances(self) -> dict[str, Any]:
        return {
            "sweep": self.sweep,
            "asked_json": self.asked_json,
            "provenance": collect_provenance(),
            "started_at": self.started_at,
            "ended_at": datetime.now(UTC),
        }


def _overall_f1(result: TrialResult) -> float | None:
    """Micro F1 on test, or else on validation; of several languages their mean."""
    f1: dict[str, list[float]] = {}
    for score in result.scores:
        if (score.subset, score.entity_type) == ("all", MICRO) and score.f1 is not None:
            f1.setdefault(score.split, []).append(score.f1)
    shown = f1.get("test", f1.get("validation", []))
    return fmean(shown) if shown else None
