"""Where trials run, and where too many in a row failed for causes that are not their own.

A sick GPU or node fails each trial within seconds and is free for the next one at once, so a single
one would go through a whole sweep. Pure: no Ray.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.running.common_cause import FEWEST

IN_A_ROW = 2
"""Trials that must have failed in a row in a place until it gets no more; in the last one that is
left, as many as there are workers and at least `FEWEST`, since there is no elsewhere."""

NO_MORE = "gets no more trials"
"""How an attempt's message says that it closed its place, by which `status` finds it."""


@dataclass(frozen=True)
class Place:
    """A GPU of a node, or a node that has none.

    Attributes:
        node_id: Ray's id of the node.
        host: the node's name.
        gpu: Ray's ids of the GPUs that a worker was given there; None: none, or a worker died
            before it told, which counts for its whole node.
    """

    node_id: str
    host: str = field(compare=False)
    gpu: str | None = None

    def __str__(self) -> str:
        return self.host if self.gpu is None else f"GPU {self.gpu} of {self.host}"


class Places:
    """Counts what failed where.

    Args:
        num_workers: trials that run at a time.
    """

    def __init__(self, num_workers: int):
        self._enough_for_the_last = max(FEWEST, num_workers)
        self._failed: dict[Place, list[str]] = {}
        self._faults: dict[Place, set[str]] = {}  # those of `_failed` that count
        self._last_fault_at: dict[Place, datetime] = {}
        self.closed: set[Place] = set()

    def seen(self, place: Place) -> None:
        """A worker runs there."""
        self._failed.setdefault(place, [])

    def present(self, nodes: Collection[Place]) -> None:
        """These nodes can take trials now, and no others. The first worker of one may be slow to
        start, and there is elsewhere all the same; on one that is gone there is not."""
        node_ids = {node.node_id for node in nodes}
        for place in [place for place in self._failed if place.node_id not in node_ids]:
            del self._failed[place]
        for node in nodes:
            self.seen(node)

    def succeeded(self, place: Place) -> None:
        """A trial was completed there."""
        self._failed[place] = []
        self._faults.pop(place, None)

    def is_suspected(self, place: Place) -> bool:
        """Whether the last trial there failed."""
        return bool(self._failed.get(place))

    def closes(self, place: Place, trial_id: str, shared_since: datetime | None = None) -> bool:
        """Count a trial that failed there for a cause that is not its own. Whether the place shall
        get no more trials from now on.

        One trial that fails again and again does not close a place: it may be its own doing. Nor do
        trials that one fault ends together, as it does where they share a GPU.

        Args:
            place: where it failed, just now.
            trial_id: the trial.
            shared_since: when it began, where others run in the same place; None: none do.
        """
        self._failed.setdefault(place, []).append(trial_id)
        last = self._last_fault_at.get(place)
        counted = self._faults.setdefault(place, set())
        if shared_since is None or last is None or shared_since >= last:
            counted.add(trial_id)
            self._last_fault_at[place] = datetime.now(UTC)
        elsewhere = {
            other
            for other in self._open() - {place}
            if place.gpu is not None or other.node_id != place.node_id
        }
        enough = IN_A_ROW if elsewhere else self._enough_for_the_last
        if place in self.closed or len(counted) < enough:
            return False
        self.closed.add(place)
        return True

    def failures(self, place: Place) -> list[str]:
        """Ids of the trials that failed in a row there, one an attempt."""
        return list(self._failed.get(place, ()))

    @property
    def are_all_closed(self) -> bool:
        """Whether no place is known that takes trials."""
        return not self._open()

    def _open(self) -> set[Place]:
        """Known places that take trials; of nodes with GPUs, these."""
        with_gpu = {place.node_id for place in self._failed if place.gpu is not None}
        whole = {place.node_id for place in self.closed if place.gpu is None}
        return {
            place
            for place in self._failed.keys() - self.closed
            if place.node_id not in whole
            and (place.gpu is not None or place.node_id not in with_gpu)
        }
