"""First steps that trials of a run have in common: who computes them, and whose file can go.

A trial is best begun when another one has left the state that it starts from. Yet none waits for
that: where only such trials are left, they compute these steps as well.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from orchestrator.results.store import ResultStore
from workers.pruning.prefix import SharedPrefix


class Prefixes:
    """What the trials of one run share.

    Args:
        prefixes: by trial id, see `orchestrator.planning.sharing`.
        store: where the files are.
    """

    def __init__(self, prefixes: Mapping[str, SharedPrefix], store: ResultStore):
        self._prefixes, self._store = prefixes, store
        self._left = Counter(prefix.prefix_id for prefix in prefixes.values())
        self._computing: dict[str, set[str]] = defaultdict(set)  # trials by prefix
        self._passed: set[str] = set()  # prefixes that a trial has behind it

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep files in the block, and remove all of them after it; files of runs that were killed
        are removed before it, but for those that this one uses."""
        ids = {prefix.prefix_id for prefix in self._prefixes.values()}
        with contextlib.suppress(OSError):
            for unused in self._store.prefix_ids() - ids:
                self._delete(unused)
        try:
            yield
        finally:
            for left in +self._left:
                self._delete(left)

    def of(self, trial_id: str) -> SharedPrefix | None:
        """What a trial shares; None: nothing."""
        return self._prefixes.get(trial_id)

    def is_awaited(self, trial_id: str) -> bool:
        """Whether another trial computes the steps at this moment that this one would start
        with."""
        prefix = self.of(trial_id)
        return prefix is not None and bool(self._computing[prefix.prefix_id] - {trial_id})

    def begins(self, trial_id: str) -> None:
        """The trial is handed out."""
        prefix = self.of(trial_id)
        if prefix is not None and prefix.prefix_id not in self._passed:
            self._computing[prefix.prefix_id].add(trial_id)

    def reached(self, trial_id: str, step: int) -> None:
        """The trial has done so many steps."""
        prefix = self.of(trial_id)
        if prefix is not None and step > prefix.num_steps:
            self._passed.add(prefix.prefix_id)
            self._computing.pop(prefix.prefix_id, None)

    def pauses(self, trial_id: str) -> None:
        """The attempt at the trial is over, whatever its end was."""
        if (prefix := self.of(trial_id)) is not None:
            self._computing[prefix.prefix_id].discard(trial_id)

    def is_over(self, trial_id: str) -> None:
        """The trial runs no more; the file goes with the last that might start from it."""
        if (prefix := self.of(trial_id)) is None:
            return
        self._left[prefix.prefix_id] -= 1
        if not self._left[prefix.prefix_id]:
            self._delete(prefix.prefix_id)

    def _delete(self, prefix_id: str) -> None:
        # A file that stays takes space until the next run, and is no reason to stop this one.
        with contextlib.suppress(OSError):
            self._store.prefix(prefix_id).delete()
