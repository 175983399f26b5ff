"""Time spans and counts, as people read them."""

import pytest

from orchestrator.wording import counted, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (14 * 60, "14 min"),
        (59.6 * 60, "1 h 00 min"),
        (3840, "1 h 04 min"),
        (23.999 * 3600, "1 d 00 h"),
        (51 * 3600, "2 d 03 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_numbers_are_counted_in_words():
    assert (counted(1, "trial"), counted(1845, "trial")) == ("1 trial", "1,845 trials")
