"""Files that `submit` and the parts of a Slurm job leave for one another in the job's folder."""

from pathlib import Path

PROBE = "probe"
"""Written at submission, read back by the first node."""
SEEN = "seen"
"""Name of the node that read the probe; without it no node has seen the folder."""
ADDRESS = "cluster.json"
"""Elastic: address and token of the head, for as long as it is up."""
HEAD = "head"
"""Elastic: number of the head's job."""
WORKERS = "workers"
"""Elastic: number of the workers' job."""
OVER = "over"
"""Elastic: the sweep needs no worker any more."""


def read(file: Path) -> str:
    """What somebody wrote there; nothing where they could not, have not yet, or it is damaged."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
