"""Hands a list of trials to Ray Tune in order, and again those that shall be retried.

A searcher, not `grid_search`: Tune expands a grid of N dictionaries in O(N²) and, when workers are reused, not in
order. Retries are ours as well, not Tune's: it would start a trial again whatever its error was.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.search import Searcher

Config = dict[str, Any]


class OrderedSearcher(Searcher):
    """Suggests the given configurations in their order.

    Args:
        configs: one a trial.
        is_wanted: asked just before a trial is handed out; False skips it (another driver has finished it).
        is_stopping: True ends the search.
    """

    def __init__(self, configs: Iterable[Config], is_wanted: Callable[[Config], bool], is_stopping: Callable[[], bool]):
        super().__init__()
        self._left = deque(configs)
        self._running: set[str] = set()
        self._is_wanted, self._is_stopping = is_wanted, is_stopping

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore it one day; a sweep is not restored but planned anew."""
        return {}

    def suggest(self, trial_id: str) -> Config | str | None:
        """The next configuration; None while one that runs may still come back; else `Searcher.FINISHED`."""
        while self._left and not self._is_stopping():
            config = self._left.popleft()
            if self._is_wanted(config):
                self._running.add(trial_id)
                return config
        return None if self._running and not self._is_stopping() else Searcher.FINISHED

    def retry(self, config: Config) -> None:
        """Hand this configuration out next."""
        self._left.appendleft(config)

    def on_trial_complete(self, trial_id: str, result: Config | None = None, error: bool = False) -> None:
        """One trial less that may come back."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Not saved, see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Not restored, see `__getstate__`."""
