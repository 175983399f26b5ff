"""Real sweeps, started as a user does: the command in a process of its own, Ray and all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psutil
import yaml
from filelock import FileLock

from orchestrator.results.schema import CHILD_TABLES
from orchestrator.results.store import ResultStore
from tests.ray_nodes import is_called

TIMEOUT_S = 180
# What may differ between two runs of a trial: when, how long, where, how often.
CIRCUMSTANCES = {
    *("started_at", "ended_at", "duration_s", "load_s", "train_s", "evaluate_s", "subwords_per_s"),
    *("num_attempts", "num_resumes", "shared_steps", "peak_memory_gib", "peak_gpu_memory_gib"),
    *("sweep", "asked_json", "kernels"),  # all kernels compute the same
    "model_bytes",  # the file of a model says how long its training took
}

TINY_MODEL = Path(__file__).resolve().parent / "golden" / "tiny-bert"
"""A BERT of one layer with 32 features and 600 sub-words of Bengali and Georgian, without weights:
its steps take milliseconds, so that sweeps are about what is around them."""
TRAINING = {"num_steps": 120, "lr": 3e-3, "batch_size": 8}

ONE_BY_ONE = {"checkpoint_every_s": 0.2, "max_concurrent_trials": 1}
"""Resources of sweeps that are not about trials side by side: one worker has to start, not two."""

LONG_STEPS = 1000
TO_STOP = {"sparsities": [0.5], "training": TRAINING | {"num_steps": LONG_STEPS}}
"""A sweep of two trials of about seven seconds, which something interrupts: it must find them in
their midst, also where it is a command, which takes seconds to start."""
ONE_TO_STOP = TO_STOP | {"languages": ["ka"], "resources": ONE_BY_ONE}
"""The first of these trials."""


class Command:
    """A `sparsweep` command that runs in a process group of its own.

    Args:
        words: the command line after `sparsweep`.
        output: where it says what it says, to be read while it runs; None: for `finish`.
        program: Python, in which the command's `main` is called in another way.
        environment: variables to set.
    """

    def __init__(
        self, *words: str, output: IO[bytes] | None = None, program: str = "", **environment: str
    ):
        called = ["-c", program] if program else ["-m", "orchestrator.cli"]
        self.process = subprocess.Popen(
            [sys.executable, *called, *words],
            stdout=output or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )

    def finish(self) -> tuple[int, str]:
        """Exit code and all output."""
        try:
            output, _ = self.process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            raise
        return self.process.returncode, output

    def signal(self, number: int) -> None:
        """What a terminal does: to the whole process group."""
        os.killpg(self.process.pid, number)

    def children(self) -> list[psutil.Process]:
        """All processes below the command's own."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Processes that run trials now."""
        return [child for child in self.children() if is_called(child, "Trainable")]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to happen while the command runs."""

        def happened() -> bool:
            has_ended = self.process.poll() is not None
            if condition():
                return True
            assert not has_ended, f"the command ended first: {self.finish()}"
            return False

        wait_until(happened)


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something to happen."""
    until = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def sparsweep(*words: str, **environment: str) -> tuple[int, str]:
    """Run a command to its end: exit code and all output."""
    return Command(*words, **environment).finish()


def write_sweep(file: Path, results: object, **changes: object) -> str:
    """A sweep of four trials of about one second: Georgian and Bengali, dense and half pruned.

    Its kernels are those that need no compiler, which would take seconds in each worker.
    """
    fields = {
        "name": "tiny",
        "results": str(results),
        "corpus": {"kind": "synthetic"},
        "model": {"name": str(TINY_MODEL), "init": "random"},
        "languages": ["ka", "bn"],
        "sparsities": [0.0, 0.5],
        "seeds": [0],
        "pruning": {"update_every_steps": 5, "kernels": "reference"},
        "training": TRAINING,
        "resources": {"checkpoint_every_s": 0.2},
    }
    file.write_text(yaml.safe_dump(fields | changes))
    return str(file)


def run_once(folder: Path, **changes: object) -> Path:
    """Results of a sweep of `write_sweep`, which the first of several processes runs.

    Args:
        folder: where all of them see it; made here.
        changes: of the sweep.
    """
    results = folder / "results"
    with FileLock(f"{folder}.lock"):
        if not results.exists():
            folder.mkdir(exist_ok=True)
            code, output = sparsweep("run", write_sweep(folder / "tiny.yaml", results, **changes))
            assert code == 0, output
    return results


def changed_at(file: Path) -> float:
    """When a file was changed, in seconds since 1970; 0 where it is gone, as a checkpoint is whose
    trial has just ended."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def numbers(results: object) -> dict[str, list[dict]]:
    """All that trials computed, to the last bit, without times and places."""
    store = ResultStore(str(results))
    tables = {name: store.read(name).to_pylist() for name in ("trials", *CHILD_TABLES)}
    for name, rows in tables.items():
        tables[name] = [
            {
                key: value
                for key, value in row.items()
                if key not in CIRCUMSTANCES and not key.startswith("provenance_")
            }
            for row in rows
        ]
    return tables


def assert_same_numbers(results: Path, expected: Path, num_trials: int) -> None:
    """Trials that both have computed, so many of them, have the same rows in all tables."""
    found, wanted = numbers(results), numbers(expected)
    both = {row["trial_id"] for row in found["trials"]} & {
        row["trial_id"] for row in wanted["trials"]
    }
    assert len(both) == num_trials
    for table in wanted:
        rows = [row for row in wanted[table] if row["trial_id"] in both]
        assert [row for row in found[table] if row["trial_id"] in both] == rows, table


def checkpoints(results: Path) -> list[Path]:
    """Checkpoints of trials that run or were interrupted."""
    return list((results / "checkpoints").glob("*.safetensors"))
