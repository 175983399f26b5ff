"""A real Ray cluster on this machine, whose nodes join, are told to leave, and crash."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from cluster.node.private_ray import NODE_ENVIRONMENT


class Node:
    """A raylet in a process group of its own, and a file that tells its workers to leave."""

    def __init__(self, environment: dict[str, str], *options: str):
        # Ray's sockets lie in it, whose paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
        self.drain_file = self.folder / "leaving"
        self.log = (self.folder / "log").open("w")
        services = ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export")
        words = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--block"]
        words += [
            "--include-log-monitor=false",
            "--num-gpus=0",
            "--memory=1000000000",
            "--object-store-memory=80000000",
        ]
        words += [f"--temp-dir={self.folder / 'r'}"]
        words += [
            f"--{service}-port={port}"
            for service, port in zip(services, free_ports(len(services)), strict=True)
        ]
        own = NODE_ENVIRONMENT | {"SPARSWEEP_DRAIN_FILE": str(self.drain_file)}
        self.process = subprocess.Popen(
            [*words, *options],
            env=os.environ | environment | own,
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
    """A head that runs no trials, and nodes that are added and lost."""

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

    def add_node(self, num_cpus: int = 1) -> Node:
        address = f"--address={self.environment['RAY_ADDRESS']}"
        node = Node(self._token, address, f"--num-cpus={num_cpus}")
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
