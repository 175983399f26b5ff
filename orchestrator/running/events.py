"""What Ray Tune tells of trials, passed on to the sweep: progress, outcomes, workers that died and
nodes that left."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle, tune

from orchestrator.running.nodes import ClusterWatch, is_node_loss
from orchestrator.running.searcher import OrderedSearcher
from workers.result import Progress
from workers.trial import ErrorKind

if TYPE_CHECKING:
    from orchestrator.running.driver import Sweep

PATIENCE_S = 60.0


class SweepCallback(tune.Callback):
    """Tells the sweep's progress what happens, and hands failures to the sweep.

    Trials are known here by Tune's ids, a new one each time a trial is handed out.

    Args:
        sweep: the sweep.
        searcher: takes trials that come back.

    `watch` is set once there is one.
    """

    def __init__(self, sweep: "Sweep", searcher: OrderedSearcher):
        self.sweep, self.searcher = sweep, searcher
        self.watch: ClusterWatch | None = None
        self.started_at: dict[str, datetime] = {}
        self.nodes: dict[str, tuple[str, str]] = {}
        self.leaving: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its parts to restore them one day; a sweep is not restored but planned
        anew."""
        return {}

    def busy_nodes(self) -> set[str] | None:
        """Ids of the nodes on which trials run; None while a trial is left, waits for a worker or
        is just arriving."""
        if self.searcher.num_left or not self.searcher.num_handed_out == len(
            self.started_at
        ) == len(self.nodes):
            return None
        return {node_id for node_id, _ in list(self.nodes.values())}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """A worker has it."""
        self.started_at[trial.trial_id] = datetime.now(UTC)
        self.sweep.progress.started(trial.config["trial_id"])

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """It told where it is; its last report comes as `on_trial_complete`."""
        if "node_id" in result:
            self.nodes[trial.trial_id] = (result["node_id"], result["hostname"])
        if "progress" in result:
            progress = Progress(**result["progress"])
            self.sweep.progress.updated(trial.config["trial_id"], progress, result["hostname"])
        if result.get("is_leaving"):
            self.leaving.add(trial.trial_id)
            if self.watch:
                self.watch.leaves(result["node_id"])

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """It came to an end that the worker could report, or was stopped."""
        result, trial_id = trial.last_result, trial.config["trial_id"]
        if result["outcome"] == "failed":
            self._failed(trial, result["kind"], result["message"], result["traceback"])
        elif result["outcome"] == "stopped":
            self._failed(trial, "stopped", f"stopped by {self.sweep.stop_reason}", None)
        elif result["outcome"] == "too_late":
            self.sweep.progress.put_back(trial_id)
            self.searcher.retry(trial.config)
        elif self.sweep.store.is_completed(trial_id):
            self.sweep.handle_completed(trial_id, result["f1"], result["seconds"])
        else:
            where = f"the worker on {result['hostname']} wrote its results where the driver does not see them"
            self._failed(
                trial, "bad_data", f"{where}; give a results location that all machines share", None
            )
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Its worker left or died, or could not even start the trial."""
        node_id, host = self.nodes.get(trial.trial_id, (None, None))
        error, details = _read_error(trial)
        if trial.trial_id in self.leaving:
            message = f"its node {host} leaves"
            self.sweep.handle_departure(
                self.searcher, trial.config, self._started_at(trial), message
            )
        elif self._is_node_loss(error, node_id):
            message = f"the node {host} was lost" if host else "the node of its worker was lost"
            self.sweep.handle_node_loss(
                self.searcher, trial.config, self._started_at(trial), message, details
            )
        else:
            self._failed(trial, *_describe_error(error, details), details)
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

    def _failed(self, trial: Any, kind: ErrorKind, message: str, details: str | None) -> None:
        self.sweep.handle_failure(
            self.searcher, trial.config, self._started_at(trial), kind, message, details
        )

    def _started_at(self, trial: Any) -> datetime:
        return self.started_at.get(trial.trial_id, datetime.now(UTC))

    def _forget(self, trial: Any) -> None:
        self.started_at.pop(trial.trial_id, None)
        self.nodes.pop(trial.trial_id, None)
        self.leaving.discard(trial.trial_id)


class StopWhenNoneRuns(tune.Stopper):
    """Ends Tune's run once the sweep stops and no worker has a trial, even if one waits for a node
    that may not come.

    Trials that run report that they stopped, see `orchestrator.running.trainable`. One that does
    not for `PATIENCE_S` has lost its node, or hangs; it is given up and goes on from its last
    checkpoint when the sweep is run again.
    """

    def __init__(self, sweep: "Sweep", callback: SweepCallback):
        self.sweep, self.callback = sweep, callback

    def __getstate__(self) -> dict[str, Any]:
        """See `SweepCallback`."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to end one trial: never, they end themselves."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all."""
        return self.sweep.is_stopping and (
            not self.callback.started_at or self.sweep.stopping_s > PATIENCE_S
        )


def _read_error(trial: Any) -> tuple[Exception | None, str]:
    """What Tune caught, and its text."""
    details = Path(trial.error_file).read_text()
    error = (
        cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        if trial.pickled_error_file
        else None
    )
    return error, details


def _describe_error(error: Exception | None, details: str) -> tuple[ErrorKind, str]:
    """Kind and message: a dead worker, or a fault outside the trial itself."""
    if isinstance(error, ray.exceptions.RayActorError | ray.exceptions.OutOfMemoryError):
        return "worker_died", f"the worker process died: {_reason_of_death(str(error))}"
    return "unexpected", details.strip().splitlines()[-1]


def _reason_of_death(text: str) -> str:
    """What Ray found out, without its ids and its guesses at causes."""
    detail = text.partition("Worker exit detail: ")[2] or text
    return " ".join(detail.partition(" Some common causes")[0].split())
