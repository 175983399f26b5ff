"""Which of a user's places a process looks at now: said to the one that forked it.

A call to a file system that does not answer, such as one on the network, returns at no signal, and
no thread of the process may run. Who watches over it can tell which place that is, and end it.
"""

import contextlib
import itertools
import mmap
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

ANSWERS_WITHIN_S = 30.0
"""How long a place may be silent."""

_HEAD = struct.Struct("=dH")


class Visit(NamedTuple):
    """The place that was begun to be looked at last, and since when the first of those is that are
    looked at, on the monotonic clock of the machine."""

    place: str
    since_s: float


def unanswered(place: object, within_s: float) -> str:
    """What is said of a place that does not answer, and what to do."""
    return (
        f"{place}: does not answer within {within_s:.0f} s; see whether it is mounted and its "
        "server runs, or give another place; what was finished is kept"
    )


class Board:
    """What a process says of its visits, and the one that forks it reads."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, visit: Visit | None) -> None:
        """Say it, or that no place is looked at."""
        _HEAD.pack_into(self._page, 0, 0.0, 0)  # who reads meanwhile sees none
        if visit is not None:
            text = visit.place.encode(errors="replace")[: mmap.PAGESIZE - _HEAD.size]
            self._page[_HEAD.size : _HEAD.size + len(text)] = text
            _HEAD.pack_into(self._page, 0, visit.since_s, len(text))

    def read(self) -> Visit | None:
        """What was said last."""
        since_s, length = _HEAD.unpack_from(self._page, 0)
        text = self._page[_HEAD.size : _HEAD.size + length]
        if not since_s or _HEAD.unpack_from(self._page, 0) != (since_s, length):
            return None
        return Visit(text.decode(errors="replace"), since_s)


class _Visits:
    """Those of this process that have not ended."""

    def __init__(self) -> None:
        self.board: Board | None = None
        self._open: dict[int, Visit] = {}
        self._numbers = itertools.count()
        # Reentrant, since a signal may interrupt a method and end what is being done.
        self._lock = threading.RLock()

    def begin(self, place: object) -> int:
        number = next(self._numbers)
        with self._lock:
            self._open[number] = Visit(str(place), time.monotonic())
            self._say()
        return number

    def end(self, number: int) -> None:
        with self._lock:
            del self._open[number]
            self._say()

    def oldest(self) -> Visit | None:
        with self._lock:
            return next(iter(self._open.values()), None)

    def _say(self) -> None:
        if self.board is not None:
            visits = list(self._open.values())
            self.board.write(Visit(visits[-1].place, visits[0].since_s) if visits else None)


_visits = _Visits()


def say_on(board: Board) -> None:
    """From now on say there which place is looked at."""
    _visits.board = board


def find_silent() -> str | None:
    """The place that this process, which goes on meanwhile, has waited for too long already; None
    where there is none, or nobody watches over the process."""
    visit = _visits.oldest()
    is_silent = visit is not None and time.monotonic() - visit.since_s > ANSWERS_WITHIN_S
    return visit.place if visit is not None and is_silent else None


@contextlib.contextmanager
def visiting(place: object) -> Iterator[None]:
    """While the block runs, a place of the user's is looked at, which may not answer. An error of
    the system that names no file is one of this place.

    Args:
        place: a path or an address.
    """
    number = None if _visits.board is None else _visits.begin(place)  # None: nobody watches
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(place)
        raise
    finally:
        if number is not None:
            _visits.end(number)
