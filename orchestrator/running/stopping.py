"""How a sweep is stopped: the signals that ask for it, and the switch that all its parts look at.

Python's own answer to SIGTERM, SIGUSR2 and SIGHUP (the terminal was closed) is to die at once.
`StopSignals` remembers them instead, so that whoever runs the sweep can end it cleanly, also when
they come while it is still being planned or while Ray is starting. What cannot be ended cleanly
is ended by `end_at_once`.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn, Self

EARLY_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
"""Those that are remembered until Ray starts; Ctrl-C then ends the command as in any other
program."""

STOPPING_SIGNALS = (signal.SIGINT, *EARLY_SIGNALS)

ECHO_S = 1.0
"""Seconds within which a second Ctrl-C is the first one again: who sends a signal to a process may
send it to its group as well, as `timeout` does."""

OWN_WORDS = "sparsweep: "
"""How a line begins by which a process says why it ended at once."""


class StopSignals:
    """While it is open, SIGTERM, SIGUSR2 and SIGHUP are remembered, not obeyed; SIGHUP stays
    ignored where it was, as `nohup` has it. Ctrl-C raises KeyboardInterrupt and is remembered as
    well: Python drops what is raised while it runs a finalizer or a hook of a fork. Use it in the
    main thread.

    Args:
        heard: called with each signal: the process hears signals.

    Attributes:
        received: name of the first signal that came, None as long as none has.
    """

    def __init__(self, heard: Callable[[], object] = lambda: None) -> None:
        self._heard = heard
        self.received: str | None = None
        self._before: dict[int, object] = {}
        self._terminals: list[int] = []
        self._stop: Callable[[str], None] | None = None
        self._interrupted_s = -math.inf

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}
        streams = {1, 2} | {_number_of(stream) for stream in (sys.stdout, sys.stderr)}
        self._terminals = [number for number in streams if os.isatty(number)]
        self.take()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what getsignal gave

    def take(self) -> None:
        """Take the signals again from a library that took them for itself, as Ray does when it
        starts."""
        for number in STOPPING_SIGNALS:
            may_stay_ignored = number == signal.SIGHUP or (
                number == signal.SIGINT and self._stop is None
            )
            if not (may_stay_ignored and self._before.get(number) == signal.SIG_IGN):
                signal.signal(number, self._handle)

    @contextlib.contextmanager
    def calling(self, stop: Callable[[str], None]) -> Iterator[None]:
        """Inside the block each signal, Ctrl-C too, calls `stop` with its name, as does one that
        came before.

        A second Ctrl-C raises KeyboardInterrupt.
        """
        self._stop = stop
        self.take()
        if self.received is not None:
            stop(self.received)
        try:
            yield
        finally:
            self._stop = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._heard()
        if number == signal.SIGINT:
            before_s, self._interrupted_s = self._interrupted_s, time.monotonic()
            if self._interrupted_s - before_s < ECHO_S:
                return
            if self._stop is None or self.received is not None:
                self.received = self.received or "SIGINT"
                raise KeyboardInterrupt
        if number == signal.SIGHUP:
            self._forget_terminals()
        self.received = self.received or signal.Signals(number).name
        if self._stop is not None:
            self._stop(self.received)

    def _forget_terminals(self) -> None:
        """What is said from now on is said to nobody: the terminal is gone, and writing fails."""
        if self._terminals:
            nobody = os.open(os.devnull, os.O_WRONLY)
            for number in self._terminals:
                os.dup2(nobody, number)
            os.close(nobody)
            self._terminals = []


def _number_of(stream: object) -> int:
    """The file descriptor of a stream; -1 where it has none."""
    try:
        number: int = stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return -1
    return number


def hear_interrupts(heard: Callable[[], object]) -> None:
    """Let Ctrl-C end this process as it does any other program, and be heard.

    Args:
        heard: called with each.
    """
    raised_s = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal raised_s
        heard()
        before_s, raised_s = raised_s, time.monotonic()
        if raised_s - before_s >= ECHO_S:
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)


def end_at_once(reason: str) -> NoReturn:
    """End this process where nothing can be waited for or saved; whoever supervises it says
    why, and how to go on."""
    os.write(2, f"{OWN_WORDS}{reason}\n".encode())
    os._exit(1)


class StopSwitch:
    """Stops a sweep once, for one reason: running trials save their checkpoints, no more start.

    Attributes:
        reason: why the sweep stops; None as long as it does not.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._stopped_s: float | None = None
        self._listeners: list[Callable[[str], None]] = []

    @property
    def is_on(self) -> bool:
        """Whether the sweep stops."""
        return self.reason is not None

    @property
    def seconds_on(self) -> float:
        """Seconds since the sweep was stopped; 0 while it is not."""
        return 0.0 if self._stopped_s is None else time.monotonic() - self._stopped_s

    def stop(self, reason: str) -> None:
        """Stop the sweep; does nothing if it is stopped already."""
        if not self.is_on:
            self.reason, self._stopped_s = reason, time.monotonic()
            for listener in list(self._listeners):
                listener(reason)

    def results_failed(self, error: OSError) -> None:
        """Stop since results cannot be written or read; what is recorded stays, the rest is left
        for the next run."""
        self.stop(f"the results cannot be used, make room or mend the place: {error}")

    @contextlib.contextmanager
    def telling(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Inside the block the listener is called with the reason when the sweep stops, at once if
        it is stopped already."""
        self._listeners.append(listener)
        if self.reason is not None:
            listener(self.reason)
        try:
            yield
        finally:
            self._listeners.remove(listener)
