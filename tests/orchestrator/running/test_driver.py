"""What a trial gets, and the searcher's order."""

import pytest
from ray.tune.search import Searcher

from orchestrator.errors import SweepError
from orchestrator.running.driver import is_given_cluster, refuse_wrong_kernels, trial_resources
from orchestrator.running.searcher import OrderedSearcher
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


@pytest.mark.parametrize(("kernels", "has_gpu"), [("triton", False), ("numba", True)])
def test_kernels_that_cannot_compute_where_trials_run_are_refused(kernels, has_gpu):
    got = "get a GPU" if has_gpu else "get none"
    with pytest.raises(
        SweepError, match=f"pruning.kernels: {kernels} computes on .* trials {got} here; use auto"
    ):
        refuse_wrong_kernels(kernels, has_gpu)
    for fitting in ("auto", "reference", "numba" if kernels == "triton" else "triton"):
        refuse_wrong_kernels(fitting, has_gpu)


def test_the_address_of_a_ray_client_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(
        SweepError, match="ray://head:10001 is for Ray's client; run on the cluster"
    ):
        is_given_cluster()


@pytest.mark.parametrize(
    ("address", "is_given"), [("", False), ("local", False), ("head:6379", True)]
)
def test_a_private_ray_is_started_unless_an_address_is_given(monkeypatch, address, is_given):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert is_given_cluster() == is_given


def suggest_all(searcher: OrderedSearcher) -> list[int]:
    found = []
    while (config := searcher.suggest(str(len(found)))) not in (Searcher.FINISHED, None):
        found.append(config["n"])
    return found


def make_searcher(is_wanted=lambda config: True, is_stopping=lambda: False) -> OrderedSearcher:
    return OrderedSearcher([{"n": n} for n in range(5)], is_wanted, is_stopping)


def test_trials_are_handed_out_in_order():
    assert suggest_all(make_searcher()) == [0, 1, 2, 3, 4]


def test_trials_that_another_driver_finished_are_skipped():
    assert suggest_all(make_searcher(is_wanted=lambda config: config["n"] % 2 == 0)) == [0, 2, 4]


def test_search_waits_for_running_trials_that_may_come_back():
    searcher = make_searcher()
    suggest_all(searcher)
    assert searcher.suggest("x") is None
    searcher.retry({"n": 9})
    assert searcher.suggest("again") == {"n": 9}
    for trial_id in ("0", "1", "2", "3", "4", "again"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("x") == Searcher.FINISHED


def test_stopping_hands_out_no_more():
    stopping = False
    searcher = make_searcher(is_stopping=lambda: stopping)
    assert searcher.suggest("0") == {"n": 0}
    stopping = True
    assert searcher.suggest("1") == Searcher.FINISHED


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


def test_one_that_is_not_admitted_waits_and_a_later_one_goes_first():
    late: set[int] = {0, 1}
    ended = []
    searcher = OrderedSearcher(
        [{"n": n} for n in range(3)],
        is_wanted=lambda config: True,
        is_stopping=lambda: False,
        admit=lambda config: None if config["n"] in late else config | {"start_by": 7},
        on_none_admitted=lambda: ended.append(searcher.num_left),
    )
    assert searcher.suggest("a") == {"n": 2, "start_by": 7}
    assert searcher.suggest("b") is None
    assert (searcher.num_left, searcher.num_handed_out, ended) == (2, 1, [])
    late.remove(1)
    assert searcher.suggest("b") == {"n": 1, "start_by": 7}
    for trial_id in ("a", "b"):
        searcher.on_trial_complete(trial_id)
    assert searcher.suggest("c") == Searcher.FINISHED
    assert ended == [1]


def test_a_trial_that_comes_back_goes_first():
    searcher = make_searcher()
    assert searcher.suggest("0") == {"n": 0}
    searcher.on_trial_complete("0")
    searcher.retry({"n": 0})
    assert suggest_all(searcher) == [0, 1, 2, 3, 4]
