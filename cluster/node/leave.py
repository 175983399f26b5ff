"""`python -m cluster.node.leave [PID]`: what a pod does before it is stopped. Its trials save their
checkpoints and end.

The trials watch for a file, see `cluster.contract.DRAIN_FILE`; this makes it and waits for those
below process PID, by default the pod's first one. It says nothing of how long it may take: who
stops the pod kills it when its grace period is over.
"""

import os
import sys
import time
from pathlib import Path

from cluster.contract import DRAIN_FILE
from cluster.node.raylet import has_trials

NO_FILE = 2


def main() -> int:
    """Return 0 when no trial is left here, 2 when the environment does not name the file."""
    path = os.environ.get(DRAIN_FILE)
    if not path:
        sys.stderr.write(
            f"{DRAIN_FILE} is not set; set it to the same path for this command and for the "
            "raylet\n"
        )
        return NO_FILE
    root_pid = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    Path(path).touch()
    while has_trials(root_pid):
        time.sleep(0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
