"""What Slurm's signals ask of a job."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Wish:
    """What a signal asked for, and whether the job comes back to the queue afterwards."""

    reason: str
    comes_back: bool


WISHES = {
    signal.SIGUSR2: Wish("the time limit is near", comes_back=True),
    signal.SIGTERM: Wish("the job is preempted or cancelled", comes_back=True),
    signal.SIGUSR1: Wish("sparsweep cancel", comes_back=False),
}


class Signals:
    """Remembers what was wished, and passes it to the driver as the signal that stops it
    cleanly."""

    def __init__(self) -> None:
        self.wish: Wish | None = None
        self._wished_s = 0.0
        self._driver: subprocess.Popen[bytes] | None = None
        for number in WISHES:
            signal.signal(number, self._receive)

    def watch(self, driver: "subprocess.Popen[bytes]") -> None:
        """From now on stop this process, and at once if something was wished before."""
        self._driver = driver
        if self.wish:
            self._stop_driver()

    def stop(self, wish: Wish) -> None:
        """As if somebody had sent a signal."""
        if self.wish is None:
            say(f"{wish.reason}; trials save their checkpoints")
            self._wished_s = time.monotonic()
        if (
            self.wish is None or not wish.comes_back
        ):  # a cancelled job does not come back, whatever else it was told
            self.wish = wish
        self._stop_driver()

    def waited_s(self) -> float:
        """Seconds since the first wish."""
        return time.monotonic() - self._wished_s if self.wish else 0.0

    def _receive(self, number: int, frame: object) -> None:
        self.stop(WISHES[signal.Signals(number)])

    def _stop_driver(self) -> None:
        if self._driver and self._driver.poll() is None:
            self._driver.send_signal(signal.SIGUSR2)


class NodeSignals:
    """For one node of a block: TERM means that Slurm takes the job back, USR1 that the job is
    over."""

    def __init__(self) -> None:
        self.is_over = self.must_save = False
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGUSR1, self._receive)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it is for the driver

    def _receive(self, number: int, frame: object) -> None:
        self.is_over |= number == signal.SIGUSR1
        self.must_save |= number == signal.SIGTERM


def say(text: str) -> None:
    """A line in the job's log."""
    print(f"[job {os.environ.get('SLURM_JOB_ID', '?')}] {text}", flush=True)
