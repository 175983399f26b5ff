"""`python -m cluster.kubernetes.stop_driver`: what the head's pod does before it is stopped.

Kubernetes stops a pod by a signal to its first process, which here is Ray's, and Ray would end the
driver at once. So the driver is told first, and has the pod's grace period to let the trials save
their checkpoints.
"""

import os
import signal
import sys
import time
from pathlib import Path

POLL_S = 0.2


def stop_drivers(proc: Path = Path("/proc"), poll_s: float = POLL_S) -> int:
    """Tell the drivers to stop and wait until they have; Kubernetes ends the wait with the grace
    period.

    Args:
        proc: the folder in which processes are looked for.
        poll_s: time between two looks.

    Returns:
        0, the exit code.
    """
    for pid in driver_pids(proc):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:  # it has just ended
            continue
    while driver_pids(proc):
        time.sleep(poll_s)
    return 0


def driver_pids(proc: Path = Path("/proc")) -> list[int]:
    """Processes that are a `sparsweep run`."""
    return [
        int(entry.name) for entry in proc.iterdir() if entry.name.isdigit() and _is_driver(entry)
    ]


def _is_driver(entry: Path) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:  # it has just ended
        return False
    # Either `python /opt/venv/bin/sparsweep run …` or, where a system starts scripts directly,
    # `sparsweep run …`.
    names = [os.path.basename(word) for word in words[:2]]  # noqa: PTH119
    return b"sparsweep" in names and words[
        names.index(b"sparsweep") + 1 : names.index(b"sparsweep") + 2
    ] == [b"run"]


if __name__ == "__main__":
    sys.exit(stop_drivers())
