"""The signals that ask a sweep to stop, from the moment the process starts to its end.

Python's own answer to SIGTERM and SIGUSR2 is to die at once. `StopSignals` remembers them instead,
so that whoever runs the sweep can end it cleanly, also when they come while it is still being
planned or while Ray is starting.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Self

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

EARLY_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
"""Those that are remembered while nothing runs yet; Ctrl-C then ends the command as in any other
program."""

Handler = Callable[[int, FrameType | None], object]


class StopSignals:
    """While it is open, SIGTERM and SIGUSR2 are remembered, not obeyed. Use it in the main thread.

    Attributes:
        received: name of the first signal that came, None as long as none has.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, object] = {}
        self._stop: Callable[[str], None] | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what getsignal gave

    def take(self) -> None:
        """Take the signals again from a library that took them for itself, as Ray does when it
        starts."""
        for number in EARLY_SIGNALS if self._stop is None else STOPPING_SIGNALS:
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
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name
        if self._stop is not None:
            self._stop(self.received)
