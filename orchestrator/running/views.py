"""What a person sees while a sweep runs.

Two views read a `SweepProgress`: `LiveView` redraws a few lines of a terminal, `PlainView` prints a
line an event into a log.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.running.progress import Event, RunningTrial, Snapshot, SweepProgress
from orchestrator.spec.languages import find_language
from orchestrator.wording import duration

SUMMARY_EVERY_S = 60.0


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
            self._print(f"[{self.progress.snapshot()}]")

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
        yield _line(f"{self.progress.sweep_name}  {self.progress.results}", "bold")
        yield _bar(now, options.max_width)
        yield _line(f"{now}, {duration(now.elapsed_s)} so far")
        for event in self.progress.events():
            if event.kind in ("limited", "closed", "unsaved", "waiting"):
                yield _line(event.detail, "dim" if event.kind == "limited" else "yellow")
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
    known = find_language(spec.language) if is_wide else None
    sparsity = f"{spec.target_sparsity:g}" + ("+e" if spec.embedding_sparsity else "")
    name = f" {known.name}" if known and known.name != spec.language else ""
    cells = [f"{spec.language}{name}", sparsity, str(spec.seed)]
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
