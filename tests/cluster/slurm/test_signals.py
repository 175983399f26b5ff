"""Signals of a job: what each asks for, and what the driver gets of it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cluster.slurm.signals import STOP_REQUESTS, StopRequest

DRIVER = """
import signal, sys, time
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))
print("up", flush=True)
time.sleep(60)
"""
NODE = """
import time
from cluster.slurm.signals import NodeSignals
signals = NodeSignals()
print("up", flush=True)
while not signals.is_over:
    time.sleep(0.02)
print("must save" if signals.must_save else "need not save")
"""
TIME_LIMIT = StopRequest("the time limit is near", comes_back=True)
CANCEL = StopRequest("sparsweep cancel", comes_back=False)


def started(script: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.parametrize(
    ("number", "comes_back"),
    [(signal.SIGUSR2, True), (signal.SIGTERM, True), (signal.SIGUSR1, False)],
)
def test_each_signal_says_whether_the_job_comes_back(signals, number, comes_back):
    assert (signals.request, signals.waited_s()) == (None, 0.0)
    os.kill(os.getpid(), number)
    assert signals.request == STOP_REQUESTS[number]
    assert signals.request.comes_back is comes_back
    time.sleep(0.01)
    assert signals.waited_s() > 0


def test_first_request_is_told_and_counts_for_the_time(signals, capsys):
    signals.stop(TIME_LIMIT)
    time.sleep(0.05)
    signals.stop(STOP_REQUESTS[signal.SIGTERM])
    assert signals.request == TIME_LIMIT
    assert signals.waited_s() >= 0.05
    told = capsys.readouterr().out
    assert told.endswith("] the time limit is near; trials save their checkpoints\n")
    assert told.count("\n") == 1


def test_cancelled_job_does_not_come_back_whatever_else_it_is_told(signals):
    signals.stop(TIME_LIMIT)
    signals.stop(CANCEL)
    assert signals.request == CANCEL
    signals.stop(TIME_LIMIT)
    assert signals.request == CANCEL


@pytest.mark.parametrize("is_watched_first", [True, False])
def test_driver_is_stopped_cleanly_whether_it_starts_before_the_request_or_after(
    signals, is_watched_first
):
    with started(DRIVER) as driver:
        steps = [lambda: signals.watch(driver), lambda: os.kill(os.getpid(), signal.SIGTERM)]
        for step in steps if is_watched_first else reversed(steps):
            step()
        assert driver.wait(timeout=30) == 75


def test_driver_that_has_ended_is_left_alone(signals):
    with started("print('up', flush=True)") as driver:
        driver.wait()
        signals.watch(driver)
        signals.stop(CANCEL)
    assert driver.returncode == 0


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([signal.SIGUSR2, signal.SIGUSR1], "need not save\n"),
        ([signal.SIGTERM, signal.SIGUSR1], "must save\n"),
    ],
)
def test_node_of_a_block_hears_that_it_must_save_and_that_the_job_is_over(numbers, told):
    with started(NODE) as node:
        for number in numbers:
            node.send_signal(number)
            time.sleep(0.1)
        assert node.communicate(timeout=30)[0] == told
