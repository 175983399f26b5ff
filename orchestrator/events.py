"""What Ray Tune tells of trials, passed on to the sweep: progress, outcomes, and workers that died."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle, tune

from orchestrator.searcher import OrderedSearcher
from workers.trial import ErrorKind, Progress

if TYPE_CHECKING:
    from orchestrator.driver import Sweep


class SweepCallback(tune.Callback):
    """Tells the sweep's progress what happens, and hands failures to the sweep."""

    def __init__(self, sweep: "Sweep", searcher: OrderedSearcher):
        self.sweep, self.searcher = sweep, searcher
        self.started_at: dict[str, datetime] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts to restore them one day; a sweep is not restored but planned anew."""
        return {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """A worker has it."""
        self.started_at[trial.trial_id] = datetime.now(UTC)
        self.sweep.progress.started(trial.config["trial_id"])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        """It told where it is; its last report comes as `on_trial_complete`."""
        if "progress" in result:
            progress = Progress(**result["progress"])
            self.sweep.progress.updated(trial.config["trial_id"], progress, result["hostname"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """It came to an end that the worker could report, or was stopped."""
        result, trial_id = trial.last_result, trial.config["trial_id"]
        if result["outcome"] == "failed":
            self._failed(trial, result["kind"], result["message"], result["traceback"])
        elif result["outcome"] == "stopped":
            self._failed(trial, "stopped", f"stopped by {self.sweep.stop_reason}", None)
        elif self.sweep.store.is_completed(trial_id):
            self.sweep.progress.completed(trial_id, result["f1"])
        else:
            where = f"the worker on {result['hostname']} wrote its results where the driver does not see them"
            self._failed(trial, "bad_data", f"{where}; give a results location that all machines share", None)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Its worker died, or could not even start the trial."""
        self._failed(trial, *_describe_error(trial))

    def _failed(self, trial: Any, kind: ErrorKind, message: str, details: str | None) -> None:
        started_at = self.started_at.get(trial.trial_id, datetime.now(UTC))
        self.sweep.handle_failure(self.searcher, trial.config, started_at, kind, message, details)


def _describe_error(trial: Any) -> tuple[ErrorKind, str, str]:
    """Kind, message and details of what Tune caught: a dead worker, or a fault outside the trial itself."""
    details = Path(trial.error_file).read_text()
    error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()) if trial.pickled_error_file else None
    if isinstance(error, ray.exceptions.RayActorError | ray.exceptions.OutOfMemoryError):
        return "worker_died", f"the worker process died: {_reason_of_death(str(error))}", details
    return "unexpected", details.strip().splitlines()[-1], details


def _reason_of_death(text: str) -> str:
    """What Ray found out, without its ids and its guesses at causes."""
    detail = text.partition("Worker exit detail: ")[2] or text
    return " ".join(detail.partition(" Some common causes")[0].split())
