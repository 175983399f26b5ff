"""What a terminal and a log show of a sweep."""

import io
import re
import time

import pytest
from rich.console import Console

from orchestrator.running.progress import SweepProgress
from orchestrator.running.views import LiveView, PlainView, open_view
from tests.orchestrator.running.made_progress import Clock, at, planned, sweep


def live_lines(progress: SweepProgress, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(LiveView(progress, console))
    return text_of(console).splitlines()


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=False)


def test_the_plain_view_prints_a_line_an_event():
    clock = Clock()
    progress = sweep([planned("sw"), planned("yo"), planned("jv"), planned("my")], clock)
    console = plain_console()
    view = PlainView(progress, console)
    progress.started("sw-0")
    clock.now += 200
    progress.completed("sw-0", 0.8434)
    progress.started("yo-0")
    progress.retried("yo-0", "worker_died", "exit code 137")
    progress.failed(
        "yo-0", "out_of_memory", "lower [bold]training.batch_size[/bold]\n  at line 3 \x1b[31mred"
    )
    progress.completed("jv-0", None)
    view.refresh()
    view.refresh()  # nothing is printed twice
    assert text_of(console).splitlines()[:6] == [
        "started  sw sparsity 0 seed 0",
        "done     sw sparsity 0 seed 0: F1 0.843 in 3 min",
        "started  yo sparsity 0 seed 0",
        "retry    yo sparsity 0 seed 0: worker_died: exit code 137",
        "failed   yo sparsity 0 seed 0: out_of_memory: lower [bold]training.batch_size[/bold] "
        "at line 3 [31mred",
        "done     jv sparsity 0 seed 0: F1 undefined by another run",
    ]


def test_the_plain_view_sums_up_once_a_minute():
    clock = Clock()
    progress = sweep([planned("sw", seed) for seed in range(4)], clock)
    console = plain_console()
    view = PlainView(progress, console)
    progress.started("sw-0")
    for _ in range(13):
        clock.now += 10
        view.refresh()
    summary = "[0/4 done, 0 failed, 1 running, 3 left]"
    assert text_of(console).splitlines() == ["started  sw sparsity 0 seed 0", summary, summary]


def test_the_plain_view_has_printed_everything_when_it_closes():
    progress = sweep([planned("sw")])
    console = plain_console()
    with open_view(progress, console):
        progress.started("sw-0")
        progress.completed("sw-0", 0.5)
    assert text_of(console).splitlines()[-1] == "done     sw sparsity 0 seed 0: F1 0.500 in 0 s"


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_shows_each_running_trial_within_the_terminals_width(width):
    clock = Clock()
    progress = sweep([planned("sw"), planned("zh", seed=2), planned("my"), planned("yo")], clock)
    progress.started("sw-0")
    progress.started("zh-2")
    progress.updated("sw-0", at(120, num_steps=6250), host="node1")
    progress.updated("zh-2", at(6250, num_steps=6250, phase="evaluating", loss=None), host="node2")
    progress.failed("my-0", "out_of_memory", "no memory is left " * 20)
    lines = live_lines(progress, width, 24)
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width
    assert lines[0].split() == ["smoke", "results/smoke"]
    assert lines[2] == "0/4 done, 1 failed, 2 running, 1 left, 0 s so far"
    assert re.search(r"^sw .* 0 +0 +120/6250 +0\.500 +12,346 +training", text, re.MULTILINE)
    assert re.search(r"^zh .* 0 +2 +6250/6250 +12,346 +evaluating", text, re.MULTILINE)
    assert re.search(
        r"^failed   my sparsity 0 seed 0: out_of_memory: no memory .*…$", text, re.MULTILINE
    )
    assert ("Mandarin Chinese" in text and "node2" in text) == (width == 120)


@pytest.mark.parametrize("height", [10, 24, 50])
def test_the_live_view_never_grows_beyond_the_terminal(height):
    trials = [planned("sw", seed) for seed in range(80)]
    progress = sweep(trials)
    for trial in trials[:64]:
        progress.started(trial.trial_id)
    for trial in trials[64:]:
        progress.failed(trial.trial_id, "bad_data", "no sentences")
    lines = live_lines(progress, 80, height)
    assert len(lines) < height
    num_shown = sum("loading" in line for line in lines)
    assert num_shown >= 1
    assert f"... and {64 - num_shown} more" in lines


def test_the_bar_shows_done_and_failed_in_their_share_of_the_width():
    progress = sweep([], num_done_before=10, num_failed_before=5)
    console = Console(
        file=io.StringIO(), width=60, height=24, force_terminal=True, color_system="standard"
    )
    console.print(LiveView(progress, console))
    bar = text_of(console).splitlines()[1]
    assert f"\x1b[32m{'━' * 40}" in bar
    assert f"\x1b[31m{'━' * 20}" in bar


def test_a_single_failure_among_thousands_is_seen_in_the_bar():
    progress = sweep([], num_done_before=9_999, num_failed_before=1)
    console = Console(
        file=io.StringIO(), width=60, height=24, force_terminal=True, color_system="standard"
    )
    console.print(LiveView(progress, console))
    assert "\x1b[31m━" in text_of(console).splitlines()[1]


def test_the_live_view_says_that_it_is_stopping():
    progress = sweep([planned("sw")])
    progress.stopping("Ctrl-C")
    assert "stopping: Ctrl-C" in live_lines(progress, 80, 24)


def test_a_terminal_that_can_draw_gets_the_live_view_and_anything_else_plain_lines():
    progress = sweep([planned("sw")])
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    assert isinstance(open_view(progress, terminal), LiveView)
    assert isinstance(open_view(progress, plain_console()), PlainView)
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(open_view(progress, dumb), PlainView)
    latin = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="latin-1"), force_terminal=True)
    assert isinstance(open_view(progress, latin), PlainView)


def test_the_live_view_leaves_its_last_state_on_the_terminal():
    progress = sweep([planned("sw")])
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=24, color_system=None
    )
    with open_view(progress, console):
        progress.started("sw-0")
        progress.completed("sw-0", 0.75)
    assert "1/1 done, 0 failed, 0 running, 0 left" in text_of(console).rsplit("smoke", 1)[-1]


@pytest.mark.slow
def test_ten_thousand_trials_are_drawn_in_a_moment():
    trials = [planned("sw", seed) for seed in range(10_000)]
    progress = sweep(trials)
    for trial in trials[:9_000]:
        progress.started(trial.trial_id)
        progress.completed(trial.trial_id, 0.5)
    started = time.perf_counter()
    live_lines(progress, 80, 24)
    assert time.perf_counter() - started < 0.5
