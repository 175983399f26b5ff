"""Which trial Ray Tune gives to a worker that has become free.

Trials that wait are those whose workers are still starting. Tune's own scheduler gives the free
worker to the one that waits longest, and Tune then ends the worker that was starting for it. Where
trials are short beside a start, or many workers end trials while a few start, that goes on: one
worker after another is ended before it could begin.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class NewestFirst(FIFOScheduler):
    """Chooses the trial that was handed out last, for which no worker is starting yet.

    The order of trials is that of `orchestrator.running.searcher` all the same: no more are handed
    out than there is room for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[str, int] = {}  # by Tune's ids of trials

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Tune was handed the trial."""
        self._order[trial.trial_id] = len(self._order)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The newest of those that wait; None: none does. Tune asks many times a second, so those
        that have ended are not looked at."""
        live = tune_controller.get_live_trials()
        waiting = [trial for trial in live if trial.status == Trial.PENDING]
        return max(waiting, key=lambda trial: self._order[trial.trial_id], default=None)
