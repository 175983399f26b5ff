"""Which nodes may go, what is reserved on them, and which errors tell of a lost one.

Real nodes leave in tests/integration.
"""

import pytest
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from orchestrator.running.nodes import (
    HEAD,
    is_node_loss,
    is_reserved_by,
    removable_nodes,
)


def test_the_head_and_dead_nodes_are_not_let_go():
    nodes = [
        {"NodeID": "head", "Alive": True, "Resources": {HEAD: 1.0, "CPU": 2.0}},
        {"NodeID": "a", "Alive": True, "Resources": {"CPU": 2.0}},
        {"NodeID": "b", "Alive": False, "Resources": {}},
        {"NodeID": "c", "Alive": True, "Resources": {}},
    ]
    assert removable_nodes(nodes) == ["a", "c"]


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
