"""What becomes of an attempt at a trial: its result counts, it is tried again, or it failed.

The results keep every attempt that did not end with a result. A trial that shall run again is given
back to whoever hands trials out.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.planning.plan import PlannedTrial
from orchestrator.provenance import collect_provenance
from orchestrator.results.store import ResultStore
from orchestrator.running.common_cause import CommonCause
from orchestrator.running.hangs import Silence
from orchestrator.running.messages import Assignment, Completed, Failed
from orchestrator.running.places import NO_MORE, Place, Places
from orchestrator.running.progress import SweepProgress
from orchestrator.spec.sweep_spec import SweepSpec
from workers.trial import ErrorKind

RETRIED_KINDS: tuple[ErrorKind, ...] = ("storage", "worker_died", "device")
"""Kinds of failure that a second try may not meet again; the others would only fail again."""

FIRST_WAIT_S, WAIT_GROWTH = 2.0, 5.0
"""How long a second attempt waits, and by how much longer each further one: 2, 10, 50 seconds."""

MAX_NODE_LOSSES = 10
"""Nodes that may be lost under one trial in one run without counting as its attempts. A node that
announces that it leaves never counts, so ten that vanish under the same trial are rather its doing:
it may take its node down with it."""


@dataclass
class Attempt:
    """A try at a trial, from the moment when a worker is given it.

    Attributes:
        assignment: what the worker was given.
        started_at: when.
        place: where it runs; None until the worker has told it.
        is_leaving: whether its node is about to leave.
        worker: Ray's handle of the worker; None: none was given the trial.
        silence: how long the worker has said nothing.
        is_hanging: whether that was too long, so that the worker was ended.
    """

    assignment: Assignment
    started_at: datetime
    place: Place | None = None
    is_leaving: bool = False
    worker: Any = None
    silence: Silence = field(default_factory=lambda: Silence(time.monotonic()))
    is_hanging: bool = False

    @property
    def node_id(self) -> str | None:
        """Ray's id of the worker's node."""
        return None if self.place is None else self.place.node_id

    @property
    def host(self) -> str | None:
        """Name of the worker's node."""
        return None if self.place is None else self.place.host

    @property
    def trial_id(self) -> str:
        """Id of the trial."""
        return self.assignment.trial_id


class Outcomes:
    """Records how attempts end, and decides whether their trials are tried again.

    Args:
        sweep: the sweep.
        trials: those that are run.
        store: where results are.
        progress: shows what happens.
        give_back: takes trials that shall be handed out again.
        num_workers: trials that run at a time.
        stop: stops the sweep, for the reason given.
        close: keeps trials off a place.
        is_over: learns which trials run no more.
        nodes: tells which nodes can take a trial now; None: those that have shown themselves.

    Until a trial succeeds, failures are not committed: they may turn out to have a common cause,
    and then their trials stay new. Call `close` at the end.
    """

    def __init__(
        self,
        sweep: SweepSpec,
        trials: Iterable[PlannedTrial],
        store: ResultStore,
        progress: SweepProgress,
        give_back: Callable[[Assignment], None],
        num_workers: int = 1,
        stop: Callable[[str], None] = lambda reason: None,
        close: Callable[[Place], None] = lambda place: None,
        is_over: Callable[[str], None] = lambda trial_id: None,
        nodes: Callable[[], Collection[Place]] | None = None,
    ):
        self.sweep, self.store, self.progress = sweep, store, progress
        self._asked_json = sweep.model_dump_json()
        self._specs = {trial.trial_id: trial.spec for trial in trials}
        self._give_back, self._stop, self._close = give_back, stop, close
        self._is_over, self._nodes = is_over, nodes
        self._places = Places(num_workers)
        self._forgiven: Counter[str] = Counter()  # attempts in places that were closed, by trial
        self._common = CommonCause(len(self._specs), num_workers, sweep.languages)
        self._held: list[tuple[Attempt, Failed]] = []

    def arrived(self, attempt: Attempt) -> None:
        """The attempt has a place."""
        if attempt.place is not None:
            self._places.seen(attempt.place)
            if attempt.place in self._places.closed:
                self._close(attempt.place)  # who keeps trials off may have forgotten it

    def completed(self, attempt: Attempt, completed: Completed) -> None:
        """The worker stored the trial's result, which must then be among those that the driver
        sees."""
        if self.store.has(self._specs[attempt.trial_id]):
            self._common.succeeded()
            if attempt.place is not None:
                self._places.succeeded(attempt.place)
            self._commit_held()
            self.progress.completed(
                attempt.trial_id,
                completed.f1,
                completed.timing,
                completed.remark,
            )
            self._is_over(attempt.trial_id)
            return
        message = (
            f"the worker on {attempt.host} wrote its results where the driver does not see them; "
            "give a results location that all machines share"
        )
        self.failed(attempt, Failed(kind="bad_data", message=message, traceback=None))

    def stopped(self, attempt: Attempt, reason: str | None) -> None:
        """The trial saved its state because the sweep stops; it is left for the next run."""
        self._record(
            attempt, Failed(kind="stopped", message=f"stopped by {reason}", traceback=None)
        )
        self.progress.stopped(attempt.trial_id)

    def too_late(self, attempt: Attempt) -> None:
        """The trial was not begun, since it could not have ended in time; a later one may go
        first."""
        self.progress.put_back(attempt.trial_id)
        self._give_back(attempt.assignment)

    def departed(self, attempt: Attempt) -> None:
        """The trial saved its state because its node leaves. It goes on elsewhere as soon as there
        is a worker, and this does not count as an attempt."""
        message = f"its node {attempt.host} leaves"
        self._record(attempt, Failed(kind="stopped", message=message, traceback=None))
        self.progress.moved(attempt.trial_id, message)
        self._give_back(attempt.assignment)

    def node_lost(self, attempt: Attempt, details: str) -> None:
        """The worker was lost with its node, which does not count as an attempt of its trial, up to
        `MAX_NODE_LOSSES`.

        Args:
            attempt: that ended so.
            details: what Ray says of it.
        """
        num_losses = attempt.assignment.num_node_losses + 1
        message = f"the node {attempt.host or 'of its worker'} was lost"
        if num_losses > MAX_NODE_LOSSES:
            message = f"{message}, the {num_losses}th under this trial in this run"
            self.failed(attempt, Failed(kind="worker_died", message=message, traceback=details))
            return
        lost = Failed(kind="worker_died", message=message, traceback=details)
        self._retry(attempt, lost, replace(attempt.assignment, num_node_losses=num_losses))

    def hung(self, attempt: Attempt) -> None:
        """The worker said nothing for too long and was ended; see `orchestrator.running.hangs`."""
        on_gpu = attempt.place is not None and attempt.place.gpu is not None
        minutes = attempt.silence.silent_s / 60
        message = (
            f"the worker on {attempt.host} said nothing for {minutes:.0f} minutes, and was ended"
        )
        kind: ErrorKind = "device" if on_gpu else "worker_died"
        self.failed(attempt, Failed(kind=kind, message=message, traceback=None))

    def failed(self, attempt: Attempt, failed: Failed) -> None:
        """Try again if that may help and the sweep allows it; else commit the trial as failed.

        Where all fail alike, the sweep is stopped and they are left new.
        """
        if self._common.is_met(attempt.trial_id, failed, self.progress.steps()):
            self._stop(str(self._common.found))
            self._held.append((attempt, failed))
            self._leave_held_new()
            return
        if self._closes_its_place(attempt, failed):
            return
        tried = attempt.assignment.attempt - self._forgiven[attempt.trial_id]
        if self._may_pass(failed.kind) and tried <= self.sweep.resources.max_retries:
            wait_s = FIRST_WAIT_S * WAIT_GROWTH ** (tried - 1)
            number = attempt.assignment.attempt + 1
            again = replace(attempt.assignment, attempt=number, wait_s=wait_s)
            self._retry(attempt, failed, again)
            return
        self.progress.failed(attempt.trial_id, failed.kind, failed.message)
        self._held.append((attempt, failed))
        self._commit_held()

    def close(self) -> None:
        """Commit failures of which nothing showed that they are not their trials' own."""
        while self._held:
            self._commit(self._held[0])
            del self._held[0]

    def _commit_held(self) -> None:
        """Commit failures that turned out to be their trials' own."""
        for held in () if self._common.is_possible else list(self._held):
            place, kind = held[0].place, held[1].kind
            is_open = place is not None and self._places.is_suspected(place)
            if not (is_open and kind in RETRIED_KINDS):
                self._commit(held)
                self._held.remove(held)

    def _commit(self, held: "tuple[Attempt, Failed]") -> None:
        attempt, failed = held
        spec = self._specs[attempt.trial_id]
        self.store.commit_failed(spec, **self._columns(attempt, failed))
        self.store.checkpoint(attempt.trial_id).delete()
        self._is_over(attempt.trial_id)

    def _closes_its_place(self, attempt: Attempt, failed: Failed) -> bool:
        """Keep trials off a place where they fail one after another, and forget that they did."""
        place = attempt.place
        if place is None or failed.kind not in RETRIED_KINDS:
            return False
        is_shared = place.gpu is not None and self._share_gpus()
        shared_since = attempt.started_at if is_shared else None
        if self._nodes is not None:
            self._places.present(self._nodes())
        if not self._places.closes(place, attempt.trial_id, shared_since):
            return False
        failures = self._places.failures(place)
        cause = f"{len(failures)} trials in a row failed there: {failed.kind}: {failed.message}"
        self.progress.closed(f"{place} {NO_MORE}: {cause}")
        message = f"{failed.message}; {place} {NO_MORE}"
        self._forgiven.update(failures)
        again, self._held = self._held, []
        self._held = [held for held in again if held[0].place != place]
        not_theirs = [held for held in again if held[0].place == place]
        not_theirs.append((attempt, replace(failed, message=message)))
        if self._places.are_all_closed:
            self._stop(f"no place is left that computes; mend {place}, where {cause}")
            self._held += not_theirs
            self._leave_held_new()
            return True
        self._close(place)
        for held in not_theirs:
            self._retry(*held, replace(held[0].assignment, wait_s=0.0))
        return True

    def _leave_held_new(self) -> None:
        while self._held:
            attempt, failed = self._held.pop()
            self._record(attempt, failed)
            self.progress.stopped(attempt.trial_id)

    def _may_pass(self, kind: ErrorKind) -> bool:
        """Whether the failure says little about the trial: also memory that trials share, where one
        takes what another lacks."""
        return kind in RETRIED_KINDS or (kind == "out_of_memory" and self._share_gpus())

    def _share_gpus(self) -> bool:
        return 0 < (self.sweep.resources.gpus_per_trial or 0) < 1

    def _retry(self, attempt: Attempt, failed: Failed, again: Assignment) -> None:
        self._record(attempt, failed)
        self.progress.retried(attempt.trial_id, failed.kind, failed.message)
        self._give_back(again)

    def _record(self, attempt: Attempt, failed: Failed) -> None:
        spec = self._specs[attempt.trial_id]
        self.store.record_attempt(spec, **self._columns(attempt, failed))

    def _columns(self, attempt: Attempt, failed: Failed) -> dict[str, Any]:
        """What the store keeps of an attempt that ends now."""
        return {
            "kind": failed.kind,
            "message": failed.message,
            "traceback": failed.traceback,
            "sweep": self.sweep.name,
            "asked_json": self._asked_json,
            "provenance": collect_provenance() | ({"host": attempt.host} if attempt.host else {}),
            "started_at": attempt.started_at,
            "ended_at": datetime.now(UTC),
        }
