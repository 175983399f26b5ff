"""A sweep on a Ray cluster that is there already."""

import signal
import socket

from tests.real_sweeps import (
    ONE_BY_ONE,
    ONE_TO_STOP,
    Command,
    checkpoints,
    numbers,
    sparsweep,
    write_sweep,
)


def test_sweep_uses_the_cluster_of_ray_address_and_leaves_it_running(
    shared_ray, undisturbed, tmp_path
):
    # More memory than the machine has: a trial then asks for all of it.
    resources = ONE_BY_ONE | {"memory_gib_per_trial": 1e6}
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", resources=resources)
    code, output = sparsweep("run", spec, **shared_ray)
    assert code == 0, output
    assert numbers(tmp_path / "results") == numbers(undisturbed)
    host, _, port = shared_ray["RAY_ADDRESS"].rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def test_sigterm_ends_with_exit_code_75_while_trials_are_left(shared_ray, tmp_path):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    command = Command("run", spec, **shared_ray)
    command.wait_until(lambda: len(checkpoints(results)) > 0)
    command.process.send_signal(signal.SIGTERM)
    code, output = command.finish()
    assert code == 75, output
