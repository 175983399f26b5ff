"""One node of a Ray cluster that several machines form: its ports, its limits, how it is started
and how it leaves.

Unlike the private Ray of one machine this one listens on the network, so all that keeps it closed
is its token. The node's ports come from the job's number and are probed, since other jobs may share
the machine.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.contract import DRAIN_FILE, TRIAL_TITLE
from cluster.node.machine import usable_cpus, usable_memory_bytes, visible_gpus
from cluster.node.mps import Mps, NoMpsError
from cluster.node.own_folder import make_own_folder, remove_own_folder
from cluster.node.private_ray import NODE_ENVIRONMENT, OBJECT_STORE_BYTES, private_caches
from cluster.node.processes import Below, command_line, descendants, kill, starting_deaf_to

# Below the ports that Linux gives to outgoing connections (32768 and up), above those of known
# services.
FIRST_PORT, LAST_PORT = 16384, 32767
NUM_SERVICES = 8
WORKER_PORTS_PER_CPU = 4
SPARE_WORKER_PORTS = 32

MEMORY_SHARE = 0.9
"""The rest is for Ray's own processes and the job's."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a node gives to trials."""

    cpus: int
    gpus: int
    memory_bytes: int


@dataclass(frozen=True)
class Ports:
    """A run of free ports: `NUM_SERVICES` for Ray's services, the others for its workers."""

    first: int
    number: int

    @property
    def gcs(self) -> int:
        """Port of the cluster's head, which is part of the cluster's address."""
        return self.first

    def options(self) -> list[str]:
        """For `ray start`."""
        names = ["node-manager", "object-manager", "dashboard-agent-grpc", "dashboard-agent-listen"]
        names += ["metrics-export", "runtime-env-agent"]
        services = [f"--{name}-port={self.first + 1 + index}" for index, name in enumerate(names)]
        workers = (
            f"--min-worker-port={self.first + NUM_SERVICES}",
            f"--max-worker-port={self.first + self.number - 1}",
        )
        return [*services, *workers]


def find_ports(job_number: int, num_cpus: int) -> Ports:
    """Free ports for one node of a job; jobs with other numbers look in other places first.

    Args:
        job_number: any whole number that tells jobs apart.
        num_cpus: cores that trials may use, each of which may have a worker.

    Raises:
        OSError: no run of free ports is long enough.
    """
    number = NUM_SERVICES + SPARE_WORKER_PORTS + WORKER_PORTS_PER_CPU * num_cpus
    num_places = (LAST_PORT + 1 - FIRST_PORT) // number
    for attempt in range(num_places):
        first = FIRST_PORT + (job_number * 7 + attempt) % num_places * number
        if all(_is_free(port) for port in range(first, first + number)):
            return Ports(first, number)
    raise OSError(
        f"ports {FIRST_PORT} to {LAST_PORT}: no {number} free ones in a row for Ray; use another "
        "node"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def own_address(name: str | None = None) -> str:
    """The address at which other nodes reach this one.

    Args:
        name: what the batch system calls this node; None: the host's own name.
    """
    for candidate in (name, socket.gethostname()):
        try:
            address = socket.gethostbyname(candidate) if candidate else ""
        except OSError:  # a name that is not known here
            continue
        # /etc/hosts may point a host's own name to itself.
        if address and not address.startswith("127."):
            return address
    # A datagram socket sends nothing here, it only looks up the route.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def usable_offer(
    cpus: int | None = None, gpus: int | None = None, memory_bytes: int | None = None
) -> Offer:
    """What this node has, as far as the batch system gives it to the job.

    Args:
        cpus: cores that the batch system counts for the job; None: those that this process may use.
        gpus: GPUs of the job on this node; None: as many as CUDA_VISIBLE_DEVICES names.
        memory_bytes: memory of the job on this node; None: as far as cgroups let it grow.
    """
    return Offer(
        cpus=cpus or usable_cpus(),
        gpus=len(visible_gpus(os.environ) or ()) if gpus is None else gpus,
        memory_bytes=min(memory_bytes or usable_memory_bytes(), usable_memory_bytes()),
    )


def is_reachable(address: str, timeout_s: float = 2.0) -> bool:
    """Whether somebody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s):
            return True
    except (OSError, OverflowError):  # OverflowError: the port is above 65535
        return False


def wait_until_reachable(
    address: str, timeout_s: float, may_come: Callable[[], bool] = lambda: True
) -> bool:
    """Whether somebody listens at HOST:PORT within that time, as long as `may_come` says yes."""
    until = time.monotonic() + timeout_s
    while not is_reachable(address):
        if time.monotonic() > until or not may_come():
            return False
        time.sleep(0.2)
    return True


class Raylet:
    """A running `ray start`, this node's part of a cluster, with a temporary folder that only the
    user can enter.

    Args:
        address: HOST:PORT of the cluster's head.
        own: this node's address.
        ports: this node's ports.
        offer: what trials may use here.
        temp_root: where the temporary folder is made; short, since it becomes part of socket paths.
        is_head: whether this node is the head; its `ports.gcs` is then the port of `address`.
        log: where Ray's own lines go; None: to those of this process.
        with_mps: whether trials that share its GPUs compute at the same time, see
            `cluster.node.mps`.

    Attributes:
        without_mps: why they do not though they shall, a line; empty: nothing stands in the way.

    The environment must have RAY_AUTH_MODE and RAY_AUTH_TOKEN set.
    """

    def __init__(
        self,
        address: str,
        own: str,
        ports: Ports,
        offer: Offer,
        temp_root: str,
        *,
        is_head: bool,
        log: Path | None = None,
        with_mps: bool = False,
    ):
        self.temp_dir = make_own_folder("ray-", temp_root)
        self.drain_file = self.temp_dir / "leaving"
        self._mps, self.without_mps = self._start_mps() if with_mps else (None, "")
        place = (
            ["--head", f"--port={ports.gcs}", "--include-dashboard=false"]
            if is_head
            else [f"--address={address}"]
        )
        client = [f"--ray-client-server-port={ports.first + NUM_SERVICES - 1}"] if is_head else []
        words = [
            *(sys.executable, "-P", "-m", "ray.scripts.scripts"),
            *("start", "--block", "--log-color=false"),
            "--include-log-monitor=false",  # it reads all logs to send them to the driver, unwanted
            *place,
            *client,
            *ports.options(),
            f"--node-ip-address={own}",
            f"--num-cpus={offer.cpus}",
            f"--num-gpus={offer.gpus}",
            f"--memory={int(offer.memory_bytes * MEMORY_SHARE) - OBJECT_STORE_BYTES}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            # Ray lets everybody write to its folder, so it is one inside ours.
            f"--temp-dir={self.temp_dir / 'r'}",
        ]
        environment = os.environ | {
            DRAIN_FILE: str(self.drain_file),
            **private_caches(self.temp_dir),
            **NODE_ENVIRONMENT,
            **(self._mps.environment if self._mps else {}),
        }
        # Slurm sends TERM to every process below a step, whatever its session or group. Ray would
        # end at once, and so would the driver, with trials that have not saved. We alone are to
        # hear it and tell the trials.
        deaf = starting_deaf_to(signal.SIGTERM)
        with log.open("a") if log else contextlib.nullcontext() as output, deaf:
            self.process = subprocess.Popen(
                words,
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._raylet = Below(self.process.pid, "raylet")

    def is_running(self) -> bool:
        """Whether it has not ended; `ray start` goes on for minutes after its raylet, which ends
        when it is drained."""
        return self.process.poll() is None and self._raylet.may_come()

    def leave(self, within_s: float) -> None:
        """Tell the trials on this node to save their checkpoints, and wait until they have, or the
        time is over."""
        self.drain_file.touch()
        until = time.monotonic() + within_s
        while self.is_running() and time.monotonic() < until and has_trials(self.process.pid):
            time.sleep(0.2)

    def close(self) -> None:
        """End it and all that it started, and remove its files. Ray's own `ray stop` would end
        other jobs' Rays."""
        children = descendants(self.process.pid)
        self.process.kill()  # TERM would not reach it
        self.process.wait()
        for child in children:
            kill(child)
        if self._mps:
            self._mps.close()
        remove_own_folder(self.temp_dir)

    def _start_mps(self) -> tuple[Mps | None, str]:
        try:
            return Mps(self.temp_dir / "mps", os.environ), ""
        except NoMpsError as error:
            return None, str(error)


def has_trials(root_pid: int) -> bool:
    """Whether a worker below this process runs trials or is about to."""
    return any(_is_trial_worker(process) for process in descendants(root_pid))


def _is_trial_worker(process: psutil.Process) -> bool:
    title = " ".join(command_line(process))
    return title.startswith("ray::") and TRIAL_TITLE in title
