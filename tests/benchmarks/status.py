"""How long `status` of a large sweep takes: as it runs, and after its driver was killed."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.benchmarks.measurement import Measurement, timed
from tests.factories import make_circumstances, make_trial_result

REPEATS = 5
SEEDS = f"seeds={list(range(167))}"


def status() -> Iterator[Measurement]:
    """`sparsweep status` of 2,004 completed trials of which nobody asked for compact files."""
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(folder)
        for trial in make_plan(load_sweep_spec("smoke", [SEEDS, f"results={folder}"])):
            store.commit_completed(trial.spec, make_trial_result(), **make_circumstances())
        yield _measure("status of 2,004 trials, whole command", folder, at_most=1)
        shutil.rmtree(f"{folder}/compact")
        yield _measure("the same without the compact file that a sweep renews", folder)


def _measure(what: str, folder: str, at_most: float | None = None) -> Measurement:
    command = Path(sys.executable).with_name("sparsweep")
    words = [
        str(command),
        "status",
        "smoke",
        "--set",
        SEEDS,
        "--set",
        f"results={folder}",
        "--json",
    ]

    def ask() -> None:
        answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        assert '"completed": 2004' in answer

    return Measurement(
        what=what, values=tuple(timed(ask) for _ in range(REPEATS)), unit="s", at_most=at_most
    )
