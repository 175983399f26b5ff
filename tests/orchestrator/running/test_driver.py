"""What a driver refuses before it starts a trial."""

import threading

import pytest

from orchestrator.errors import SweepError
from orchestrator.planning.memory import GIB, Need, TrialMemory
from orchestrator.running.driver import Driver, refuse_wrong_kernels, run_in_thread
from tests.orchestrator.running.test_outcomes import TRIAL, Run


@pytest.mark.parametrize(("kernels", "has_gpu"), [("triton", False), ("numba", True)])
def test_kernels_that_cannot_compute_where_trials_run_are_refused(kernels, has_gpu):
    got = "get a GPU" if has_gpu else "get none"
    with pytest.raises(
        SweepError, match=f"pruning.kernels: {kernels} computes on .* trials {got} here; use auto"
    ):
        refuse_wrong_kernels(kernels, has_gpu)
    for fitting in ("auto", "reference", "numba" if kernels == "triton" else "triton"):
        refuse_wrong_kernels(fitting, has_gpu)


@pytest.mark.parametrize(("is_stopping", "expected_s"), [(False, 0.01), (True, 0.02)])
def test_a_lost_ray_stops_the_sweep_after_trials_had_time_to_be_saved(
    tmp_path, monkeypatch, is_stopping, expected_s
):
    monkeypatch.setattr("orchestrator.running.driver.SAVES_WITHIN_S", 0.01)
    monkeypatch.setattr("orchestrator.running.driver.ENDS_WITHIN_S", 0.02)
    slept: list[float] = []
    monkeypatch.setattr("orchestrator.running.driver.time.sleep", slept.append)
    run = Run(tmp_path / "results")
    driver = Driver(run.outcomes.sweep, [TRIAL], run.store, run.progress)
    if is_stopping:
        driver._switch.stop("SIGTERM")
    driver._lose_ray("Ray's head (127.0.0.1:1) is gone")
    assert driver.stop_reason == ("SIGTERM" if is_stopping else "Ray's head (127.0.0.1:1) is gone")
    assert driver._is_ray_lost.is_set()
    assert slept == [expected_s]


def test_a_place_that_does_not_answer_is_told_once_while_trials_run(tmp_path, monkeypatch):
    run = Run(tmp_path / "results")
    driver = Driver(run.outcomes.sweep, [TRIAL], run.store, run.progress)
    driver._tell_silence()
    monkeypatch.setattr("orchestrator.running.driver.find_silent", lambda: "/mnt/results")
    driver._tell_silence()
    driver._tell_silence()
    (told,) = (event for event in run.progress.events() if event.kind == "waiting")
    assert told.detail.startswith("/mnt/results: does not answer within 30 s; see whether it is")


def test_what_waits_for_a_lost_ray_is_given_up():
    is_given_up, is_over = threading.Event(), threading.Event()
    is_given_up.set()
    run_in_thread(is_over.wait, is_given_up)
    assert not is_over.is_set(), "it still waits"
    is_over.set()


def test_an_error_beside_the_main_thread_is_raised_in_it():
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_in_thread(fail, threading.Event())


ON_CPUS, NODE = {"cpu": 1.0, "gpu": 0.0}, {"CPU": 4.0, "memory": 60.0 * GIB}


def fitted(tmp_path, monkeypatch, need, resources=ON_CPUS, nodes=(NODE,), address=None, gpu=None):
    """What a trial gets, how many run at a time on a machine with 10 of 20 GiB free, and what is
    said."""
    for name, value in (("available_memory", 10 * GIB), ("usable_memory", 20 * GIB)):
        monkeypatch.setattr(f"orchestrator.running.driver.{name}_bytes", lambda v=value: v)
    monkeypatch.setattr("orchestrator.running.driver.smallest_gpu_bytes", lambda: gpu)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    run = Run(tmp_path / "results")
    memory = TrialMemory(of_host=need, of_gpu=need)
    driver = Driver(run.outcomes.sweep, [TRIAL], run.store, run.progress, memory=memory)
    got, number = driver._fit_into_memory(resources, 4, nodes)
    return got, number, [event.kind for event in run.progress.events()[1:]]


def test_as_many_trials_run_on_one_machine_as_fit_into_its_free_memory(tmp_path, monkeypatch):
    assert fitted(tmp_path, monkeypatch, Need(4.0, 3.0, "estimated")) == (ON_CPUS, 2, ["limited"])
    assert fitted(tmp_path, monkeypatch, Need(2.5, 0.0, "measured")) == (ON_CPUS, 4, [])
    assert fitted(tmp_path, monkeypatch, Need(25.0, 19.0, "estimated"))[1] == 1
    assert fitted(tmp_path, monkeypatch, None) == (ON_CPUS, 4, [])
    with pytest.raises(SweepError, match="take a smaller model or a larger machine"):
        fitted(tmp_path, monkeypatch, Need(25.0, 21.0, "estimated"))


def test_on_a_cluster_ray_places_as_many_trials_on_a_machine_as_fit(tmp_path, monkeypatch):
    small = NODE | {"memory": 5.0 * GIB}
    for need, asked in (
        (2.0, 2.0),
        (9.0, 5.0),
    ):  # of a machine that has less: all that it has
        got = fitted(
            tmp_path, monkeypatch, Need(need, 99.0, "given"), nodes=(NODE, small), address="h:1"
        )
        assert got[0] == ON_CPUS | {"memory": asked * GIB}


@pytest.mark.parametrize("nodes", [(), ({"memory": 8.0 * GIB},), ({"CPU": 4.0},)])
def test_machines_that_are_still_to_come_limit_nothing(tmp_path, monkeypatch, nodes):
    """As at the start of a cluster whose head runs no trials."""
    need = Need(9.0, 0.0, "given")
    for address in (None, "h:1"):
        got = fitted(tmp_path, monkeypatch, need, nodes=nodes, address=address)
        assert got == (ON_CPUS, 4, [])
    with_one = fitted(tmp_path, monkeypatch, need, nodes=(*nodes, NODE), address="h:1")
    assert with_one == (ON_CPUS | {"memory": 9.0 * GIB}, 4, [])


def test_a_share_of_a_gpu_that_is_too_small_is_refused(tmp_path, monkeypatch):
    shared, need = {"cpu": 1.0, "gpu": 0.1}, Need(5.0, 3.5, "estimated")
    for gpu_gib, events in ((80, []), (40, ["limited"]), (None, [])):
        gpu = gpu_gib and gpu_gib * GIB
        assert fitted(tmp_path, monkeypatch, need, shared, gpu=gpu) == (shared, 4, events)
    with pytest.raises(SweepError, match=r"gpus_per_trial: 0.1 of a GPU with 24 GiB is 2.4 GiB"):
        fitted(tmp_path, monkeypatch, need, shared, gpu=24 * GIB)
