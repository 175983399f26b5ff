"""Which nodes may go, what is reserved on them, and which errors tell of a lost one.

Real nodes leave in tests/integration.
"""

import threading

import pytest
import ray
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from orchestrator.running.nodes import (
    HEAD,
    ClusterWatch,
    is_node_loss,
    is_reserved_by,
    nodes_for_trials,
    removable_nodes,
)
from orchestrator.running.places import Place


def test_the_head_and_dead_nodes_are_not_let_go():
    nodes = [
        {"NodeID": "head", "Alive": True, "Resources": {HEAD: 1.0, "CPU": 2.0}},
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0}},
        {"NodeID": "b", "Alive": False, "Resources": {}},
        {"NodeID": "c", "Alive": True, "Resources": {}},
    ]
    assert removable_nodes(nodes) == ["a", "c"]


def test_trials_can_run_on_nodes_that_are_alive_and_large_enough():
    nodes = [
        {"NodeID": each, "NodeManagerHostname": f"node-{each}", "Alive": is_alive, "Resources": has}
        for each, is_alive, has in (
            ("small", True, {"CPU": 1.0, "GPU": 1.0, "memory": 8e9}),
            ("large", True, {"CPU": 8.0, "GPU": 4.0, "memory": 64e9}),
            ("without", True, {"CPU": 8.0, "memory": 64e9}),
            ("dead", False, {"CPU": 8.0, "GPU": 4.0, "memory": 64e9}),
        )
    ]
    need = {"cpu": 2.0, "gpu": 1.0, "memory": 4e9}
    assert nodes_for_trials(nodes, need) == [Place("large", "node-large")]
    assert len(nodes_for_trials(nodes, need | {"cpu": 1.0})) == 2
    assert len(nodes_for_trials(nodes, {"cpu": 2.0, "gpu": 0.0})) == 2


@pytest.mark.parametrize(
    ("group_id", "places", "expected"),
    [
        ("ab0100", ["a", "a"], True),
        ("ab0100", ["a", "b"], False),
        ("ab0100", ["b"], False),
        ("ab0200", ["a"], False),
    ],
)
def test_reservations_of_this_driver_on_this_node_alone_are_removed(group_id, places, expected):
    group = {"placement_group_id": group_id, "bundles_to_node_id": dict(enumerate(places))}
    assert is_reserved_by("0100", "a", group) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NodeDiedError("gone"), True),
        (RayActorError(error_msg="The actor died.", preempted=True), True),
        (RayActorError(error_msg="The actor died because its node has died."), True),
        (RayActorError(error_msg="its placement group was removed"), True),
        (ActorDiedError(), False),
        (RayActorError(error_msg="Worker exit detail: exit code 137"), False),
        (OutOfMemoryError("its node has died"), False),
        (WorkerCrashedError(), False),
    ],
)
def test_errors_that_tell_of_a_lost_node_are_told_apart_from_dead_workers(error, expected):
    assert is_node_loss(error) == expected


@pytest.mark.parametrize("drains_idle", [True, False])
def test_idle_nodes_lose_their_reservations_and_end_unless_an_autoscaler_ends_them(
    monkeypatch, drains_idle
):
    nodes = [{"NodeID": name, "Alive": True, "Resources": {}} for name in ("busy", "idle")]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    freed, drained = [], []
    watch = ClusterWatch.__new__(ClusterWatch)
    watch._closing, watch._draining, watch._drains_idle = threading.Event(), set(), drains_idle
    monkeypatch.setattr(watch, "_remove_reservations", freed.append)
    monkeypatch.setattr(watch, "_drain", lambda node_id, *_: drained.append(node_id))

    watch._release_idle(lambda: {"busy"})
    watch._release_idle(lambda: None)  # a trial waits

    assert (freed, drained) == (["idle"], ["idle"] if drains_idle else [])
