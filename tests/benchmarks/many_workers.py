"""What the driver costs a trial where many workers run: `python -m tests.benchmarks many_workers`.

Driver, Ray, reports and commits are real; a trial only sleeps. Up to 64 workers are processes of
their own, as always. 500 would take 120 GiB, so they share some, see `tests.benchmarks.pretended`.
"""

import contextlib
import itertools
import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import psutil

from cluster.node.private_ray import LocalRay, private_ray
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from tests.benchmarks.measurement import Measurement
from tests.benchmarks.stored import many_trials


class Case(NamedTuple):
    """A number of workers, how long a trial sleeps, and about how many trials each worker gets."""

    num_workers: int
    trial_s: float
    num_rounds: int


CASES = (Case(8, 20, 6), Case(64, 20, 6), Case(500, 60, 20))
OWN_PROCESSES = 64
"""Up to so many workers have a process each."""
STEP_S = 0.25
"""How long a trial sleeps at a time."""
SLEEPS = "sleeps"
"""Folder in the results: for each worker's process, a file with the trials that it slept for."""
LOOKS_EVERY_S = 0.5
TRAINABLE = "Trainable"
"""In the title of a worker's process."""
WORKERS_EVERY = 60
"""Looks."""


class Sleep(NamedTuple):
    """When a trial began and ended, and how long it slept."""

    begin: float
    end: float
    slept_s: float


class Look(NamedTuple):
    """What a process had taken at a time: CPU time of all its threads, and memory."""

    at: float
    cpu_s: float
    rss_bytes: int


class Watch(threading.Thread):
    """Looks at this process, which is the driver's, at intervals, and at workers now and then."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.looks: list[Look] = []
        self.worker_bytes: list[int] = []
        """What a worker has of memory for itself, once for each that was looked at."""
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until `end`."""
        process = psutil.Process()
        while not self._ended.wait(LOOKS_EVERY_S):
            times = process.cpu_times()
            look = Look(time.time(), times.user + times.system, process.memory_info().rss)
            self.looks.append(look)
            if len(self.looks) % WORKERS_EVERY == 0:
                self.worker_bytes += _memory_of_workers(process)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def many_workers() -> Iterator[Measurement]:
    """Busy workers, and the driver's CPU time and memory, with more and more workers."""
    for case in CASES:
        sleeps, watch = _run(case)
        begins, ends = all_at_work(sleeps)
        within = [look for look in watch.looks if begins <= look.at <= ends]
        num_ended = sum(begins <= sleep.end <= ends for of_worker in sleeps for sleep in of_worker)
        cpu_s = within[-1].cpu_s - within[0].cpu_s
        who = f"{case.num_workers} workers, trials of {case.trial_s:g} s"
        yield Measurement(
            what=f"workers busy, {who}",
            values=(100 * busy_share(sleeps),),
            unit="%",
            at_least=97,
        )
        yield Measurement(
            what=f"driver's CPU time a trial, {who}", values=(cpu_s / num_ended,), unit="s"
        )
        yield Measurement(
            what=f"driver's CPU, of a core, {who}",
            values=(100 * cpu_s / (within[-1].at - within[0].at),),
            unit="%",
        )
        yield Measurement(
            what=f"driver's memory, {who}",
            values=(max(look.rss_bytes for look in within) / 2**20,),
            unit="MiB",
        )
        if watch.worker_bytes:
            yield Measurement(
                what=f"a worker's own memory, {who}",
                values=(statistics.median(watch.worker_bytes) / 2**20,),
                unit="MiB",
            )


def all_at_work(sleeps: Sequence[Sequence[Sleep]]) -> tuple[float, float]:
    """From when all workers have a trial until the first finds no more.

    Args:
        sleeps: of each worker, its trials in order.
    """
    return max(first.begin for first, *_ in sleeps), min(last.end for *_, last in sleeps)


def busy_share(sleeps: Sequence[Sequence[Sleep]]) -> float:
    """The part of this time that workers slept, on average."""
    begins, ends = all_at_work(sleeps)
    busy_s = 0.0
    for sleep in itertools.chain.from_iterable(sleeps):
        within_s = max(0.0, min(sleep.end, ends) - max(sleep.begin, begins))
        busy_s += within_s * sleep.slept_s / (sleep.end - sleep.begin)
    return busy_s / (len(sleeps) * (ends - begins))


def _memory_of_workers(driver: psutil.Process) -> Iterator[int]:
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] and TRAINABLE in process.cmdline()[0]:
                yield process.memory_full_info().uss


def _run(case: Case) -> tuple[list[list[Sleep]], Watch]:
    """When each worker slept, in the order of its trials, and what was seen meanwhile."""
    # They import Ray, which reads its environment then.
    from orchestrator.running.driver import Driver
    from orchestrator.running.progress import SweepProgress
    from tests.benchmarks.idle import SleepingTrainable
    from tests.benchmarks.pretended import sharing_processes

    number = case.num_workers
    num_steps = f"training.num_steps={round(case.trial_s / STEP_S)}"
    spec = many_trials(math.ceil(number * case.num_rounds / 12), extra=(num_steps,))
    planned = make_plan(spec)

    def with_cores(**given: Any) -> LocalRay:
        return private_ray(**(given | {"num_cpus": number}))

    with tempfile.TemporaryDirectory() as results, contextlib.ExitStack() as stack:
        (Path(results) / SLEEPS).mkdir()
        progress, watch = SweepProgress(spec.name, results, planned), Watch()
        stack.enter_context(mock.patch("orchestrator.running.ray_cluster.private_ray", with_cores))
        if number > OWN_PROCESSES:
            stack.enter_context(sharing_processes())
        watch.start()
        Driver(spec, planned, ResultStore(results), progress, SleepingTrainable).run()
        watch.end()
        assert progress.snapshot().num_done == len(planned)
        sleeps = [
            [Sleep(*json.loads(line)) for line in file.read_text().splitlines()]
            for file in (Path(results) / SLEEPS).iterdir()
        ]
    assert len(sleeps) == number, "not all workers had a trial"
    return sleeps, watch
