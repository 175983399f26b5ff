"""Notices when the Ray under the driver is gone, from before it is connected to until it is left.

Neither the raylet of the driver's own node nor the cluster's head comes back, and Ray itself waits
for the one without end, and ends the driver for the other after a minute, without a word. Ray is
not imported here: it reads its environment while it is imported.
"""

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Self

from cluster.node.processes import Below
from cluster.node.raylet import is_reachable
from orchestrator.running.stopping import end_at_once

LOOKS_EVERY_S, PROBES_EVERY_S = 0.1, 2.0
"""How often it is looked whether a process of this machine runs, and whether a service answers."""
MAX_MISSES = 5
"""Looks in a row at which a service of Ray is not there until it counts as gone."""
PROBE_TIMEOUT_S = 1.0

_HEAD, _RAYLET = "Ray's head", "Ray's raylet of this machine"


class Watch(ABC):
    """A thread that looks after Ray as long as the block is open.

    Args:
        name: of the thread.
        ends_within_s: how long the end of the block waits for what it is doing, in seconds.
    """

    def __init__(self, name: str, ends_within_s: float):
        self._closing, self._ends_within_s = threading.Event(), ends_within_s
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._thread.join(self._ends_within_s)

    @abstractmethod
    def _watch(self) -> None:
        """Look, again and again, until `_closing` is set."""


class RayWatch(Watch):
    """A thread that tells once when a service of Ray is gone; until somebody wants to be told, it
    ends this process.

    Args:
        services: what says whether one is there, by its name.
        look_every_s: seconds between two looks.
    """

    def __init__(self, services: Mapping[str, Callable[[], bool]], look_every_s: float):
        self._services, self._look_every_s = dict(services), look_every_s
        self._on_loss: Callable[[str], object] = end_at_once
        super().__init__("ray-watch", ends_within_s=0.0)

    @classmethod
    def of_private_ray(cls) -> Self:
        """Of the Ray that this process starts, or is about to."""
        ours = os.getpid()
        services = {_HEAD: Below(ours, "gcs_server"), _RAYLET: Below(ours, "raylet")}
        may_come = {name: service.may_come for name, service in services.items()}
        return cls(may_come, LOOKS_EVERY_S)

    @classmethod
    def of_cluster(cls, address: str) -> Self:
        """Of a cluster that is there, whose head has this HOST:PORT; where Ray is to find it by
        another name, what is looked at is told by `follow`."""
        host, _, port = address.rpartition(":")
        named = _answering(_HEAD, address) if host and port.isdecimal() else {}
        return cls(named, PROBES_EVERY_S)

    def follow(self, ray: ModuleType) -> None:
        """Look at the head of the cluster and the raylet of this node that Ray is connected to."""
        context = ray.get_runtime_context()
        found = _answering(_HEAD, context.gcs_address)
        for node in ray.nodes():
            if node["NodeID"] == context.get_node_id():
                found |= _answering(_RAYLET, raylet_address(node))
        self._services = self._services | found

    @contextlib.contextmanager
    def telling(self, on_loss: Callable[[str], object]) -> Iterator[None]:
        """In the block a loss is told in a line, and this process goes on."""
        before, self._on_loss = self._on_loss, on_loss
        try:
            yield
        finally:
            self._on_loss = before

    def _watch(self) -> None:
        # Counted, not timed: a machine that slept has not looked meanwhile.
        num_misses: dict[str, int] = {}
        while not self._closing.wait(self._look_every_s):
            for name, is_there in self._services.items():
                num_misses[name] = 0 if is_there() else num_misses.get(name, 0) + 1
                if num_misses[name] >= MAX_MISSES and not self._closing.is_set():
                    self._on_loss(f"{name} is gone")
                    return


def raylet_address(node: Mapping[str, Any]) -> str:
    """HOST:PORT of a node's raylet.

    Args:
        node: as `ray.nodes` describes it.
    """
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def _answering(name: str, address: str) -> dict[str, Callable[[], bool]]:
    return {f"{name} ({address})": lambda: is_reachable(address, PROBE_TIMEOUT_S)}
