"""Slurm's notations of time, in seconds."""

import pytest

from cluster.slurm.time_limit import seconds


@pytest.mark.parametrize(
    ("time_limit", "expected"),
    [
        ("0", 0),
        ("90", 90 * 60),
        ("90:30", 90 * 60 + 30),
        ("1:30:00", 5400),
        ("24:00:00", 86400),
        ("100:00:07", 360_007),
        ("2-12", 2 * 86400 + 12 * 3600),
        ("2-12:30", 2 * 86400 + 12 * 3600 + 30 * 60),
        ("2-12:30:05", 2 * 86400 + 12 * 3600 + 30 * 60 + 5),
        ("0-00:01", 60),
    ],
)
def test_every_form_that_slurm_takes_is_counted_in_seconds(time_limit, expected):
    assert seconds(time_limit) == expected


@pytest.mark.parametrize(
    "time_limit",
    ["", "UNLIMITED", "-5", "1:2:3:4", "2-", "1-2:3:4:5", "1h", " 90", "1:", "1-1-1", "٣", "1.5"],
)
def test_what_is_no_time_limit_is_refused_with_what_is_one(time_limit):
    with pytest.raises(
        ValueError,
        match=rf"'{time_limit}' is no time limit of Slurm; give minutes, MM:SS, HH:MM:SS",
    ):
        seconds(time_limit)
