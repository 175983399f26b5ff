"""What a driver refuses before it starts a trial."""

import threading

import pytest

from orchestrator.errors import SweepError
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
