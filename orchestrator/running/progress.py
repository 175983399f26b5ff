"""How far a running sweep is: what is done, what runs now, how long it will take, what failed.

`SweepProgress` is told what happens, and knows nothing of Ray or of screens;
`orchestrator.running.views` shows it. What is said after the end is up to the command.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from cluster.contract import Counts
from orchestrator.planning.capacity import wall_s
from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import NOT_TOLD, Kind, Speed, Speeds, Timing
from orchestrator.wording import duration
from workers.result import Progress
from workers.trial import TrialSpec

TrialEventKind = Literal["started", "done", "failed", "retry", "moved", "stopped"]
SweepEventKind = Literal["stopping", "limited", "closed", "unsaved", "waiting"]
EventKind = TrialEventKind | SweepEventKind


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial that has been started and has not ended. Times in seconds of the sweep's clock.

    Attributes:
        planned: the trial.
        host: the machine; None: not known.
        started_s: when a worker was given it.
        progress: what was reported last.
        fraction: how much of it was done then.
        reported_s: when that was.
        first_fraction: how much of it was done when it was first heard of: what an earlier run did
            says nothing about how fast this one is.
        first_s: when it was first heard of.
    """

    planned: PlannedTrial
    host: str | None
    started_s: float
    progress: Progress | None = None
    fraction: float = 0.0
    reported_s: float = 0.0
    first_fraction: float = 0.0
    first_s: float = 0.0

    @property
    def is_loading(self) -> bool:
        """Whether it has not trained yet."""
        return self.progress is None or self.progress.phase == "loading"

    @property
    def work(self) -> float:
        """Cost that this run has worked off."""
        return (self.fraction - self.first_fraction) * self.planned.cost

    def left_s(self, speed: Speed) -> float:
        """Seconds that it still takes, at this speed."""
        if self.is_loading:
            return speed.expected_s(self.planned)
        left = (1 - self.fraction) * self.planned.cost
        return left * speed.s_per_sentence(self.planned.spec.language)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened: to a trial, or, with no `spec`, to the sweep."""

    kind: EventKind
    spec: TrialSpec | None
    detail: str

    def __str__(self) -> str:
        trial = self.spec.describe() if self.spec else ""
        return f"{self.kind:<8} {': '.join(part for part in (trial, self.detail) if part)}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How a sweep stands at one moment. Times in seconds; `left_s` is None while nothing is known
    about speed."""

    num_done: int
    num_failed: int
    num_left: int
    num_total: int
    elapsed_s: float
    left_s: float | None
    running: tuple[RunningTrial, ...]
    stopping: str | None

    def __str__(self) -> str:
        """For example `12/32 done, 1 failed, 2 running, 17 left, about 14 min left`."""
        counts = Counts(
            done=self.num_done,
            total=self.num_total,
            failed=self.num_failed,
            running=len(self.running),
            left=self.num_left,
        )
        is_over = self.stopping is not None or not (self.running or self.num_left)
        if self.left_s is None or is_over:
            return str(counts)
        return f"{counts}, about {duration(self.left_s)} left"


class SweepProgress:
    """How far a sweep is. Every method may be called from any thread.

    Args:
        sweep_name: of the sweep.
        results: where its results go.
        planned: the trials left to run.
        num_done_before: trials of the sweep that an earlier run finished.
        num_failed_before: trials that an earlier run failed and this one does not try again.
        speeds: what is known of how long trials take, before any is run; nothing if left out.
        clock: seconds since any fixed moment.
    """

    def __init__(
        self,
        sweep_name: str,
        results: str,
        planned: Iterable[PlannedTrial],
        *,
        num_done_before: int = 0,
        num_failed_before: int = 0,
        speeds: Speeds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.sweep_name = sweep_name
        self.results = results
        self.clock = clock
        self._planned = {trial.trial_id: trial for trial in planned}
        self._num_before = {"done": num_done_before, "failed": num_failed_before}
        self._running: dict[str, RunningTrial] = {}
        self._ended: dict[str, Literal["done", "failed"]] = {}
        self._events: list[Event] = []
        self._told_once: set[str] = set()
        self._stopping: str | None = None
        self._speeds = speeds or Speeds()
        self._num_slots = 0  # trials that ran at a time when the last one was started
        self._created_s = clock()
        # Reentrant, since a signal may interrupt a method and say that the sweep stops.
        self._lock = threading.RLock()

    def runs_on(self, kind: Kind) -> None:
        """Workers were found to have GPUs, or none."""
        with self._lock:
            self._speeds.runs_on(kind)

    def expected_s(self, trial_id: str) -> float | None:
        """Seconds that a trial takes from its start to its end; None while nothing is known."""
        with self._lock:
            speed = self._speed()
            return None if speed is None else speed.expected_s(self._planned[trial_id])

    def started(self, trial_id: str) -> None:
        """A trial was given to a worker."""
        with self._lock:
            self._run(trial_id)
            self._tell("started", trial_id, "")

    def updated(self, trial_id: str, progress: Progress, host: str | None = None) -> None:
        """The worker of a running trial, on a machine with that name, reported how far it is."""
        with self._lock:
            if trial_id in self._ended:  # a report that came late
                return
            before = self._running.get(trial_id) or self._run(trial_id)
            fraction = progress.step / progress.num_steps if progress.num_steps else 0.0
            now = self.clock()
            is_first = before.is_loading
            self._running[trial_id] = replace(
                before,
                host=host,
                progress=progress,
                fraction=fraction,
                reported_s=now,
                first_fraction=fraction if is_first else before.first_fraction,
                first_s=now if is_first else before.first_s,
            )

    def completed(
        self,
        trial_id: str,
        f1: float | None,
        timing: Timing | None = None,
        remark: str = "",
    ) -> None:
        """A trial's result is stored.

        Args:
            trial_id: of the trial.
            f1: to show; None where it is not defined.
            timing: how long it took, from which is learned how long others take; None where another
                run completed it.
            remark: what there is to say of it.
        """
        with self._lock:
            trial = self._leave(trial_id)
            self._ended[trial_id] = "done"
            if timing is not None:
                self._speeds.learn(self._planned[trial_id], timing)
            score = "F1 undefined" if f1 is None else f"F1 {f1:.3f}"
            score += f" ({remark})" if remark else ""
            took = f"in {duration(self.clock() - trial.started_s)}" if trial else "by another run"
            self._tell("done", trial_id, f"{score} {took}")

    def failed(self, trial_id: str, kind: str, message: str) -> None:
        """A trial failed and will not be tried again by this run."""
        with self._lock:
            self._leave(trial_id)
            self._ended[trial_id] = "failed"
            self._tell("failed", trial_id, f"{kind}: {message}")

    def retried(self, trial_id: str, kind: str, message: str) -> None:
        """A trial failed and waits to be started again."""
        with self._lock:
            self._leave(trial_id)
            self._ended.pop(trial_id, None)
            self._tell("retry", trial_id, f"{kind}: {message}")

    def moved(self, trial_id: str, message: str) -> None:
        """A trial saved its state, left its machine, and waits to go on elsewhere."""
        with self._lock:
            reached = _reached(self._leave(trial_id))
            self._tell("moved", trial_id, f"{message}, {reached}" if reached else message)

    def put_back(self, trial_id: str) -> None:
        """A trial was not begun after all, for want of time."""
        with self._lock:
            self._leave(trial_id)

    def stopped(self, trial_id: str) -> None:
        """A trial was interrupted and is left for the next run of the sweep; it may also have
        failed before, for a cause that is not its own."""
        with self._lock:
            self._ended.pop(trial_id, None)
            self._tell("stopped", trial_id, _reached(self._leave(trial_id)))

    def stopping(self, reason: str) -> None:
        """No more trials are started; those that run come to their end or to a checkpoint."""
        with self._lock:
            self._stopping = reason
            self._tell("stopping", None, reason)

    def limited(self, why: str) -> None:
        """Fewer trials run at a time than there are cores for, or they may lack memory."""
        with self._lock:
            self._tell("limited", None, why)

    def closed(self, what: str) -> None:
        """A GPU or node gets no more trials."""
        with self._lock:
            self._tell("closed", None, what)

    def unsaved(self, why: str) -> None:
        """Trials cannot save their state; the same reason is told once."""
        self._tell_once("unsaved", why)

    def waiting(self, why: str) -> None:
        """The driver waits for its files; the same reason is told once."""
        self._tell_once("waiting", why)

    def steps(self) -> dict[str, int]:
        """How far trials that run are, by their ids; 0 before training."""
        with self._lock:
            return {
                trial_id: trial.progress.step if trial.progress else 0
                for trial_id, trial in self._running.items()
            }

    def snapshot(self) -> Snapshot:
        """How the sweep stands now."""
        with self._lock:
            ended = list(self._ended.values())
            return Snapshot(
                num_done=self._num_before["done"] + ended.count("done"),
                num_failed=self._num_before["failed"] + ended.count("failed"),
                num_left=len(self._planned) - len(ended) - len(self._running),
                num_total=sum(self._num_before.values()) + len(self._planned),
                elapsed_s=self.clock() - self._created_s,
                left_s=self._left_s(),
                running=tuple(self._running.values()),
                stopping=self._stopping,
            )

    def events(self, start: int = 0) -> list[Event]:
        """What has happened, oldest first, from event number `start` on."""
        with self._lock:
            return self._events[start:]

    def _run(self, trial_id: str) -> RunningTrial:
        trial = RunningTrial(planned=self._planned[trial_id], host=None, started_s=self.clock())
        self._running[trial_id] = trial
        self._num_slots = len(self._running)
        return trial

    def _leave(self, trial_id: str) -> RunningTrial | None:
        return self._running.pop(trial_id, None)

    def _tell_once(self, kind: SweepEventKind, detail: str) -> None:
        with self._lock:
            if detail not in self._told_once:
                self._told_once.add(detail)
                self._tell(kind, None, detail)

    def _tell(self, kind: EventKind, trial_id: str | None, detail: str) -> None:
        spec = None if trial_id is None else self._planned[trial_id].spec
        printable = "".join(character if character.isprintable() else " " for character in detail)
        self._events.append(Event(kind=kind, spec=spec, detail=" ".join(printable.split())))

    def _left_s(self) -> float | None:
        """Seconds until the last trial ends, when as many run at a time as do now."""
        running = self._running.values()
        waiting = [
            trial
            for trial_id, trial in self._planned.items()
            if trial_id not in self._ended and trial_id not in self._running
        ]
        if not waiting and not running:
            return 0.0
        speed = self._speed()
        if speed is None or not self._num_slots:
            return None
        return wall_s(
            map(speed.expected_s, waiting),
            self._num_slots,
            busy_s=[trial.left_s(speed) for trial in running],
        )

    def _speed(self) -> Speed | None:
        """How fast trials are: as learned from completed ones, before there is one, from those that
        run."""
        known = self._speeds.here()
        if known is not None:
            return known
        speed = Speed(NOT_TOLD)
        for trial in self._running.values():
            if trial.work > 0:
                speed.learn(
                    trial.planned.spec.language,
                    load_s=trial.first_s - trial.started_s,
                    s_per_sentence=(trial.reported_s - trial.first_s) / trial.work,
                )
        return speed if speed.is_measured else None


def _reached(trial: RunningTrial | None) -> str:
    """How far a trial was when it ended; empty where it never reported that."""
    if trial is None or trial.progress is None:
        return ""
    return f"at step {trial.progress.step}/{trial.progress.num_steps}"
