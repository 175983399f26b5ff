"""Measure planning, driving, reading and batching, and print each figure beside its target or its peer.

    python -m tests.benchmarks [NAME ...]

Timings on a shared machine are noisy: commands are timed five times and the median is shown; peers are timed in the
same run.
"""

import contextlib
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cluster.local import private_environment
from orchestrator.plan import make_plan
from orchestrator.sweep_spec import SweepSpec, load_sweep_spec

REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure: a time in seconds or a ratio, and what it should be."""

    what: str
    value: float
    unit: str
    target: str = ""


def many_trials(num_seeds: int) -> SweepSpec:
    """The smoke sweep with so many seeds: 12 trials a seed."""
    return load_sweep_spec("smoke", [f"seeds={list(range(num_seeds))}", "results=unused"])


def commands() -> Iterator[Measurement]:
    """How long a person waits for the command line."""
    with tempfile.TemporaryDirectory() as folder:
        help_s = statistics.median(timed(lambda: sparsweep("--help")) for _ in range(REPEATS))
        yield Measurement(what="sparsweep --help", value=help_s, unit="s", target="0.5")
        large = ("plan", "smoke", "--set", f"seeds={list(range(834))}", "--set", f"results={folder}/none")
        plan_s = statistics.median(timed(lambda: sparsweep(*large)) for _ in range(REPEATS))
        yield Measurement(what="sparsweep plan, 10,008 trials", value=plan_s, unit="s", target="2")


def queue() -> Iterator[Measurement]:
    """Planning 10,008 trials, and Ray Tune taking them over in order."""
    from ray.tune.experiment import Experiment
    from ray.tune.search import SearchGenerator

    from orchestrator.searcher import OrderedSearcher
    from orchestrator.trainable import TrialTrainable

    started = time.perf_counter()
    planned = make_plan(many_trials(834))
    configs = [{"trial_id": trial.trial_id, "trial": trial.spec.to_json()} for trial in planned]
    searcher = OrderedSearcher(configs, is_wanted=lambda config: True, is_stopping=lambda: False)
    with tempfile.TemporaryDirectory() as folder, logged_at(logging.CRITICAL):
        generator = SearchGenerator(searcher)
        experiment = Experiment("bench", TrialTrainable, num_samples=len(planned), storage_path=folder)
        generator.add_configurations([experiment])
        order = [generator.next_trial().config["trial_id"] for _ in planned]
    seconds = time.perf_counter() - started
    assert order == [trial.trial_id for trial in planned]
    yield Measurement(what="10,008 trials planned, queued and ordered", value=seconds, unit="s", target="20")


def driver() -> Iterator[Measurement]:
    """What the driver adds to a trial: trials that do nothing, on workers that are kept and on a new one each."""
    from tests.benchmarks.idle import IdleTrainable

    kept = sweep_s(204, IdleTrainable, reuse_workers=True) / 204
    yield Measurement(what="driver overhead a trial, results committed", value=kept, unit="s", target="0.1")
    fresh = sweep_s(12, IdleTrainable, reuse_workers=False) / 12
    yield Measurement(what="the same with a new worker each trial", value=fresh / kept, unit="x")


def results() -> Iterator[Measurement]:
    """Committing, reading and aggregating 2,004 trials."""
    from orchestrator.results.aggregate import aggregate
    from orchestrator.results.store import ResultStore
    from tests.factories import make_circumstances, make_trial_result

    planned = make_plan(many_trials(167))
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(folder)
        started = time.perf_counter()
        for trial in planned:
            store.commit_completed(trial.spec, make_trial_result(), **make_circumstances())
        commit_s = (time.perf_counter() - started) / len(planned)
        yield Measurement(what="commit of one trial, five files", value=commit_s, unit="s")
        yield Measurement(what="statuses of 2,004 trials, not compacted", value=timed(store.statuses), unit="s")
        yield Measurement(what="compact, 2,004 trials", value=timed(store.compact), unit="s")
        yield Measurement(what="statuses of 2,004 trials, compacted", value=timed(store.statuses), unit="s")
        yield Measurement(what="aggregate, 2,004 trials, compacted", value=timed(lambda: aggregate(store)), unit="s")


def batches() -> Iterator[Measurement]:
    """A training step on random batches of a small language, in parts of similar length against one padded batch."""
    import torch

    import workers.data.batch
    from workers.data import synthetic
    from workers.data.align import load_encoded
    from workers.model import make_model
    from workers.run import prepare_process
    from workers.train import Training

    device = prepare_process(num_threads=1)
    spec = make_plan(load_sweep_spec("smoke", ["languages=[ka]", "training.num_steps=20"]))[0].spec
    assert spec.corpus.fingerprint == synthetic.fingerprint(0)
    split = load_encoded(spec.corpus, spec.model, "ka", "train", 128)

    def step_s(rows: int) -> float:
        workers.data.batch.ROWS_OF_PART = rows
        training = Training(spec, make_model(spec.model, 0, device), split, device)
        for _ in training.run():
            pass
        return training.train_s / training.num_steps

    step_s(16)
    ratios = [step_s(16) / step_s(10**6) for _ in range(REPEATS)]
    torch.use_deterministic_algorithms(False)
    yield Measurement(what="step in parts of 16 against one padded batch", value=statistics.median(ratios), unit="x")


def smoke() -> Iterator[Measurement]:
    """The built-in sweep, from typing the command to its table."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(lambda: sparsweep("run", "smoke", "--set", f"results={folder}/smoke"))
    yield Measurement(what="sparsweep run smoke, 24 trials", value=seconds, unit="s", target="180")


def sweep_s(num_trials: int, trainable: type, reuse_workers: bool) -> float:
    """Seconds from the first trial's start to the last one's end."""
    from orchestrator.driver import Sweep
    from orchestrator.progress import SweepProgress
    from orchestrator.results.store import ResultStore

    spec = many_trials(num_trials // 12)
    planned = make_plan(spec)
    with tempfile.TemporaryDirectory() as folder:
        progress = SweepProgress(spec.name, folder, planned)
        Sweep(spec, planned, ResultStore(folder), progress, trainable, reuse_workers).run()
        assert progress.snapshot().num_done == num_trials
        ended = sorted(row["ended_at"] for row in ResultStore(folder).read("trials").to_pylist())
    # The first trials wait for their workers to import torch, which is paid once a worker, not once a trial.
    return (ended[-1] - ended[0]).total_seconds()


BENCHMARKS: dict[str, Callable[[], Iterator[Measurement]]] = {
    function.__name__: function for function in (commands, queue, driver, results, batches, smoke)
}


def sparsweep(*words: str) -> None:
    """Run the command as a person does."""
    subprocess.run([str(Path(sys.executable).with_name("sparsweep")), *words], check=True, capture_output=True)


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@contextlib.contextmanager
def logged_at(level: int) -> Iterator[None]:
    """Less noise from Ray Tune."""
    before = logging.getLogger("ray.tune").level
    logging.getLogger("ray.tune").setLevel(level)
    yield
    logging.getLogger("ray.tune").setLevel(before)


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    unknown = set(sys.argv[1:]) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"{', '.join(sorted(unknown))}: no such benchmark; there are {', '.join(BENCHMARKS)}")
    os.environ.update(private_environment())  # before any benchmark imports Ray
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=f"measured {datetime.now(UTC):%Y-%m-%d}")
    for title in ("measured", "value", "at most"):
        table.add_column(title, justify="left" if title == "measured" else "right", no_wrap=True)
    for name in sys.argv[1:] or BENCHMARKS:
        for measurement in BENCHMARKS[name]():
            table.add_row(measurement.what, f"{measurement.value:.3g} {measurement.unit}", measurement.target)
    Console().print(table)


if __name__ == "__main__":
    main()
