"""Nodes of a Ray cluster that leave: they are given no more trials, are let go when idle, and are
told apart from dead workers.

Ray's word for "about to leave" is draining: a node that drains gets nothing new. One that is
drained as idle ends by itself, and with it the job that brought it; Ray refuses that for a node on
which anything is reserved.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from cluster.node.raylet import is_reachable

CHECK_EVERY_S = 0.5
RELEASE_EVERY_S = 10.0
DRAIN_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 1.0
LOOK_EVERY_S = 2.0
MAX_MISSES = 5
"""Looks in a row at which a service of Ray does not answer until it counts as gone."""
LEAVES_WITHIN_S = 60
"""Seconds in which, as Ray is told, a node that announced its leaving will be gone."""

HEAD = "node:__internal_head__"
"""Resource that Ray gives to a cluster's first node alone."""

LOSS_TEXTS = (
    "its node has died",
    "placement group has been removed",
    "placement group was removed",
)
"""What Ray's errors say of workers that ended with their node, or were let go with it."""

Reason = Literal["DRAIN_NODE_REASON_PREEMPTION", "DRAIN_NODE_REASON_IDLE_TERMINATION"]

log = logging.getLogger(__name__)


class _Watch(ABC):
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(self._ends_within_s)

    @abstractmethod
    def _watch(self) -> None:
        """Look, again and again, until `_closing` is set."""


class ClusterWatch(_Watch):
    """Drains nodes while trials run: one that leaves at once, and, in a thread, those that nothing
    needs.

    Args:
        busy_nodes: ids of the nodes that run trials when no trial waits for a worker, else None:
            all may be needed. None instead of a function where idle nodes stay.
        tick: called twice a second.
    """

    def __init__(self, busy_nodes: Callable[[], set[str] | None] | None, tick: Callable[[], None]):
        self._busy_nodes, self._tick = busy_nodes, tick
        context = ray.get_runtime_context()
        self._job_id = context.get_job_id()
        self._gcs = ray._raylet.GcsClient(address=context.gcs_address)
        self._draining: set[str] = set()
        super().__init__("cluster-watch", ends_within_s=DRAIN_TIMEOUT_S)

    def leaves(self, node_id: str) -> None:
        """A worker found out that its node is about to leave.

        Returns when Ray knows it, which takes milliseconds. Only then may the worker end: what it
        frees on a node that does not drain yet is reserved for the next trial, and once the node
        drains, no worker starts there.
        """
        if node_id not in self._draining:
            self._draining.add(node_id)
            self._drain(node_id, "DRAIN_NODE_REASON_PREEMPTION", "told to leave", LEAVES_WITHIN_S)

    def is_lost(self, node_id: str) -> bool:
        """Whether a node is gone or about to go. Ray itself takes up to half a minute to notice a
        death."""
        if node_id in self._draining:
            return True
        nodes = {node["NodeID"]: node for node in ray.nodes()}
        node = nodes.get(node_id)
        return (
            node is None
            or not node["Alive"]
            or not is_reachable(_raylet_address(node), PROBE_TIMEOUT_S)
        )

    def _watch(self) -> None:
        released_s = time.monotonic()
        while not self._closing.wait(CHECK_EVERY_S):
            self._tick()
            if self._busy_nodes and time.monotonic() - released_s >= RELEASE_EVERY_S:
                try:
                    self._release_idle(self._busy_nodes)
                except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
                    # Ray is busy, or goes away.
                    log.warning("nodes are not watched for a moment: %s", error)
                released_s = time.monotonic()

    def _release_idle(self, busy_nodes: Callable[[], set[str] | None]) -> None:
        """Let nodes go that nothing needs, as long as that is so."""
        for node_id in removable_nodes(ray.nodes()):
            busy = busy_nodes()
            if busy is None or self._closing.is_set():
                return
            if node_id not in busy and node_id not in self._draining:
                self._remove_reservations(node_id)
                self._drain(
                    node_id, "DRAIN_NODE_REASON_IDLE_TERMINATION", "no trial is left for it", None
                )

    def _remove_reservations(self, node_id: str) -> None:
        """Tune keeps one idle worker for a trial that may come, and its resources reserved, so the
        node is not idle.

        If a trial does come back later and Tune gives it to that worker, it meets a dead one, as
        after a node's loss.
        """
        from ray.util.placement_group import (
            PlacementGroup,
            placement_group_table,
            remove_placement_group,
        )

        for group in placement_group_table().values():
            if is_reserved_by(self._job_id, node_id, group):
                group_id = ray.PlacementGroupID(bytes.fromhex(group["placement_group_id"]))
                remove_placement_group(PlacementGroup(group_id))

    def _drain(self, node_id: str, reason: Reason, message: str, within_s: int | None) -> None:
        """As the command `ray drain-node` does, which takes seconds to start.

        Args:
            node_id: of the node.
            reason: Ray's name of one of its two.
            message: what Ray's log says of it.
            within_s: seconds until the node will be gone; None: when it is idle.
        """
        deadline_ms = 0 if within_s is None else int((time.time() + within_s) * 1000)
        value = DrainNodeReason.Value(reason)
        try:
            is_accepted, why_not = self._gcs.drain_node(
                node_id, value, message, deadline_ms, timeout=DRAIN_TIMEOUT_S
            )
        except (ray.exceptions.RayError, RuntimeError) as error:  # Ray is busy, or goes away
            is_accepted, why_not = False, str(error)
        if is_accepted:
            self._draining.add(node_id)
        else:  # it may be busy after all, or gone by now; what is still there is asked again
            log.info("node %s: not drained: %s", node_id, why_not)


class RayWatch(_Watch):
    """A thread that notices when the Ray under the driver is gone: the raylet of its own node, or
    the cluster's head. Neither comes back, and Ray itself waits for the one without end, and ends
    the driver for the other without a word.

    Args:
        services: addresses, HOST:PORT, by what listens there.
        on_loss: called once with a line that says what is gone.
    """

    def __init__(self, services: Mapping[str, str], on_loss: Callable[[str], None]):
        self._services, self._on_loss = services, on_loss
        super().__init__("ray-watch", ends_within_s=0.0)

    @classmethod
    def of_this_driver(cls, on_loss: Callable[[str], None]) -> Self:
        """Of the Ray that this process is connected to."""
        context = ray.get_runtime_context()
        services = {"Ray's head": context.gcs_address}
        for node in ray.nodes():
            if node["NodeID"] == context.get_node_id():
                services["Ray's raylet of this machine"] = _raylet_address(node)
        return cls(services, on_loss)

    def _watch(self) -> None:
        # Counted, not timed: a machine that slept has not looked meanwhile.
        num_misses = dict.fromkeys(self._services, 0)
        while not self._closing.wait(LOOK_EVERY_S):
            for name, address in self._services.items():
                is_there = is_reachable(address, PROBE_TIMEOUT_S)
                num_misses[name] = 0 if is_there else num_misses[name] + 1
                if num_misses[name] >= MAX_MISSES:
                    self._on_loss(f"{name} ({address}) is gone")
                    return


def removable_nodes(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of the nodes that may be let go: all that are alive but the head.

    Args:
        nodes: as `ray.nodes` describes them.
    """
    return [node["NodeID"] for node in nodes if node["Alive"] and HEAD not in node["Resources"]]


def is_reserved_by(job_id: str, node_id: str, group: Mapping[str, Any]) -> bool:
    """Whether a placement group was made by this driver and lies on this node alone.

    Args:
        job_id: of the driver in Ray, with which the ids of its groups end; other drivers may use
            the cluster.
        node_id: of the node.
        group: as Ray's table of placement groups describes it.
    """
    is_ours = group["placement_group_id"].endswith(job_id)
    return is_ours and set(group["bundles_to_node_id"].values()) == {node_id}


def is_node_loss(error: BaseException) -> bool:
    """Whether an error of Ray tells by itself that a node is gone, or that a worker was let go with
    its node."""
    if getattr(error, "preempted", False) or isinstance(error, ray.exceptions.NodeDiedError):
        return True
    if not isinstance(error, ray.exceptions.RayActorError):
        return False
    return any(text in str(error) for text in LOSS_TEXTS)


def _raylet_address(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
