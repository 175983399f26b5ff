"""Hands a list of trials to Ray Tune in order, and again those that shall be retried.

A searcher, not `grid_search`: Tune expands a grid of N dictionaries in O(N²) and, when workers are
reused, not in order. Retries are ours as well, not Tune's: it would start a trial again whatever
its error was.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.search import Searcher

from orchestrator.running.messages import Assignment


class OrderedSearcher(Searcher):
    """Suggests the given trials in their order.

    Args:
        assignments: one a trial.
        is_wanted: asked just before a trial is handed out; False skips it (another driver has
            finished it).
        is_stopping: True ends the search.
        admit: gives the assignment as it shall be handed out now, or None: not now, a later one
            may go first.
        is_better_later: tells of a trial that it is handed out only where no other one is left for
            which it says no.
        max_running: trials that are handed out at a time.
        on_none_admitted: called when nothing runs and none of those left is admitted, which ends
            the search.
    """

    def __init__(
        self,
        assignments: Iterable[Assignment],
        is_wanted: Callable[[Assignment], bool],
        is_stopping: Callable[[], bool],
        admit: Callable[[Assignment], Assignment | None] = lambda assignment: assignment,
        on_none_admitted: Callable[[], None] = lambda: None,
        is_better_later: Callable[[Assignment], bool] = lambda assignment: False,
        max_running: int | None = None,
    ):
        super().__init__()
        self._left = deque(assignments)
        self._running: set[str] = set()
        self._max_running = max_running
        self._is_wanted, self._is_stopping = is_wanted, is_stopping
        self._admit, self._on_none_admitted = admit, on_none_admitted
        self._is_better_later = is_better_later

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore it one day; a sweep is not restored but planned
        anew."""
        return {}

    @property
    def num_left(self) -> int:
        """Trials that have not been handed out, or came back."""
        return len(self._left)

    @property
    def num_handed_out(self) -> int:
        """Trials that run, or wait for a worker."""
        return len(self._running)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial; None while one that runs may still come back; else
        `Searcher.FINISHED`. `trial_id` is Tune's."""
        finished: str = Searcher.FINISHED
        if self._max_running is not None and len(self._running) >= self._max_running:
            return None
        while not self._is_stopping() and (assignment := self._next()) is not None:
            if self._is_wanted(assignment):
                self._running.add(trial_id)
                return assignment.to_config()
        if self._running and not self._is_stopping():
            return None
        if self._left and not self._is_stopping():
            self._on_none_admitted()
        return finished

    def retry(self, assignment: Assignment) -> None:
        """Hand this trial out next."""
        self._left.appendleft(assignment)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """One trial less that may come back."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Not saved, see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Not restored, see `__getstate__`."""

    def _next(self) -> Assignment | None:
        """Take the first that is admitted and not better later, or else the first that is
        admitted."""
        first: tuple[int, Assignment] | None = None
        for index, assignment in enumerate(self._left):
            admitted = self._admit(assignment)
            if admitted is None:
                continue
            if not self._is_better_later(assignment):
                first = index, admitted
                break
            first = first or (index, admitted)
        if first is None:
            return None
        index, admitted = first
        del self._left[index]
        return admitted
