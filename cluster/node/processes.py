"""Processes of this machine, any of which may end while it is looked at, or be hidden from us."""

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

_STATE = re.compile(r"^State:\s+(\w)", re.MULTILINE)
_SWITCHES = re.compile(r"_ctxt_switches:\s+(\d+)$", re.MULTILINE)
_ASLEEP = {"S", "D"}
"""States of Linux in which a thread waits for something; one that was stopped does not."""


def descendants(root_pid: int) -> list[psutil.Process]:
    """The processes below one, parents first; none when it has ended.

    psutil's own `children` fails where the system hides other users' processes (hidepid).
    """
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process)

    below: list[psutil.Process] = []
    waiting = children.get(root_pid, [])
    while waiting:
        below += waiting
        waiting = [child for parent in waiting for child in children.get(parent.pid, [])]
    return below


def command_line(process: psutil.Process) -> list[str]:
    """Words of a process; none when it has ended, or where it may not be looked at."""
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


class Below:
    """A program that a process starts.

    Args:
        root_pid: the process.
        program: name of the program's file.
    """

    def __init__(self, root_pid: int, program: str):
        self._root_pid, self._program = root_pid, program
        self._process: psutil.Process | None = None

    def may_come(self) -> bool:
        """Whether it runs, or has not been seen yet; never again once it has ended."""
        if self._process is None:
            below = descendants(self._root_pid)
            self._process = next(filter(self._is_it, below), None)
            return True
        return self._is_it(self._process)

    def _is_it(self, process: psutil.Process) -> bool:
        words = command_line(process)
        return bool(words) and words[0].rpartition("/")[2] == self._program


def sleep_of(pid: int) -> list[tuple[str, ...]] | None:
    """What stays the same as long as no thread of a process gets to run; Linux only.

    Returns:
        Of each thread its number and how often it has gone to sleep; None where one does not sleep,
        or that cannot be told.
    """
    threads = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            text = (thread / "status").read_text()
            state = _STATE.search(text)
            if state is None or state[1] not in _ASLEEP:
                return None
            threads.append((thread.name, *_SWITCHES.findall(text)))
        return threads
    return None


def kill(process: psutil.Process) -> None:
    """End a process at once, if it is there and ours; never a later one of the same number."""
    with contextlib.suppress(psutil.Error):
        process.kill()


@contextlib.contextmanager
def starting_deaf_to(number: signal.Signals) -> Iterator[None]:
    """Make processes that are started in the block, and all below them, deaf to a signal.

    It is blocked, which lasts in all that they start; that it is ignored would not last where they
    install handlers of their own, as Ray does. This process gets what came meanwhile afterwards.

    Args:
        number: the signal.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
