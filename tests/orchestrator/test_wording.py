"""Time spans and counts, as people read them."""

import pytest

from orchestrator.wording import counted, duration, size_in_words, some_of


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


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "1 MiB"), (3 * 2**20, "3 MiB"), (1000 * 2**20, "1.0 GiB"), (13.2 * 2**30, "13.2 GiB")],
)
def test_sizes_read_as_people_say_them(num_bytes, text):
    assert size_in_words(num_bytes) == text


def test_of_many_names_some_are_told():
    names = [f"l{number}" for number in range(1003)]
    assert some_of(names) == "l0, l1, l2 and 1,000 more"
    assert (some_of(names[:3]), some_of(["sw"]), some_of([])) == ("l0, l1, l2", "sw", "")
