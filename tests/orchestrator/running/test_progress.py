import io
import re
import threading
import time

import pytest
from rich.console import Console

from orchestrator.planning.plan import PlannedTrial
from orchestrator.running.progress import (
    LiveView,
    PlainView,
    SweepProgress,
    open_view,
    summary_line,
)
from tests.factories import make_trial_spec
from workers.result import Phase, Progress


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def planned(language: str, seed: int = 0, cost: float = 1.0) -> PlannedTrial:
    spec = make_trial_spec(language=language, seed=seed, target_sparsity=0.0)
    return PlannedTrial(spec, f"{language}-{seed}", cost)


def at(
    step: int, num_steps: int = 100, phase: Phase = "training", loss: float | None = 0.5
) -> Progress:
    return Progress(
        step=step, num_steps=num_steps, loss=loss, sparsity=0.0, subwords_per_s=12345.6, phase=phase
    )


def sweep(trials: list[PlannedTrial], clock: Clock | None = None, **before: int) -> SweepProgress:
    return SweepProgress("smoke", "results/smoke", trials, clock=clock or Clock(), **before)


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


def test_counts_add_up_at_every_moment():
    progress = sweep(
        [planned(code) for code in ("sw", "yo", "jv", "my")], num_done_before=3, num_failed_before=2
    )
    assert summary_line(progress) == "3/9 done, 2 failed, 0 running, 4 left"
    progress.started("sw-0")
    progress.started("yo-0")
    assert summary_line(progress) == "3/9 done, 2 failed, 2 running, 2 left"
    progress.completed("sw-0", 0.9)
    progress.failed("yo-0", "bad_data", "no sentences")
    assert summary_line(progress).startswith("4/9 done, 3 failed, 0 running, 2 left")


def test_a_retried_trial_is_left_again_until_it_starts_again():
    progress = sweep([planned("sw"), planned("yo")])
    progress.started("sw-0")
    progress.retried("sw-0", "worker_died", "exit code 137")
    assert summary_line(progress) == "0/2 done, 0 failed, 0 running, 2 left"
    progress.updated("sw-0", at(1))  # its first sign of life stands for the start
    assert summary_line(progress) == "0/2 done, 0 failed, 1 running, 1 left"


def test_a_report_that_comes_after_the_end_revives_nothing():
    progress = sweep([planned("sw")])
    progress.started("sw-0")
    progress.completed("sw-0", 0.9)
    progress.updated("sw-0", at(99))
    assert summary_line(progress) == "1/1 done, 0 failed, 0 running, 0 left"


def test_time_left_is_unknown_until_something_was_worked_off():
    clock = Clock()
    progress = sweep([planned("sw")], clock)
    progress.started("sw-0")
    clock.now += 60
    assert progress.snapshot().left_s is None
    progress.updated("sw-0", at(0))
    assert progress.snapshot().left_s is None


def test_time_left_weighs_trials_by_cost_and_counts_the_finished_part_of_running_ones():
    clock = Clock()
    progress = sweep([planned("sw", cost=10), planned("yo", cost=4), planned("jv", cost=6)], clock)
    clock.now += 500  # before anything runs no time counts
    progress.started("sw-0")
    progress.started("yo-0")
    progress.updated("yo-0", at(0))
    clock.now += 60
    progress.completed("sw-0", 0.9)
    progress.updated("yo-0", at(50))
    # 10 + 4 / 2 = 12 in 60 s; 2 + 6 = 8 are left.
    assert progress.snapshot().left_s == pytest.approx(40)


def test_what_an_earlier_run_did_of_a_trial_does_not_make_this_one_look_fast():
    clock = Clock()
    progress = sweep([planned("sw", cost=10), planned("yo", cost=10)], clock)
    progress.started("sw-0")
    progress.updated("sw-0", at(0, num_steps=0, phase="loading"))
    clock.now += 10
    progress.updated("sw-0", at(80))
    assert progress.snapshot().left_s is None
    clock.now += 10
    progress.updated("sw-0", at(90))
    # A tenth of 10 in 20 s; 1 + 10 are left.
    assert progress.snapshot().left_s == pytest.approx(220)
    progress.completed("sw-0", 0.9)
    assert progress.snapshot().left_s == pytest.approx(100)


def test_a_failed_trial_is_no_longer_work_to_do():
    clock = Clock()
    progress = sweep([planned("sw", cost=5), planned("yo", cost=100), planned("jv", cost=5)], clock)
    progress.started("sw-0")
    progress.started("yo-0")
    clock.now += 30
    progress.completed("sw-0", 0.9)
    progress.failed("yo-0", "bad_data", "no sentences")
    assert progress.snapshot().left_s == pytest.approx(30)


def test_a_sweep_that_is_done_names_no_time_left():
    clock = Clock()
    progress = sweep([planned("sw")], clock)
    progress.started("sw-0")
    clock.now += 30
    progress.completed("sw-0", 0.9)
    assert summary_line(progress) == "1/1 done, 0 failed, 0 running, 0 left"


def test_interrupted_trials_are_left_and_no_time_is_promised():
    clock = Clock()
    progress = sweep([planned("sw"), planned("yo")], clock)
    progress.started("sw-0")
    progress.updated("sw-0", at(0))
    clock.now += 30
    progress.updated("sw-0", at(50))
    assert summary_line(progress) == "0/2 done, 0 failed, 1 running, 1 left, about 2 min left"
    progress.stopping("Ctrl-C")
    progress.stopped("sw-0")
    assert summary_line(progress) == "0/2 done, 0 failed, 0 running, 2 left"
    assert [str(event) for event in progress.events(1)] == [
        "stopping Ctrl-C",
        "stopped  sw sparsity 0 seed 0: at step 50/100",
    ]


def test_a_trial_that_was_never_planned_is_refused():
    with pytest.raises(KeyError, match="xx-7"):
        sweep([planned("sw")]).started("xx-7")


def test_updates_from_many_threads_lose_nothing():
    trials = [planned("sw", seed) for seed in range(200)]
    progress = sweep(trials)

    def run(part: list[PlannedTrial]) -> None:
        for trial in part:
            progress.started(trial.trial_id)
            progress.updated(trial.trial_id, at(50))
            progress.snapshot()
            progress.completed(trial.trial_id, 0.5)

    threads = [threading.Thread(target=run, args=(trials[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert summary_line(progress) == "200/200 done, 0 failed, 0 running, 0 left"
    assert len(progress.events()) == 400


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
        "failed   yo sparsity 0 seed 0: out_of_memory: lower [bold]training.batch_size[/bold] at line 3 [31mred",
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


def test_ten_thousand_trials_are_drawn_in_a_moment():
    trials = [planned("sw", seed) for seed in range(10_000)]
    progress = sweep(trials)
    for trial in trials[:9_000]:
        progress.started(trial.trial_id)
        progress.completed(trial.trial_id, 0.5)
    started = time.perf_counter()
    live_lines(progress, 80, 24)
    assert time.perf_counter() - started < 0.5


def test_a_trial_that_moves_or_is_put_back_waits_again():
    progress = sweep([planned(code) for code in ("sw", "yo")])
    progress.started("sw-0")
    progress.updated("sw-0", at(40))
    progress.started("yo-0")
    progress.moved("sw-0", "its node node7 leaves")
    progress.put_back("yo-0")
    assert summary_line(progress).startswith("0/2 done, 0 failed, 0 running, 2 left")
    assert str(progress.events()[-1]).startswith(
        "moved    sw sparsity 0 seed 0: its node node7 leaves, at step 40/100"
    )
