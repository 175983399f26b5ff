"""A command in a process below this one, whose end is told in a line, whatever ended it.

A call to a file system that does not answer returns at no signal. Ray's native code ends the
process that it is part of when its cluster is gone, or a signal comes while it connects: with a
page of C++ and a code of its own. A library may crash, and the kernel kills where no memory is
left. None of that can be caught in the process itself. So this one, which looks at no place of the
user's, waits for it, passes signals on, and says what ended it and how to go on; what native code
of `run` has written is kept from the user.
"""

import contextlib
import ctypes
import faulthandler
import math
import mmap
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from shlex import join
from typing import Any, NamedTuple

from cluster.contract import BAD_INPUT, DONE, FAULT, INTERRUPTED, SOME_FAILED, STOPPED
from cluster.node.own_folder import remove_leftovers
from cluster.node.processes import descendants, kill, sleep_of
from orchestrator.running.stopping import ECHO_S, OWN_WORDS, STOPPING_SIGNALS
from workers.visits import ANSWERS_WITHIN_S, Board, Visit, say_on, unanswered

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Calls of Linux' prctl: what a process is sent when its parent ends; whether it becomes the parent
of those below it whose parent has ended."""
SI_KERNEL = 128
"""What Linux says of a signal that a terminal sent, to all processes that run in it."""

DECIDED = (DONE, BAD_INPUT, SOME_FAILED, FAULT, STOPPED, INTERRUPTED)
"""Codes with which a command ends by itself."""

HEARS_WITHIN_S = 5.0
"""A command that has not heard a signal by then waits in native code, such as that of a file system
that does not answer: the main thread, which hears signals, only waits while trials run."""
LEAVES_WITHIN_S, LEAVES_DEAF_WITHIN_S = 4.0, 1.0
"""How long a command may look at a place after a signal, and one that has not heard it. What it
writes there is written as a whole or not at all."""
LOOKS_EVERY_S = 1.0
"""How often it is looked whether a command waits for a place."""
CLEANING_S = 10.0
MAX_WORDS = 200

_ERROR_OF_RAY = re.compile(r"^\[[-0-9 :,]+ [EFC] \d+ \d+\] [\w.]+:\d+: +(.*)", re.MULTILINE)
_OWN_WORDS = re.compile(f"^{OWN_WORDS}(.*)", re.MULTILINE)


Command = Callable[[Callable[[], None]], Any]
"""Runs; given what it calls with each signal that it hears."""


def supervised(
    command: Command, words: Sequence[str], is_debugging: bool, is_sweep: bool = True
) -> Any:
    """Run a command in a new process; what it returns there is this function's result there.

    Args:
        command: what runs.
        words: the command line, by which a sweep goes on.
        is_debugging: whether to show what native code wrote.
        is_sweep: whether it runs trials: what it started ends with it then, and the same command
            goes on.

    Returns:
        The exit code, in the process that was there before.
    """
    if sys.platform != "linux":
        return command(lambda: None)
    sys.stdout.flush()
    sys.stderr.flush()
    native = os.memfd_create("native-stderr") if is_sweep else None
    hearing, board = Hearing(), Board()
    awaited = {*STOPPING_SIGNALS, signal.SIGCHLD, signal.SIGALRM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    ours = os.getpid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    pid = os.fork()
    if pid == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != ours:  # it was killed before we could say that
            os._exit(1)
        if native is not None:
            _keep_apart(native)
        say_on(board)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return command(hearing.heard)

    end = _wait_for(pid, awaited, hearing, board)
    written = "" if native is None else _read(native)
    if is_debugging:
        _write(2, written)
    if end.code in DECIDED:
        return end.code
    if is_sweep:
        _clean_up()
    if end.silent is not None:
        _write(2, f"sparsweep: {unanswered(end.silent, ANSWERS_WITHIN_S)}\n")
        return STOPPED
    if not is_sweep:
        if end.received is None:
            _write(2, f"sparsweep: {tell_why('', end.code, 'the command')}\n")
        if end.received == "SIGINT":
            return INTERRUPTED
        if end.received is not None:
            _die_of(signal.Signals[end.received])
        return end.code if end.code > 0 else 128 - end.code
    reason = end.received or tell_why(written, end.code)
    show_the_cursor = "\x1b[?25h" if os.isatty(1) else ""
    _write(1, show_the_cursor + "".join(f"{line}\n" for line in stopped_lines(reason, words)))
    return INTERRUPTED if reason == "SIGINT" else STOPPED


def stopped_lines(reason: str, words: Sequence[str]) -> list[str]:
    """What a person reads when a sweep stopped.

    Args:
        reason: why.
        words: the command line, by which it goes on, or of a job, which `resume` sends again.
    """
    if "--as-job" in words:
        return [
            f"Stopped ({reason}); all that was finished is kept. Go on, where it was submitted, "
            "with: sparsweep resume"
        ]
    kept = f"Stopped ({reason}); all that was finished is kept. Go on with:"
    return [kept, f"  {join(['sparsweep', *words])}"]


def tell_why(written: str, code: int, who: str = "the driver") -> str:
    """Why a process ended that did not decide to.

    Args:
        written: what its native code wrote.
        code: its exit code, for a signal the negative number.
        who: what to call it.
    """
    if own := _OWN_WORDS.findall(written):
        return str(own[-1])
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    ended = f"{who} was ended by {how}" if code < 0 else f"{who} ended with {how}"
    if said := _ERROR_OF_RAY.findall(written):
        return f"{ended}; Ray: {said[-1].partition('. ')[0][:MAX_WORDS].rstrip()}"
    return ended


class Hearing:
    """When a process last heard a signal: both it and the one that forked it see it."""

    def __init__(self) -> None:
        self._heard_s = mmap.mmap(-1, 8)

    def heard(self) -> None:
        """A signal is heard, now."""
        struct.pack_into("d", self._heard_s, 0, time.monotonic())

    def has_heard(self, came_s: float) -> bool:
        """Whether a signal that came then, on the monotonic clock, is heard. One that is sent to
        both, as a terminal does, may be heard before this process knows of it."""
        heard_s: float = struct.unpack_from("d", self._heard_s, 0)[0]
        return heard_s > came_s - ECHO_S


class Quiet:
    """How long a process has been at a place without going on at all.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int):
        self._pid = pid
        self._last: tuple[Visit, list[tuple[str, ...]]] | None = None
        self._num = 0

    def look(self, visit: Visit | None) -> int:
        """To be called at intervals; how often now it was the same. Counted, since who looks may
        sleep as well, together with the machine."""
        asleep = None if visit is None else sleep_of(self._pid)
        now = None if visit is None or asleep is None else (visit, asleep)
        self._num = self._num + 1 if now is not None and now == self._last else 0
        self._last = now
        return self._num


class End(NamedTuple):
    """How a process ended: its exit code, for a signal the negative number; the first signal that
    came meanwhile; and the place that it had waited for, where that does not answer."""

    code: int
    received: str | None
    silent: str | None = None


def _wait_for(pid: int, awaited: set[signal.Signals], hearing: Hearing, board: Board) -> End:
    """How a child ended; signals that come meanwhile go on to it. One that does not hear a signal
    is killed, also when it heard those before, and so is one that waits for a place."""
    received, came_s = None, -math.inf
    quiet = Quiet(pid)
    # Not `sigtimedwait`: where this process is stopped, and continued when the time is over, Python
    # 3.11 returns a signal that never came, such as 0.
    signal.setitimer(signal.ITIMER_REAL, LOOKS_EVERY_S, LOOKS_EVERY_S)
    while True:
        came = signal.sigwaitinfo(awaited)
        if came.si_signo == signal.SIGALRM:
            visit = board.read()
            is_silent = quiet.look(visit) * LOOKS_EVERY_S >= ANSWERS_WITHIN_S
            if is_silent or _shall_be_ended(visit, came_s, hearing.has_heard(came_s)):
                os.kill(pid, signal.SIGKILL)  # it may not even end now, so it is left behind
                silent = visit.place if visit is not None and received is None else None
                return End(-signal.SIGKILL, received, silent)
        elif came.si_signo == signal.SIGCHLD:
            if (code := _reap(pid)) is not None:
                return End(code, received)
        else:
            received = received or signal.Signals(came.si_signo).name
            if hearing.has_heard(came_s):
                came_s = time.monotonic()
            if came.si_code != SI_KERNEL:  # else it has it already
                os.kill(pid, came.si_signo)


def _shall_be_ended(visit: Visit | None, came_s: float, is_heard: bool) -> bool:
    """Whether a process does not end by itself.

    Args:
        visit: what it looks at.
        came_s: when it was sent a signal.
        is_heard: whether it has heard that.
    """
    now = time.monotonic()
    if not is_heard and now >= came_s + HEARS_WITHIN_S:
        return True
    leaves_within_s = LEAVES_WITHIN_S if is_heard else LEAVES_DEAF_WITHIN_S
    is_sent = came_s > -math.inf
    return is_sent and visit is not None and now >= max(visit.since_s, came_s) + leaves_within_s


def _reap(pid: int) -> int | None:
    """Let children go that have ended; the exit code of one, if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):  # none is left
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == pid:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _die_of(number: signal.Signals) -> None:
    """End this process as the signal ends any other program."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _clean_up() -> None:
    """End what a crashed process has left below us, and remove its folders."""
    until = time.monotonic() + CLEANING_S
    while (left := descendants(os.getpid())) and time.monotonic() < until:
        for process in left:
            kill(process)
        time.sleep(0.05)
        _reap(0)
    remove_leftovers()


def _keep_apart(native: int) -> None:
    """Let Python's own messages go on to the user, and what native code writes to that file."""
    sys.stderr = open(  # noqa: SIM115, PTH123 (a descriptor, as long as the process)
        os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="replace"
    )
    os.dup2(native, 2)
    faulthandler.enable(2)


def _read(native: int) -> str:
    with open(native, "rb") as file:
        file.seek(0)
        return file.read().decode(errors="replace")


def _write(stream: int, text: str) -> None:
    """Write past Python's buffers, to where perhaps nobody listens any more."""
    with contextlib.suppress(OSError):
        os.write(stream, text.encode(errors="replace"))


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)
