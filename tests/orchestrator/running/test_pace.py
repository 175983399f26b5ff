"""What is started before a time limit, worked out by hand."""

import pytest

from orchestrator.running.pace import SAVING_S, TimeLimit, Timetable


def limit(**environment: str) -> TimeLimit | None:
    return TimeLimit.from_environment(
        {f"SPARSWEEP_{name}": value for name, value in environment.items()}, now=1000.0
    )


def test_without_a_deadline_there_is_no_limit():
    assert limit() is None
    assert limit(JOB_LENGTH_S="600") is None
    assert limit(DEADLINE="") is None


@pytest.mark.parametrize("name", ["DEADLINE", "JOB_LENGTH_S"])
def test_what_is_not_a_number_is_refused(name):
    with pytest.raises(ValueError, match=f"SPARSWEEP_{name}: 'soon' is not a number; give seconds"):
        limit(**{"DEADLINE": "2000", name: "soon"})


def test_running_trials_are_stopped_early_enough_to_be_saved():
    assert limit(DEADLINE="2000").stop_at == 2000 - SAVING_S


def test_a_trial_must_start_so_that_it_ends_before_that():
    found = limit(DEADLINE="5600", JOB_LENGTH_S="4600")
    assert found.latest_start(600.0) == 5600 - SAVING_S - 600


@pytest.mark.parametrize(
    ("length", "expected_s", "may_wait"),
    [
        (None, 600.0, False),  # whether another job could do it is not known
        ("3600", None, False),
        ("3600", 3000.0, True),
        ("3600", 3240.0, False),  # a tenth goes into starting, and then it must be saved
        ("3600", 9000.0, False),
        ("360000", 4000.0, True),
        ("360000", 4200.0, False),  # a new job has no more time than this one had at its start
    ],
)
def test_only_what_a_new_job_can_finish_is_left_to_it(length, expected_s, may_wait):
    given = {} if length is None else {"JOB_LENGTH_S": length}
    found = limit(DEADLINE="5600", **given)
    assert (found.latest_start(expected_s) is not None) == may_wait


def test_only_the_first_trial_starts_whatever_the_time():
    seconds = {"long": 2000.0, "short": 20.0}
    table = Timetable(limit(DEADLINE="5600", JOB_LENGTH_S="4600"), seconds.get)
    assert table.latest_start("long") is None
    table.has_started()
    assert table.latest_start("long") == 5600 - SAVING_S - 2000
    assert table.latest_start("short") == 5600 - SAVING_S - 20
    seconds["short"] = 15.0
    assert table.latest_start("short") == 5600 - SAVING_S - 15
    assert table.latest_start("of unknown length") is None
    assert [table.is_over(now) for now in (5589.9, 5590.0)] == [False, True]


def test_without_a_limit_everything_starts():
    table = Timetable(None, {"long": 1e9}.get)
    table.has_started()
    assert table.latest_start("long") is None
    assert not table.is_over(1e12)
