"""Workers whose trials do nothing, to measure what the driver adds to a trial."""

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

from orchestrator.running.trainable import TrialTrainable
from tests.benchmarks.many_workers import SLEEPS, TRIAL_S
from tests.factories import make_trial_result
from workers.result import Progress, TrialResult
from workers.trial import TrialSpec


class IdleTrainable(TrialTrainable):
    """Everything of a real worker, the commit of its results included, but the trial itself."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """Give a finished result at once."""
        return make_trial_result()
        yield


class SleepingTrainable(TrialTrainable):
    """The same, of trials that take a while, which is written down."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """Sleep, and give a finished result."""
        begun = time.time()
        time.sleep(TRIAL_S)
        with (Path(self.sweep.results) / SLEEPS / str(os.getpid())).open("a") as file:
            file.write(f"{json.dumps([begun, time.time()])}\n")
        return make_trial_result()
        yield
