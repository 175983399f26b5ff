"""What a trial gets, how many run at a time, and when the last one ends."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.planning.capacity import (
    Machine,
    num_within_memory,
    refuse_small_share,
    trial_resources,
    wall_s,
)
from orchestrator.planning.memory import GIB, Need
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


def machine(cpus, free_gib, all_gib=None):
    return Machine(cpus=cpus, free_bytes=free_gib * GIB, all_bytes=all_gib and all_gib * GIB)


@pytest.mark.parametrize(
    ("machines", "concurrency", "fitting"),
    [
        ([machine(4, 13)], 4, 3),
        ([machine(4, 13)], 2, 2),  # as the user wants it, or the cores
        ([machine(4, 16.1)], 4, 4),
        ([machine(4, 1, 24)], 4, 1),  # others use the memory, or the estimate is wrong
        ([machine(4, 13), machine(4, 8)], 8, 5),
        ([machine(1, 13), machine(4, 8)], 5, 3),
        ([machine(4, 13)], 8, 8),  # machines are still to come
    ],
)
def test_no_more_trials_run_at_a_time_than_fit_into_memory(machines, concurrency, fitting):
    number, line = num_within_memory(1, concurrency, machines, Need(4.0, 3.0, "estimated"))
    assert number == fitting
    assert bool(line) == (fitting < concurrency)


def test_the_line_says_what_a_trial_takes_and_what_to_do():
    assert num_within_memory(1, 4, [machine(4, 9)], Need(4.0, 0.0, "measured"))[1] == (
        "2 trials at a time and not 4: a trial takes 4.0 GiB (measured), and 9.0 GiB are free; "
        "resources.memory_gib_per_trial sets another number"
    )


def test_a_model_whose_weights_do_not_fit_is_refused():
    need = Need(30.0, 24.5, "estimated")
    with pytest.raises(SweepError, match=r"trial take 24.5 GiB, and the machine has 24.0 GiB; tak"):
        num_within_memory(1, 4, [machine(4, 20, 24)], need)
    assert num_within_memory(1, 4, [machine(4, 20, 25)], need)[0] == 1


def test_a_share_of_a_gpu_is_compared_with_what_a_trial_takes():
    need = Need(5.0, 3.5, "estimated")
    assert refuse_small_share(need, 0.125, 40) == ""
    assert refuse_small_share(need, 0.01, None) == refuse_small_share(None, 0.01, 1) == ""
    assert refuse_small_share(need, 0, 1) == ""
    assert refuse_small_share(need, 0.1, 40) == (
        "resources.gpus_per_trial: 0.1 of a GPU with 40 GiB is 4.0 GiB, and a trial takes about "
        "5.0 GiB (estimated); where it runs out, give it 0.13 or more"
    )
    with pytest.raises(SweepError, match=r"0.05 .* is 2.0 GiB, and a trial takes 3.5 GiB without"):
        refuse_small_share(need, 0.05, 40)


def test_a_whole_gpu_is_compared_as_well():
    need = Need(5.0, 3.5, "estimated")
    assert refuse_small_share(need, 1, 8) == refuse_small_share(need, 2, 5) == ""
    assert refuse_small_share(need, 1, 4, " (T4, assumed)") == (
        "resources.gpus_per_trial: a trial is given a GPU with 4 GiB (T4, assumed), and takes "
        "about 5.0 GiB (estimated); where it runs out, take larger GPUs, a smaller model or a "
        "smaller training.batch_size"
    )
    for gpus in (0.5, 1, 2):  # more GPUs a trial help nothing
        with pytest.raises(SweepError, match=r"3.5 GiB without its batches; take larger GPUs, a "):
            refuse_small_share(need, gpus, 3)
