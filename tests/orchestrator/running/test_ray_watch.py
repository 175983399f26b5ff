"""The Ray under a driver: when it counts as gone, and who is told."""

import os
import socket
import subprocess
import sys
from queue import SimpleQueue

import pytest

from orchestrator.running.ray_watch import RayWatch


def test_a_service_that_is_not_there_for_long_is_lost_and_one_that_is_there_again_is_not():
    head, raylet = iter([True, False, False, True]), iter([True] * 6)
    services = {"Ray's head": lambda: next(head, True), "Ray's raylet": lambda: next(raylet, False)}
    losses: SimpleQueue[str] = SimpleQueue()
    watch = RayWatch(services, 0.01)
    with watch.telling(losses.put), watch:
        assert losses.get(timeout=10) == "Ray's raylet is gone"
    assert losses.empty()


def test_the_head_of_a_cluster_is_watched_before_ray_is_connected():
    losses: SimpleQueue[str] = SimpleQueue()
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        watch = RayWatch.of_cluster(address)
        watch._look_every_s = 0.01
        with watch.telling(losses.put), watch:
            head.close()
            assert losses.get(timeout=10) == f"Ray's head ({address}) is gone"
    assert not RayWatch.of_cluster("auto")._services, "Ray says later where it is"


@pytest.mark.slow
def test_while_nobody_wants_to_be_told_a_loss_ends_the_process(tmp_path):
    (tmp_path / "gcs_server").symlink_to("/bin/sleep")
    script = (
        "import subprocess, sys, time\n"
        "from orchestrator.running.ray_watch import RayWatch\n"
        "with RayWatch.of_private_ray():\n"
        "    time.sleep(0.5)\n"
        "    subprocess.Popen([sys.argv[1], '1'])\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "gcs_server")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, env=os.environ)
    assert (done.returncode, done.stderr) == (1, "sparsweep: Ray's head is gone\n")
