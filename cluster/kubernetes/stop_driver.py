"""`python -m cluster.kubernetes.stop_driver`: what the head's pod does before it is stopped.

Kubernetes stops a pod by a signal to its first process, which here is Ray's, and Ray would end the
driver at once. So the driver is told first, and has the pod's grace period to let the trials save
their checkpoints.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import psutil

from cluster.contract import COMMAND
from cluster.node.processes import command_line

POLL_S = 0.2


def stop_drivers(
    processes: Callable[[], Iterable[psutil.Process]] = psutil.process_iter, poll_s: float = POLL_S
) -> int:
    """Tell the drivers to stop and wait until they have; Kubernetes ends the wait with the grace
    period.

    Args:
        processes: lists the processes among which drivers are looked for.
        poll_s: time between two looks, in seconds.

    Returns:
        0, the exit code.
    """
    for driver in _drivers(processes()):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            driver.terminate()
    while _drivers(processes()):
        time.sleep(poll_s)
    return 0


def _drivers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if is_driver(command_line(process))]


def is_driver(words: Sequence[str]) -> bool:
    """Whether a command line is that of a `sparsweep run`.

    It is `python /opt/venv/bin/sparsweep run …` or, where a system starts scripts directly,
    `sparsweep run …`.
    """
    names = [PurePath(word).name for word in words[:2]]
    if COMMAND not in names:
        return False
    following = names.index(COMMAND) + 1
    return list(words[following : following + 1]) == ["run"]


if __name__ == "__main__":
    sys.exit(stop_drivers())
