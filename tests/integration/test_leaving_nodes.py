"""Sweeps on a real cluster whose nodes join late, are told to leave, crash, and are let go."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.results.store import ResultStore
from tests.real_sweeps import (
    TO_STOP,
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


class Node:
    """A raylet in a process group of its own, and a file that tells its workers to leave."""

    def __init__(self, environment: dict[str, str], *options: str):
        # Ray's sockets lie in it, whose paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
        self.drain_file = self.folder / "leaving"
        self.log = (self.folder / "log").open("w")
        services = ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export")
        words = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block"]
        words += ["--disable-usage-stats", "--num-gpus=0", "--memory=1000000000"]
        words += ["--object-store-memory=80000000", f"--temp-dir={self.folder / 'r'}"]
        words += [
            f"--{service}-port={port}"
            for service, port in zip(services, free_ports(len(services)), strict=True)
        ]
        self.process = subprocess.Popen(
            [*words, *options],
            env=os.environ | environment | {"SPARSWEEP_DRAIN_FILE": str(self.drain_file)},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """All that belong to it."""
        return (
            psutil.Process(self.process.pid).children(recursive=True)
            if self.process.poll() is None
            else []
        )

    def workers(self) -> list[psutil.Process]:
        """Those that run trials."""
        return [process for process in self.processes() if is_called(process, "Trainable")]

    def has_ended(self) -> bool:
        """Whether its raylet is gone; after a peaceful end, other processes of Ray stay behind."""
        return not any(
            process.name() == "raylet" and is_alive(process) for process in self.processes()
        )

    def leave(self) -> None:
        """Tell its workers that it is about to leave."""
        self.drain_file.touch()

    def crash(self) -> None:
        """All of it at once, as a machine does."""
        for process in (psutil.Process(self.process.pid), *self.processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.crash()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Cluster:
    """A head that runs no trials, and nodes with one core each that are added and lost."""

    def __init__(self) -> None:
        port, client_port = free_ports(2)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = token | {"RAY_ADDRESS": f"{own_address()}:{port}"}
        client = f"--ray-client-server-port={client_port}"
        head = ("--head", f"--port={port}", client, "--include-dashboard=false", "--num-cpus=0")
        self.nodes = [Node(token, *head)]
        self._token = token
        until = time.monotonic() + 120
        while not is_listening(port):
            assert time.monotonic() < until, "the head did not start"
            time.sleep(0.1)

    def add_node(self) -> Node:
        node = Node(self._token, f"--address={self.environment['RAY_ADDRESS']}", "--num-cpus=1")
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.close()


def own_address() -> str:
    """The address that Ray takes for a node where it is given none."""
    # It sends nothing, it only looks up the route.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:  # no network at all
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((own_address(), port)) == 0


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def is_called(process: psutil.Process, name: str) -> bool:
    """Whether Ray gave the process this name, which is that of a class."""
    try:
        return name in " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def attempts(results: Path) -> list[dict]:
    return ResultStore(str(results)).read("attempts").to_pylist()


def messages(results: Path, kind: str) -> list[str]:
    return [row["error_message"] for row in attempts(results) if row["error_kind"] == kind]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.close()


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
