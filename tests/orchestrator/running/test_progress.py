"""How far a sweep is, told event by event; time left is worked out by hand."""

import threading

import pytest

from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.speed import Device, Speeds, Timing
from tests.orchestrator.running.made_progress import Clock, at, planned, sweep

CPU = Device("a processor", "CPU", 1)


def test_counts_add_up_at_every_moment():
    progress = sweep(
        [planned(code) for code in ("sw", "yo", "jv", "my")], num_done_before=3, num_failed_before=2
    )
    assert str(progress.snapshot()) == "3/9 done, 2 failed, 0 running, 4 left"
    progress.started("sw-0")
    progress.started("yo-0")
    assert str(progress.snapshot()) == "3/9 done, 2 failed, 2 running, 2 left"
    progress.completed("sw-0", 0.9)
    progress.failed("yo-0", "bad_data", "no sentences")
    assert str(progress.snapshot()).startswith("4/9 done, 3 failed, 0 running, 2 left")


def test_a_retried_trial_is_left_again_until_it_starts_again():
    progress = sweep([planned("sw"), planned("yo")])
    progress.started("sw-0")
    progress.retried("sw-0", "worker_died", "exit code 137")
    assert str(progress.snapshot()) == "0/2 done, 0 failed, 0 running, 2 left"
    progress.updated("sw-0", at(1))  # its first sign of life stands for the start
    assert str(progress.snapshot()) == "0/2 done, 0 failed, 1 running, 1 left"


def test_steps_are_those_of_trials_that_run():
    progress = sweep([planned("sw"), planned("yo"), planned("jv")])
    progress.started("sw-0")
    progress.started("yo-0")
    progress.updated("yo-0", at(7))
    assert progress.steps() == {"sw-0": 0, "yo-0": 7}


def test_a_failure_that_was_not_the_trials_own_leaves_it_for_the_next_run():
    progress = sweep([planned("sw")])
    progress.started("sw-0")
    progress.failed("sw-0", "storage", "disk full")
    progress.stopped("sw-0")
    assert str(progress.snapshot()) == "0/1 done, 0 failed, 0 running, 1 left"


def test_a_report_that_comes_after_the_end_revives_nothing():
    progress = sweep([planned("sw")])
    progress.started("sw-0")
    progress.completed("sw-0", 0.9)
    progress.updated("sw-0", at(99))
    assert str(progress.snapshot()) == "1/1 done, 0 failed, 0 running, 0 left"


def test_time_left_is_unknown_until_something_was_worked_off():
    clock = Clock()
    progress = sweep([planned("sw")], clock)
    progress.started("sw-0")
    clock.now += 60
    assert progress.snapshot().left_s is None
    progress.updated("sw-0", at(0))
    assert progress.snapshot().left_s is None


def test_time_left_is_what_trials_of_this_run_took_and_counts_the_rest_of_running_ones():
    clock = Clock()
    progress = sweep([planned("sw", cost=10), planned("yo", cost=4), planned("jv", cost=6)], clock)
    progress.started("sw-0")
    progress.started("yo-0")
    progress.updated("yo-0", at(0))
    clock.now += 60
    progress.completed("sw-0", 0.9, Timing(CPU, load_s=2.0, work_s=60.0))
    progress.updated("yo-0", at(50))
    # A unit of cost takes 60 / 10 = 6 s. The half of yo takes 2 * 6 = 12, beside it jv takes
    # 2 + 6 * 6 = 38.
    assert progress.snapshot().left_s == pytest.approx(38)
    progress.started("jv-0")
    assert progress.snapshot().left_s == pytest.approx(38)
    progress.updated("jv-0", at(0))
    assert progress.snapshot().left_s == pytest.approx(36)  # it is loaded


def test_before_the_first_trial_has_ended_those_that_run_tell_how_fast_they_are():
    clock = Clock()
    progress = sweep([planned("sw", cost=10), planned("yo", cost=10)], clock)
    progress.started("sw-0")
    progress.updated("sw-0", at(0, num_steps=0, phase="loading"))
    clock.now += 3
    progress.updated("sw-0", at(80))  # of which an earlier run did all: it says nothing of speed
    assert progress.snapshot().left_s is None
    clock.now += 10
    progress.updated("sw-0", at(90))
    # A tenth of 10 in 10 s: 10 s for what is left of sw, then 3 s to load yo and 100 s to train.
    assert progress.snapshot().left_s == pytest.approx(113)
    assert progress.expected_s("yo-0") == pytest.approx(103)
    progress.completed("sw-0", 0.9, Timing(CPU, load_s=1.0, work_s=20.0))
    assert progress.snapshot().left_s == pytest.approx(21)
    assert progress.expected_s("yo-0") == pytest.approx(21)


def test_trials_that_were_stored_before_tell_how_long_the_first_ones_take():
    speeds = Speeds()
    speeds.learn(planned("sw", seed=7, cost=5), Timing(CPU, load_s=1.0, work_s=10.0))
    progress = sweep([planned("sw", cost=4), planned("sw", seed=1, cost=3)], speeds=speeds)
    assert progress.expected_s("sw-0") == pytest.approx(9)
    assert progress.snapshot().left_s is None  # how many run at a time is not known yet
    progress.started("sw-0")
    assert progress.snapshot().left_s == pytest.approx(9 + 7)


def test_what_there_is_to_say_of_a_trial_stands_beside_its_f1():
    progress = sweep([planned("sw")])
    progress.started("sw-0")
    progress.completed("sw-0", 0.0, None, "no entity predicted after 40 steps")
    (*_, event) = progress.events()
    assert event.detail.startswith("F1 0.000 (no entity predicted after 40 steps) in ")


def test_what_another_run_completed_teaches_nothing():
    progress = sweep([planned("sw"), planned("yo")])
    progress.completed("sw-0", None)
    assert progress.expected_s("yo-0") is None


def test_a_failed_trial_is_no_longer_work_to_do():
    progress = sweep([planned("sw", cost=5), planned("yo", cost=100), planned("jv", cost=5)])
    progress.started("sw-0")
    progress.started("yo-0")
    progress.completed("sw-0", 0.9, Timing(CPU, load_s=0.0, work_s=30.0))
    progress.failed("yo-0", "bad_data", "no sentences")
    assert progress.snapshot().left_s == pytest.approx(30)


def test_a_sweep_that_is_done_names_no_time_left():
    clock = Clock()
    progress = sweep([planned("sw")], clock)
    progress.started("sw-0")
    clock.now += 30
    progress.completed("sw-0", 0.9)
    assert str(progress.snapshot()) == "1/1 done, 0 failed, 0 running, 0 left"


def test_interrupted_trials_are_left_and_no_time_is_promised():
    clock = Clock()
    progress = sweep([planned("sw"), planned("yo")], clock)
    progress.started("sw-0")
    progress.updated("sw-0", at(0))
    clock.now += 30
    progress.updated("sw-0", at(50))
    assert str(progress.snapshot()) == "0/2 done, 0 failed, 1 running, 1 left, about 2 min left"
    progress.stopping("Ctrl-C")
    progress.stopped("sw-0")
    assert str(progress.snapshot()) == "0/2 done, 0 failed, 0 running, 2 left"
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
    assert str(progress.snapshot()) == "200/200 done, 0 failed, 0 running, 0 left"
    assert len(progress.events()) == 400


def test_a_trial_that_moves_or_is_put_back_waits_again():
    progress = sweep([planned(code) for code in ("sw", "yo")])
    progress.started("sw-0")
    progress.updated("sw-0", at(40))
    progress.started("yo-0")
    progress.moved("sw-0", "its node node7 leaves")
    progress.put_back("yo-0")
    assert str(progress.snapshot()).startswith("0/2 done, 0 failed, 0 running, 2 left")
    assert str(progress.events()[-1]).startswith(
        "moved    sw sparsity 0 seed 0: its node node7 leaves, at step 40/100"
    )
