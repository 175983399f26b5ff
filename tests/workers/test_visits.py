"""Which place a process looks at, said to the one that forked it."""

import errno
import time

import pytest

from workers import visits
from workers.visits import Board, Visit, visiting


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setattr(visits, "_visits", visits._Visits())
    board = Board()
    visits.say_on(board)
    return board


def test_the_last_place_is_said_with_the_time_since_which_one_is_looked_at(board):
    assert board.read() is None
    before_s = time.monotonic()
    with visiting("/results"):
        since_s = board.read().since_s
        assert before_s <= since_s <= time.monotonic()
        with visiting("/cache"):
            assert board.read() == Visit("/cache", since_s)
        assert board.read() == Visit("/results", since_s)
    assert board.read() is None


def test_a_visit_that_fails_has_ended_and_its_error_names_the_place(board):
    def error(*about: object) -> str:
        with pytest.raises(OSError) as caught, visiting("/data"), visiting("/data/sw"):  # noqa: PT011
            raise OSError(*about)
        return str(caught.value)

    assert error(errno.EIO, "Input/output error") == "[Errno 5] Input/output error: '/data/sw'"
    assert error(errno.ENOENT, "Gone", "/x") == "[Errno 2] Gone: '/x'"
    assert error("gone") == "gone", "which no call to the system says"
    assert board.read() is None


def test_a_place_that_is_waited_for_too_long_is_found(board, monkeypatch):
    assert visits.find_silent() is None
    with visiting("/results"):
        assert visits.find_silent() is None
        monkeypatch.setattr(visits, "ANSWERS_WITHIN_S", 0.0)
        assert visits.find_silent() == "/results"
    assert visits.find_silent() is None


def test_places_with_any_name_are_said(board):
    with visiting("/résultats/\udcff" + "x" * 10_000):
        place = board.read().place
    assert place.startswith("/résultats/?xxx")
    assert len(place) < 10_000
