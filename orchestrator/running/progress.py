"""What a person sees while a sweep runs: how far it is, what runs now, how long it will take, what
failed.

`SweepProgress` is told what happens, and knows nothing of Ray or of screens. Two views read it:
`LiveView` redraws a few lines of a terminal, `PlainView` prints a line an event into a log. What is
said after the end is up to the command.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.planning.plan import PlannedTrial
from orchestrator.spec.languages import LANGUAGES
from orchestrator.wording import duration
from workers.result import Progress
from workers.trial import TrialSpec

SUMMARY_EVERY_S = 60.0

EventKind = Literal["started", "done", "failed", "retry", "moved", "stopped", "stopping"]


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial that has been started and has not ended.

    `first_fraction` is how much of it was done when it was first heard of: what an earlier run did
    says nothing about how fast this one is.
    """

    planned: PlannedTrial
    host: str | None
    started_s: float
    progress: Progress | None = None
    fraction: float = 0.0
    first_fraction: float = 0.0

    @property
    def work(self) -> float:
        """Cost that this run has worked off."""
        return (self.fraction - self.first_fraction) * self.planned.cost


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


class SweepProgress:
    """How far a sweep is. Every method may be called from any thread.

    Args:
        sweep: the sweep's name.
        results: where its results go.
        planned: the trials left to run.
        num_done_before: trials of the sweep that an earlier run finished.
        num_failed_before: trials that an earlier run failed and this one does not try again.
        clock: seconds since any fixed moment.
    """

    def __init__(
        self,
        sweep: str,
        results: str,
        planned: Iterable[PlannedTrial],
        *,
        num_done_before: int = 0,
        num_failed_before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.sweep = sweep
        self.results = results
        self.clock = clock
        self._planned = {trial.trial_id: trial for trial in planned}
        self._num_before = {"done": num_done_before, "failed": num_failed_before}
        self._running: dict[str, RunningTrial] = {}
        self._ended: dict[str, Literal["done", "failed"]] = {}
        self._events: list[Event] = []
        self._stopping: str | None = None
        self._work = 0.0  # cost worked off by trials that are no longer running
        self._created_s = clock()
        self._first_started_s: float | None = None
        self._lock = threading.Lock()

    def started(self, trial_id: str) -> None:
        """A trial was given to a worker."""
        with self._lock:
            self._run(trial_id)
            self._tell("started", trial_id, "")

    def updated(self, trial_id: str, progress: Progress, host: str | None = None) -> None:
        """A running trial told where it is, from a machine with that name."""
        with self._lock:
            if trial_id in self._ended:  # a report that came late
                return
            before = self._running.get(trial_id) or self._run(trial_id)
            fraction = progress.step / progress.num_steps if progress.num_steps else 0.0
            is_first = before.progress is None or before.progress.phase == "loading"
            self._running[trial_id] = replace(
                before,
                host=host,
                progress=progress,
                fraction=fraction,
                first_fraction=fraction if is_first else before.first_fraction,
            )

    def completed(self, trial_id: str, f1: float | None) -> None:
        """A trial's result is stored; `f1` is None where it is not defined."""
        with self._lock:
            trial = self._leave(trial_id, is_complete=True)
            self._ended[trial_id] = "done"
            score = "F1 undefined" if f1 is None else f"F1 {f1:.3f}"
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
            self._tell("retry", trial_id, f"{kind}: {message}")

    def moved(self, trial_id: str, message: str) -> None:
        """A trial saved its state, left its machine, and waits to go on elsewhere."""
        with self._lock:
            trial = self._leave(trial_id)
            reached = trial.progress if trial else None
            self._tell(
                "moved",
                trial_id,
                f"{message}, at step {reached.step}/{reached.num_steps}" if reached else message,
            )

    def put_back(self, trial_id: str) -> None:
        """A trial was not begun after all, for want of time."""
        with self._lock:
            self._leave(trial_id)

    def stopped(self, trial_id: str) -> None:
        """A trial was interrupted and is left for the next run of the sweep."""
        with self._lock:
            trial = self._leave(trial_id)
            reached = trial.progress if trial else None
            self._tell(
                "stopped",
                trial_id,
                f"at step {reached.step}/{reached.num_steps}" if reached else "",
            )

    def stopping(self, reason: str) -> None:
        """No more trials are started; those that run come to their end or to a checkpoint."""
        with self._lock:
            self._stopping = reason
            self._tell("stopping", None, reason)

    def snapshot(self) -> Snapshot:
        """How the sweep stands now."""
        with self._lock:
            now = self.clock()
            ended = list(self._ended.values())
            return Snapshot(
                num_done=self._num_before["done"] + ended.count("done"),
                num_failed=self._num_before["failed"] + ended.count("failed"),
                num_left=len(self._planned) - len(ended) - len(self._running),
                num_total=sum(self._num_before.values()) + len(self._planned),
                elapsed_s=now - self._created_s,
                left_s=self._left_s(now),
                running=tuple(self._running.values()),
                stopping=self._stopping,
            )

    def events(self, start: int = 0) -> list[Event]:
        """What has happened, oldest first, from event number `start` on."""
        with self._lock:
            return self._events[start:]

    def _run(self, trial_id: str) -> RunningTrial:
        now = self.clock()
        if self._first_started_s is None:
            self._first_started_s = now
        trial = RunningTrial(planned=self._planned[trial_id], host=None, started_s=now)
        self._running[trial_id] = trial
        return trial

    def _leave(self, trial_id: str, is_complete: bool = False) -> RunningTrial | None:
        trial = self._running.pop(trial_id, None)
        if trial:
            self._work += replace(trial, fraction=1.0).work if is_complete else trial.work
        return trial

    def _tell(self, kind: EventKind, trial_id: str | None, detail: str) -> None:
        spec = None if trial_id is None else self._planned[trial_id].spec
        printable = "".join(character if character.isprintable() else " " for character in detail)
        self._events.append(Event(kind=kind, spec=spec, detail=" ".join(printable.split())))

    def _left_s(self, now: float) -> float | None:
        """The cost that is left, at the rate at which cost was worked off since the first trial
        started."""
        running = self._running.values()
        left = sum(
            trial.cost for trial_id, trial in self._planned.items() if trial_id not in self._ended
        )
        left -= sum(trial.fraction * trial.planned.cost for trial in running)
        work = self._work + sum(trial.work for trial in running)
        if self._first_started_s is None or work <= 0:
            return None if left else 0.0
        return left * (now - self._first_started_s) / work


def summary_line(progress: SweepProgress) -> str:
    """The state of a sweep in one line: `12/32 done, 1 failed, 2 running, 17 left, about 14 min
    left`."""
    return _summary(progress.snapshot())


def _summary(now: Snapshot) -> str:
    counts = f"{now.num_done}/{now.num_total} done, {now.num_failed} failed, {len(now.running)} running, {now.num_left} left"
    if now.left_s is None or now.stopping is not None or not (now.running or now.num_left):
        return counts
    return f"{counts}, about {duration(now.left_s)} left"


def open_view(progress: SweepProgress, console: Console) -> AbstractContextManager[object]:
    """Show a sweep's progress while the context is open: live on a terminal that can draw it,
    otherwise as lines."""
    can_draw = console.is_interactive and not console.options.ascii_only
    return LiveView(progress, console) if can_draw else PlainView(progress, console)


class PlainView:
    """A line an event, and every minute a summary; for logs and pipes."""

    def __init__(self, progress: SweepProgress, console: Console):
        self.progress = progress
        self.console = console
        self._num_shown = 0
        self._summary_due_s = progress.clock() + SUMMARY_EVERY_S
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._thread.join()
        self.refresh()

    def refresh(self) -> None:
        """Print what happened since the last time, and the summary if it is due."""
        events = self.progress.events(self._num_shown)
        self._num_shown += len(events)
        for event in events:
            self._print(str(event))
        if self.progress.clock() >= self._summary_due_s:
            self._summary_due_s = self.progress.clock() + SUMMARY_EVERY_S
            self._print(f"[{summary_line(self.progress)}]")

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _watch(self) -> None:
        while not self._closing.wait(0.5):
            self.refresh()


class LiveView:
    """A few lines at the bottom of a terminal, drawn twice a second: the sweep, what runs, what
    ended last."""

    def __init__(self, progress: SweepProgress, console: Console):
        self.progress = progress
        self._live = Live(self, console=console, refresh_per_second=2)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = self.progress.snapshot()
        header = list(self._header(now, options))
        ended = [
            _line(str(event), _STYLES[event.kind])
            for event in self._last_ended(3 if console.height >= 20 else 1)
        ]
        # Besides these: the table's head, the line that says "more", an empty one, where a typed ^C
        # breaks no line, and one below, to which the cursor goes in the end.
        num_rows = max(1, console.height - len(header) - len(ended) - 4)
        yield from header
        if now.running:
            yield _running_table(now.running[:num_rows], options.max_width)
        if len(now.running) > num_rows:
            yield _line(f"... and {len(now.running) - num_rows} more", "dim")
        yield from ended
        yield ""

    def _header(self, now: Snapshot, options: ConsoleOptions) -> Iterator[Text]:
        yield _line(f"{self.progress.sweep}  {self.progress.results}", "bold")
        yield _bar(now, options.max_width)
        yield _line(f"{_summary(now)}, {duration(now.elapsed_s)} so far")
        if now.stopping is not None:
            yield _line(f"stopping: {now.stopping}", "yellow")

    def _last_ended(self, num: int) -> list[Event]:
        """The last trials that were finished, and the last that failed, which would soon scroll
        away among those."""
        events = self.progress.events()
        done = [event for event in events if event.kind == "done"]
        failed = [event for event in events if event.kind in ("failed", "retry")]
        return done[-num:] + failed[-num:]


_STYLES = {"done": "green", "failed": "red", "retry": "yellow"}


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _bar(now: Snapshot, width: int) -> Text:
    """Done in green, failed in red, the rest faint. A single failure is always seen."""
    total = max(1, now.num_total)
    num_failed = math.ceil(width * now.num_failed / total)
    num_done = min(width - num_failed, math.floor(width * now.num_done / total))
    num_rest = width - num_done - num_failed
    return Text.assemble(
        ("━" * num_done, "green"), ("━" * num_failed, "red"), ("─" * num_rest, "bright_black")
    )


def _running_table(trials: tuple[RunningTrial, ...], width: int) -> Table:
    """A row a trial; where there is room, with the language's name and the machine."""
    is_wide = width >= 100
    has_host = is_wide and len({trial.host for trial in trials} - {None}) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("language", no_wrap=True)
    for name, min_width in (
        ("sparsity", 8),
        ("seed", 4),
        ("step", 11),
        ("loss", 6),
        ("sub-words/s", 11),
    ):
        table.add_column(name, justify="right", no_wrap=True, min_width=min_width)
    table.add_column("phase", no_wrap=True, min_width=len("evaluating"))
    if has_host:
        table.add_column("machine", no_wrap=True)
    for trial in trials:
        table.add_row(*_cells(trial, is_wide), *([trial.host or ""] if has_host else []))
    return table


def _cells(trial: RunningTrial, is_wide: bool) -> list[str]:
    spec, progress = trial.planned.spec, trial.progress
    known = LANGUAGES.get(spec.language) if is_wide else None
    sparsity = f"{spec.target_sparsity:g}" + ("+e" if spec.embedding_sparsity else "")
    cells = [f"{spec.language} {known.name}" if known else spec.language, sparsity, str(spec.seed)]
    if progress is None or progress.phase == "loading":
        return [*cells, "", "", "", "loading"]
    loss = "" if progress.loss is None else f"{progress.loss:.3f}"
    return [
        *cells,
        f"{progress.step}/{progress.num_steps}",
        loss,
        f"{progress.subwords_per_s:,.0f}",
        progress.phase,
    ]
