"""What a cluster and the driver that runs on it agree on: how the driver is started, its exit
codes, what its workers are called, and variables of the environment.

A cluster sets the variables; all of them may be missing, as they are on a laptop.
"""

import re
from dataclasses import dataclass

COMMAND, PROGRAM = "sparsweep", "orchestrator.cli"
"""The driver's command, and the module that `python -m` runs as this command."""

TRIAL_TITLE = "Trainable"
"""Part of the title of a process that runs trials, or is about to: Ray puts the name of the class
there that a worker was started for."""

DONE, BAD_INPUT, SOME_FAILED, FAULT, STOPPED, INTERRUPTED = 0, 2, 3, 70, 75, 130
"""Exit codes: all trials completed; bad input; some failed; a fault of ours; stopped with trials
left; Ctrl-C. None is 1, with which Python ends where it cannot start, and Ray where its cluster is
gone."""


def has_crashed(code: int) -> bool:
    """Whether the driver ended without deciding to: by a signal that it does not take, or by the 1
    of Python and Ray.

    Args:
        code: as Python gives it (a signal's number is negative) or as a shell does (128 and the
            signal's number).
    """
    return code == 1 or code < 0 or (code > 128 and code != INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many trials of a sweep are done, failed, running and left, as the driver says it in its
    log: what is known of results that only the cluster sees."""

    done: int
    total: int
    failed: int
    running: int
    left: int

    def __str__(self) -> str:
        """For example `12/32 done, 1 failed, 2 running, 17 left`."""
        return (
            f"{self.done}/{self.total} done, {self.failed} failed, {self.running} running, "
            f"{self.left} left"
        )

    @classmethod
    def read(cls, line: str) -> "Counts | None":
        """The counts in a line of the driver's log; None where it has none."""
        match = re.match(r"\[?(\d+)/(\d+) done, (\d+) failed, (\d+) running, (\d+) left\b", line)
        if match is None:
            return None
        done, total, failed, running, left = map(int, match.groups())
        return cls(done=done, total=total, failed=failed, running=running, left=left)


DRAIN_FILE = "SPARSWEEP_DRAIN_FILE"
"""Variable of a node's workers, set by its raylet: the file whose appearance says that the node is
about to leave."""

ELASTIC = "SPARSWEEP_ELASTIC"
"""Variable of the driver: 1 says that nodes join and leave the cluster all the time, idle ones on
the driver's word."""

AUTOSCALED = "SPARSWEEP_AUTOSCALED"
"""Variable of the driver: 1 says that an autoscaler takes idle nodes away, once nothing is reserved
on them."""

NUM_NODES = "SPARSWEEP_NODES"
"""Variable of the driver: machines that the cluster will have as soon as all have started."""

DEADLINE = "SPARSWEEP_DEADLINE"
"""Variable of the driver: unix time in seconds by which all must be saved."""

JOB_LENGTH_S = "SPARSWEEP_JOB_LENGTH_S"
"""Variable of the driver: how many seconds a new job of this kind has for trials."""
