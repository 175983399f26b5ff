"""Nodes of a Ray cluster that leave: they are given no more trials, are let go when idle, and are
told apart from dead workers.

Ray's word for "about to leave" is draining: a node that drains gets nothing new. One that is
drained as idle ends by itself, and with it the job that brought it; Ray refuses that for a node on
which anything is reserved.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from cluster.node.raylet import is_reachable
from orchestrator.running.places import Place
from orchestrator.running.ray_watch import PROBE_TIMEOUT_S, Watch, raylet_address

CHECK_EVERY_S = 0.5
RELEASE_EVERY_S = 10.0
DRAIN_TIMEOUT_S = 5.0
LEAVES_WITHIN_S = 60
"""Seconds in which, as Ray is told, a node that announced its leaving will be gone."""

HEAD = "node:__internal_head__"
"""Resource that Ray gives to a cluster's first node alone."""

RESOURCES = {"cpu": "CPU", "gpu": "GPU"}
"""Ray's names of what a node has, by Tune's where they differ."""

LOSS_TEXTS = (
    "its node has died",
    "placement group has been removed",
    "placement group was removed",
)
"""What Ray's errors say of workers that ended with their node, or were let go with it."""

Reason = Literal["DRAIN_NODE_REASON_PREEMPTION", "DRAIN_NODE_REASON_IDLE_TERMINATION"]

log = logging.getLogger(__name__)


class ClusterWatch(Watch):
    """Drains nodes while trials run: one that leaves at once, and, in a thread, those that nothing
    needs.

    Args:
        busy_nodes: ids of the nodes that run trials when no trial waits for a worker, else None:
            all may be needed. None instead of a function where idle nodes stay.
        tick: called twice a second.
        drains_idle: whether nodes that nothing needs are told to end; else nothing is reserved on
            them any more, and an autoscaler takes them away.
    """

    def __init__(
        self,
        busy_nodes: Callable[[], set[str] | None] | None,
        tick: Callable[[], None],
        *,
        drains_idle: bool = True,
    ):
        self._busy_nodes, self._tick, self._drains_idle = busy_nodes, tick, drains_idle
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
            or not is_reachable(raylet_address(node), PROBE_TIMEOUT_S)
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
                if self._drains_idle:
                    reason: Reason = "DRAIN_NODE_REASON_IDLE_TERMINATION"
                    self._drain(node_id, reason, "no trial is left for it", None)

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


def removable_nodes(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ids of the nodes that may be let go: all that are alive but the head.

    Args:
        nodes: as `ray.nodes` describes them.
    """
    return [node["NodeID"] for node in nodes if node["Alive"] and HEAD not in node["Resources"]]


def nodes_for_trials(
    nodes: Iterable[Mapping[str, Any]], resources: Mapping[str, float]
) -> list[Place]:
    """The nodes that are alive and large enough for a trial, used or not.

    Args:
        nodes: as `ray.nodes` describes them.
        resources: of a trial, by Tune's names: `cpu`, `gpu`, `memory` (bytes).
    """
    needs = {RESOURCES.get(name, name): amount for name, amount in resources.items()}
    return [
        Place(node["NodeID"], node["NodeManagerHostname"])
        for node in nodes
        if node["Alive"]
        and all(node["Resources"].get(name, 0.0) >= need for name, need in needs.items())
    ]


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


def place_of_death(error: BaseException | None) -> Place | None:
    """Where a worker died that had not told where it was; None where Ray does not know it."""
    actor_id = getattr(error, "actor_id", None)
    if not isinstance(error, ray.exceptions.RayActorError) or actor_id is None:
        return None
    actor = ray._private.state.actors(actor_id)
    node_id = actor["Address"]["NodeID"] if actor else ""
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}
    return Place(node_id, names[node_id]) if node_id in names else None
