"""Measure planning, driving, reading and batching; print each figure beside its target or peer.

    python -m tests.benchmarks [NAME ...] [--csv FILE]

Timings on a shared machine are noisy: what is short is timed several times and the median is shown;
peers are timed in the same run, in turns.
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console

from cluster.node.private_ray import private_environment
from orchestrator.planning.plan import make_plan
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.benchmarks import (
    analysis,
    evaluation,
    kept_models,
    kernels,
    launches,
    many_workers,
    pruned_models,
    report,
    stored,
)
from tests.benchmarks.measurement import (
    Measurement,
    exit_code,
    make_table,
    set_words,
    sparsweep,
    timed,
    write_csv,
)

REPEATS = 5
QUEUED_SEEDS = 834
DRIVEN_SEEDS = 17


def commands() -> Iterator[Measurement]:
    """How long a person waits for the command line."""
    with tempfile.TemporaryDirectory() as folder:
        help_s = tuple(timed(lambda: sparsweep("--help")) for _ in range(REPEATS))
        yield Measurement(what="sparsweep --help", values=help_s, unit="s", at_most=0.5)
        large = set_words(*stored.settings(QUEUED_SEEDS, f"{folder}/none"))
        plan_s = tuple(timed(lambda: sparsweep("plan", "smoke", *large)) for _ in range(REPEATS))
        yield Measurement(what="sparsweep plan, 10,008 trials", values=plan_s, unit="s", at_most=2)


def queue() -> Iterator[Measurement]:
    """Planning 10,008 trials, and Ray Tune taking them over in order."""
    from ray.tune.experiment import Experiment
    from ray.tune.search import SearchGenerator

    from orchestrator.running.messages import Assignment
    from orchestrator.running.searcher import OrderedSearcher
    from orchestrator.running.trainable import TrialTrainable

    started = time.perf_counter()
    planned = make_plan(stored.many_trials(QUEUED_SEEDS))
    assignments = [
        Assignment(trial_id=trial.trial_id, spec_json=trial.spec.to_json()) for trial in planned
    ]
    searcher = OrderedSearcher(
        assignments, is_wanted=lambda assignment: True, is_stopping=lambda: False
    )
    with tempfile.TemporaryDirectory() as folder, logged_at(logging.CRITICAL):
        generator = SearchGenerator(searcher)
        experiment = Experiment(
            "bench", TrialTrainable, num_samples=len(planned), storage_path=folder
        )
        generator.add_configurations([experiment])
        order = [generator.next_trial().config["trial_id"] for _ in planned]
    seconds = time.perf_counter() - started
    assert order == [trial.trial_id for trial in planned]
    yield Measurement(
        what="10,008 trials planned, queued and ordered", values=(seconds,), unit="s", at_most=20
    )


def driver() -> Iterator[Measurement]:
    """What the driver adds to a trial that does nothing, on a kept worker and on a new one."""
    from tests.benchmarks.idle import IdleTrainable

    kept = trial_s(DRIVEN_SEEDS, IdleTrainable, reuse_workers=True)
    yield Measurement(
        what="driver overhead a trial, results committed", values=(kept,), unit="s", at_most=0.1
    )
    fresh = trial_s(1, IdleTrainable, reuse_workers=False)
    yield Measurement(
        what="the same with a new worker each trial", values=(fresh / kept,), unit="x"
    )


def batches() -> Iterator[Measurement]:
    """A training step on random batches, packed against padded."""
    from workers.data import synthetic
    from workers.data.align import load_encoded
    from workers.model.encoder import make_model
    from workers.run import prepare_process
    from workers.train import Training

    threads = torch.get_num_threads()
    device = prepare_process(num_threads=1)
    spec = make_plan(load_sweep_spec("smoke", ["languages=[ka]", "training.num_steps=20"]))[0].spec
    assert spec.corpus.fingerprint == synthetic.fingerprint(0)
    split = load_encoded(spec.corpus, spec.model, "ka", "train", 128)

    def step_s(is_packed: bool) -> float:
        training = Training(spec, make_model(spec.model, 0, device), split, device)
        if not is_packed:
            training._packed = None
        for _ in training.run():
            pass
        return training.train_s / training.num_steps

    step_s(is_packed=True)
    ratios = [step_s(is_packed=True) / step_s(is_packed=False) for _ in range(REPEATS)]
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    yield Measurement(
        what="step on packed rows against padded ones in parts of 16",
        values=tuple(ratios),
        unit="x",
    )


def smoke() -> Iterator[Measurement]:
    """The built-in sweep, from typing the command to its table."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed(lambda: run_smoke(f"{folder}/smoke"))
    yield Measurement(
        what="sparsweep run smoke, 24 trials", values=(seconds,), unit="s", at_most=180
    )


def sharing() -> Iterator[Measurement]:
    """How many trials an hour come out of one GPU that one, two or four share; nothing without
    one."""
    if not torch.cuda.is_available():
        return
    seeds = f"seeds={list(range(8))}"
    for num_at_once in (1, 2, 4):
        overrides = ("languages=[sw]", "sparsities=[0.5]", seeds, "resources.cpus_per_trial=1")
        share = f"resources.gpus_per_trial={1 / num_at_once}"
        yield Measurement(
            what=f"trials of sw an hour, {num_at_once} at a time on a GPU",
            values=(trials_an_hour(*overrides, share),),
            unit="1/h",
        )


def trials_an_hour(*overrides: str) -> float:
    """Of the smoke sweep with these overrides, from the end of the first trial to that of the last:
    workers start but once."""
    from orchestrator.results.store import ResultStore

    with tempfile.TemporaryDirectory() as folder:
        run_smoke(f"{folder}/r", *overrides)
        rows = ResultStore(f"{folder}/r").read("trials", ["ended_at"]).to_pylist()
    ended = sorted(row["ended_at"] for row in rows)
    return 3600 * (len(ended) - 1) / (ended[-1] - ended[0]).total_seconds()


def run_smoke(results: str, *overrides: str) -> None:
    """Run the smoke sweep as a person does."""
    sparsweep("run", "smoke", *set_words(*overrides, f"results={results}"))


def trial_s(num_seeds: int, trainable: type, reuse_workers: bool) -> float:
    """Seconds a trial, from the first one's start to the last one's end."""
    from orchestrator.results.store import ResultStore
    from orchestrator.running.driver import Driver
    from orchestrator.running.progress import SweepProgress

    spec = stored.many_trials(num_seeds)
    planned = make_plan(spec)
    with tempfile.TemporaryDirectory() as folder:
        progress = SweepProgress(spec.name, folder, planned)
        Driver(spec, planned, ResultStore(folder), progress, trainable, reuse_workers).run()
        assert progress.snapshot().num_done == len(planned)
        ended = sorted(row["ended_at"] for row in ResultStore(folder).read("trials").to_pylist())
    # The first trials wait for their workers to import torch, which is paid once a worker, not once
    # a trial.
    return (ended[-1] - ended[0]).total_seconds() / len(planned)


@contextlib.contextmanager
def logged_at(level: int) -> Iterator[None]:
    """Less noise from Ray Tune."""
    before = logging.getLogger("ray.tune").level
    logging.getLogger("ray.tune").setLevel(level)
    yield
    logging.getLogger("ray.tune").setLevel(before)


BENCHMARKS: dict[str, Callable[[], Iterator[Measurement]]] = {
    function.__name__: function
    for function in (
        commands,
        queue,
        driver,
        stored.results,
        stored.status,
        batches,
        smoke,
        evaluation.scoring,
        evaluation.storing,
        evaluation.perturbing,
        analysis.analysis,
        report.report,
        kernels.steps,
        kernels.sparsities,
        kernels.thresholds,
        kernels.updates,
        kernels.training,
        launches.launches,
        kept_models.kept_models,
        pruned_models.pruned_models,
        sharing,
        many_workers.many_workers,
    )
}
WHEN_NAMED = ("many_workers",)
"""Left out where none is named: they take half an hour."""


def main() -> int:
    """Run the benchmarks named on the command line, or all; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=main.__doc__)
    default = [name for name in BENCHMARKS if name not in WHEN_NAMED]
    parser.add_argument(
        "names",
        nargs="*",
        help=f"of {', '.join(BENCHMARKS)} (default: all but {', '.join(WHEN_NAMED)})",
    )
    parser.add_argument(
        "--csv", type=Path, default=Path("results/bench.csv"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, help="CPU threads of torch (default: as many as there are CPUs)"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(
            f"{', '.join(sorted(unknown))}: no such benchmark; there are {', '.join(BENCHMARKS)}"
        )
    if args.threads:
        torch.set_num_threads(args.threads)
    os.environ.update(private_environment())  # before any benchmark imports Ray
    measured: list[tuple[str, Measurement]] = []
    try:
        for name in args.names or default:
            measured.extend((name, one) for one in BENCHMARKS[name]())
    finally:  # one that fails does not take with it what the others found
        Console(width=None if sys.stdout.isatty() else 130).print(make_table(measured))
        write_csv(args.csv, measured)
    return exit_code(measured)


if __name__ == "__main__":
    sys.exit(main())
