"""What Slurm's signals ask of a job."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class StopRequest:
    """Why a job is to stop, and whether it comes back to the queue afterwards."""

    reason: str
    comes_back: bool


STOP_REQUESTS = {
    signal.SIGUSR2: StopRequest("the time limit is near", comes_back=True),
    signal.SIGTERM: StopRequest("the job is preempted or cancelled", comes_back=True),
    signal.SIGUSR1: StopRequest("sparsweep cancel", comes_back=False),
}


class Signals:
    """Remembers the request to stop, and sends the driver the signal that stops it cleanly."""

    def __init__(self) -> None:
        self.request: StopRequest | None = None
        self._requested_s = 0.0
        self._driver: subprocess.Popen[bytes] | None = None
        for number in STOP_REQUESTS:
            signal.signal(number, self._receive)

    def watch(self, driver: "subprocess.Popen[bytes]") -> None:
        """From now on stop this process, and at once if there was a request before."""
        self._driver = driver
        if self.request:
            self._stop_driver()

    def stop(self, request: StopRequest) -> None:
        """Do as if somebody had sent a signal."""
        if self.request is None:
            log_line(f"{request.reason}; trials save their checkpoints")
            self._requested_s = time.monotonic()
        # A cancelled job does not come back, whatever else it was told.
        if self.request is None or not request.comes_back:
            self.request = request
        self._stop_driver()

    def waited_s(self) -> float:
        """Seconds since the first request; 0 where there is none."""
        return time.monotonic() - self._requested_s if self.request else 0.0

    def _receive(self, number: int, frame: object) -> None:
        self.stop(STOP_REQUESTS[signal.Signals(number)])

    def _stop_driver(self) -> None:
        if self._driver and self._driver.poll() is None:
            self._driver.send_signal(signal.SIGUSR2)


class NodeSignals:
    """What a node of a block is told: TERM, Slurm takes the job back; USR1, the job is over."""

    def __init__(self) -> None:
        self.is_over = self.must_save = False
        signal.signal(signal.SIGTERM, self._receive)
        signal.signal(signal.SIGUSR1, self._receive)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it is for the driver

    def _receive(self, number: int, frame: object) -> None:
        self.is_over |= number == signal.SIGUSR1
        self.must_save |= number == signal.SIGTERM


def log_line(text: str) -> None:
    """Write a line into the job's log."""
    print(f"[job {os.environ.get('SLURM_JOB_ID', '?')}] {text}", flush=True)
