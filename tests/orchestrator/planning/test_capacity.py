"""What a trial gets, how many run at a time, and when the last one ends."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.planning.capacity import trial_resources, wall_s
from orchestrator.spec.sweep_spec import Resources


@pytest.mark.parametrize(
    ("asked", "available", "resources", "concurrency"),
    [
        ({}, {"CPU": 2.0}, {"cpu": 1, "gpu": 0}, 2),
        ({}, {"CPU": 16.0, "GPU": 4.0}, {"cpu": 1, "gpu": 1}, 4),
        ({}, {"CPU": 3.0, "GPU": 4.0}, {"cpu": 1, "gpu": 1}, 3),
        ({"gpus_per_trial": 0}, {"CPU": 3.0, "GPU": 4.0}, {"cpu": 1, "gpu": 0}, 3),
        ({"gpus_per_trial": 0.3}, {"CPU": 16.0, "GPU": 2.0}, {"cpu": 1, "gpu": 0.3}, 6),
        ({"gpus_per_trial": 2}, {"CPU": 16.0, "GPU": 5.0}, {"cpu": 1, "gpu": 2}, 2),
        ({"cpus_per_trial": 4}, {"CPU": 10.0}, {"cpu": 4, "gpu": 0}, 2),
        ({"max_concurrent_trials": 1}, {"CPU": 10.0}, {"cpu": 1, "gpu": 0}, 1),
        ({"max_concurrent_trials": 99}, {"CPU": 10.0}, {"cpu": 1, "gpu": 0}, 10),
        ({"gpus_per_trial": 1, "max_concurrent_trials": 8}, {"CPU": 2.0}, {"cpu": 1, "gpu": 1}, 8),
        (
            {"gpus_per_trial": 1, "max_concurrent_trials": 8},
            {"CPU": 2.0, "GPU": 1.0},
            {"cpu": 1, "gpu": 1},
            8,
        ),
    ],
)
def test_trials_get_a_gpu_each_where_there_are_gpus(asked, available, resources, concurrency):
    assert trial_resources(Resources(**asked), [available], may_grow=True) == (
        resources,
        concurrency,
    )


def test_a_trial_runs_on_one_machine():
    nodes = [{"CPU": 6.0}, {"CPU": 6.0}]
    assert trial_resources(Resources(cpus_per_trial=4), nodes, may_grow=False)[1] == 2
    with pytest.raises(
        SweepError, match="a trial asks for 8 CPUs and 0 GPUs, the largest machine has 6 and 0"
    ):
        trial_resources(Resources(cpus_per_trial=8), nodes, may_grow=False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"cpus_per_trial": 64},
            "a trial asks for 64 CPUs and 0 GPUs, the largest machine has 8 and 0; lower",
        ),
        ({"cpus_per_trial": 64, "max_concurrent_trials": 1}, "a trial asks for 64 CPUs"),
        (
            {"gpus_per_trial": 0.5},
            "a trial asks for 1 CPUs and 0.5 GPUs, the largest machine has 8 and 0",
        ),
    ],
)
def test_trials_that_can_never_start_are_refused(asked, message):
    with pytest.raises(SweepError, match=message):
        trial_resources(Resources(**asked), [{"CPU": 8.0}], may_grow=False)


def test_an_elastic_cluster_may_have_no_node_yet_and_grows_beyond_those_it_has():
    asked = Resources(gpus_per_trial=1, max_concurrent_trials=8)
    for nodes in ([{}], [{"CPU": 1.0, "GPU": 1.0}]):
        found = trial_resources(asked, nodes, may_grow=True, is_elastic=True)
        assert found == ({"cpu": 1, "gpu": 1}, 8)


@pytest.mark.parametrize("given", [{}, {"gpus_per_trial": 1}, {"max_concurrent_trials": 8}])
def test_an_elastic_cluster_does_not_say_what_trials_need(given):
    with pytest.raises(SweepError, match="SPARSWEEP_ELASTIC=1.; give both"):
        trial_resources(Resources(**given), [{}], may_grow=True, is_elastic=True)


def test_a_head_without_cores_is_named_where_trials_cannot_start():
    with pytest.raises(SweepError, match="the largest machine has 0 and 0"):
        trial_resources(Resources(), [{}], may_grow=True)


def test_the_longest_trials_start_first_each_where_a_slot_is_free_first():
    assert wall_s([1.0, 3.0, 2.0, 2.0, 1.0], 2) == 5.0  # 3 + 1 + 1 and 2 + 2
    assert wall_s([], 2) == 0.0


def test_trials_that_run_keep_their_slots_until_they_end():
    assert wall_s([3.0], 2, busy_s=[4.0]) == 4.0
    assert wall_s([3.0], 1, busy_s=[4.0]) == 7.0
    assert wall_s([3.0], 1, busy_s=[4.0, 2.0]) == 5.0
    assert wall_s([], 1, busy_s=[4.0, 2.0]) == 4.0
