"""Workers whose trials do nothing, to measure what the driver adds to a trial."""

import json
import os
import random
import time
from collections.abc import Generator
from pathlib import Path

from orchestrator.running.trainable import TrialTrainable
from tests.benchmarks.many_workers import SLEEPS, STEP_S
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
    """The same, of trials whose steps take a while, which is written down."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        """Sleep in each step, and give a finished result. It takes from half to one and a half
        times as long as asked for, so that trials that began together do not end together."""
        asked = spec.training.num_steps
        assert asked is not None
        num_steps = round(asked * random.Random(spec.trial_id()).uniform(0.5, 1.5))
        begun, slept_s = time.time(), 0.0
        for step in range(1, num_steps + 1):
            before = time.monotonic()
            time.sleep(STEP_S)
            slept_s += time.monotonic() - before
            yield Progress(
                step=step,
                num_steps=num_steps,
                loss=1.0,
                sparsity=0.5,
                subwords_per_s=1000.0,
                phase="training",
            )
        worker = f"{os.getpid()}-{id(self)}"
        with (Path(self.sweep.results) / SLEEPS / worker).open("a") as file:
            file.write(f"{json.dumps([begun, time.time(), slept_s])}\n")
        return make_trial_result()
