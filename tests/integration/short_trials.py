"""Run trials that are shorter than a worker's start, and print how many workers had them.

python -m tests.integration.short_trials FOLDER

A busy machine may take a minute to start the last worker. So there are enough trials to keep the
others busy that long, and once all workers have had one, the rest take no time.
"""

import os
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.running.driver import Driver
from orchestrator.running.progress import SweepProgress
from orchestrator.running.trainable import TrialTrainable
from tests.benchmarks.stored import many_trials
from tests.factories import make_trial_result
from workers.result import Progress, TrialResult
from workers.run import LOADING
from workers.trial import TrialSpec

NUM_WORKERS = 4
WORKERS = "workers"  # in the results folder: a file for each worker that has had a trial


class ShortTrials(TrialTrainable):
    """A real worker, whose trials wait for a second while other workers are missing."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """Give a finished result that names the process."""
        yield LOADING
        workers = Path(self.sweep.results) / WORKERS
        (workers / str(os.getpid())).touch()
        if len(list(workers.iterdir())) < NUM_WORKERS:
            time.sleep(1)
        return replace(make_trial_result(), device_name=str(os.getpid()))


def main(folder: str) -> None:
    """Run 240 of them."""
    spec = many_trials(20)
    (Path(folder) / WORKERS).mkdir(parents=True)
    planned = make_plan(spec)
    progress = SweepProgress(spec.name, folder, planned)
    Driver(spec, planned, ResultStore(folder), progress, ShortTrials).run()
    rows = ResultStore(folder).read("trials", ["device_name"]).to_pylist()
    assert len(rows) == len(planned)
    print(len({row["device_name"] for row in rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
