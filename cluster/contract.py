"""What a cluster and the driver that runs on it agree on: how the driver is started, its exit
codes, what its workers are called, and variables of the environment.

A cluster sets the variables; all of them may be missing, as they are on a laptop.
"""

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


DRAIN_FILE = "SPARSWEEP_DRAIN_FILE"
"""Variable of a node's workers, set by its raylet: the file whose appearance says that the node is
about to leave."""

ELASTIC = "SPARSWEEP_ELASTIC"
"""Variable of the driver: 1 says that nodes join and leave the cluster all the time, idle ones on
the driver's word."""

NUM_NODES = "SPARSWEEP_NODES"
"""Variable of the driver: machines that the cluster will have as soon as all have started."""

DEADLINE = "SPARSWEEP_DEADLINE"
"""Variable of the driver: unix time in seconds by which all must be saved."""

JOB_LENGTH_S = "SPARSWEEP_JOB_LENGTH_S"
"""Variable of the driver: how many seconds a new job of this kind has for trials."""
