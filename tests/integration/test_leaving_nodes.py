"""Sweeps on a real cluster whose nodes join late, are told to leave, crash, and are let go."""

import signal
import time
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.ray_nodes import is_called
from tests.real_sweeps import (
    TO_STOP,
    TRAINING,
    Command,
    assert_same_numbers,
    changed_at,
    checkpoints,
    write_sweep,
)

ELASTIC = {"SPARSWEEP_ELASTIC": "1"}
RESOURCES = {
    "checkpoint_every_s": 0.2,
    "max_retries": 0,
    "max_concurrent_trials": 4,
    "gpus_per_trial": 0,
}


def attempts(results: Path) -> list[dict]:
    return ResultStore(str(results)).read("attempts").to_pylist()


def messages(results: Path, kind: str) -> list[str]:
    return [row["error_message"] for row in attempts(results) if row["error_kind"] == kind]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def tiny(results: Path, **changes: object) -> str:
    return write_sweep(
        results.with_name("tiny.yaml"), results, **{"resources": RESOURCES} | changes
    )


def test_a_trial_moves_from_a_leaving_and_from_a_lost_node(cluster, results, never_stopped):
    spec = tiny(results, **TO_STOP | {"languages": ["ka"]})
    running = Command("run", spec, **cluster.environment, **ELASTIC)
    first = cluster.add_node()  # the driver waits for it: the head runs no trials
    running.wait_until(lambda: bool(checkpoints(results)))

    first.leave()
    running.wait_until(lambda: bool(messages(results, "stopped")))
    running.wait_until(lambda: not first.workers())
    left = time.time()
    second = cluster.add_node()
    running.wait_until(lambda: any(changed_at(file) > left for file in checkpoints(results)))
    assert second.workers()
    assert not first.workers(), "nothing new is given to a node that leaves"

    second.crash()
    cluster.add_node()
    code, output = running.finish()
    assert code == 0, output
    assert "moved " in output
    assert_same_numbers(results, never_stopped, num_trials=1)
    assert checkpoints(results) == []
    (message,) = messages(results, "stopped")
    assert " its node " in f" {message}"
    assert " leaves" in message
    (message,) = messages(results, "worker_died")
    assert " was lost" in message
    (trial,) = ResultStore(str(results)).read("trials").to_pylist()
    assert trial["num_resumes"] == 2, "from its checkpoint, though `max_retries` is 0"


def test_idle_nodes_end_while_the_last_trial_runs(cluster, results):
    nodes = [cluster.add_node() for _ in range(2)]
    long = {"num_steps": 100_000, "lr": 1e-3}
    spec = tiny(results, languages=["ka"], sparsities=[0.0], training=long)
    running = Command("run", spec, **cluster.environment, **ELASTIC)
    running.wait_until(lambda: any(node.workers() for node in nodes))
    (busy,) = [node for node in nodes if node.workers()]
    (idle,) = [node for node in nodes if node is not busy]
    running.wait_until(idle.has_ended)
    assert busy.workers()
    busy.crash()  # the trial comes back when no node is left
    late = cluster.add_node()
    running.wait_until(lambda: bool(late.workers()))
    running.process.send_signal(signal.SIGUSR2)
    code, output = running.finish()
    assert code == 75, output


def test_nothing_is_reserved_on_an_idle_node_that_an_autoscaler_takes_away(cluster, results):
    """The first trial is held in its midst, so that it lasts until the other's node is free."""
    first = cluster.add_node()
    spec = tiny(results, sparsities=[0.0], training=TRAINING | {"num_steps": 300})
    running = Command("run", spec, **cluster.environment, SPARSWEEP_AUTOSCALED="1")
    running.wait_until(lambda: bool(checkpoints(results)))  # so its worker has told where it is
    (held,) = first.workers()
    held.suspend()
    second = cluster.add_node()
    running.wait_until(lambda: len(ResultStore(str(results)).read("trials")) == 1)

    running.wait_until(lambda: not second.workers())

    assert not second.has_ended(), "that is the autoscaler's business"
    (raylet,) = [process for process in second.processes() if process.name() == "raylet"]
    raylet.kill()  # of which its agent tells all drivers, in 20 lines, and ends
    agent = "dashboard/agent.py"
    running.wait_until(lambda: not any(is_called(one, agent) for one in second.processes()))
    held.resume()
    running.process.send_signal(signal.SIGUSR2)
    code, output = running.finish()
    assert code == 75, output
    assert "Raylet is terminated" not in output


def test_a_stop_does_not_wait_for_nodes_that_may_never_come(cluster, results):
    running = Command("run", tiny(results), **cluster.environment, **ELASTIC)
    (head,) = cluster.nodes
    running.wait_until(lambda: any(is_called(child, "StopSignal") for child in head.processes()))
    time.sleep(2)  # it could have given up
    assert running.process.poll() is None
    asked = time.monotonic()
    running.process.send_signal(signal.SIGUSR2)
    code, output = running.finish()
    assert code == 75, output
    assert "stopping SIGUSR2" in output
    assert time.monotonic() - asked < 20
