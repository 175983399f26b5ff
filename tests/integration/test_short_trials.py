"""All workers that there is room for are started, also where trials are shorter than that takes."""

import os
import subprocess
import sys

from tests.integration.short_trials import NUM_WORKERS


def test_as_many_workers_start_as_there_is_room_for(cluster, tmp_path):
    """Ray Tune by itself starts one worker at a time for searchers like ours, and gives a trial to
    the next worker that is free instead: there would be two."""
    cluster.add_node(NUM_WORKERS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.short_trials", str(tmp_path / "results")],
        env=os.environ | cluster.environment | {"SPARSWEEP_NODES": "2"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == NUM_WORKERS
