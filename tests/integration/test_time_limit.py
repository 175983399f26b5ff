"""A real driver in a job whose time runs out: what is still started, what is left, and when it
stops.

Run as a program this file is that driver: `python -m tests.integration.test_time_limit FOLDER`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from cluster.node.private_ray import private_environment
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.running.driver import Driver
from orchestrator.running.progress import SweepProgress
from orchestrator.running.trainable import TrialTrainable
from orchestrator.spec.sweep_spec import SweepSpec
from tests.factories import make_trial_result
from workers.result import Progress, TrialResult
from workers.trial import TrialSpec

JOB_S = 200
# The longest that a new job could finish: less a tenth for starting and 10 s for saving. It can be
# started in a job's first 20 s only.
LONG_S, SHORT_S = 169.0, 18.0
WAIT_S = 25


class TimedTrainable(TrialTrainable):
    """Trials that say they took as long as stated above; the English ones wait a while."""

    def make_run(self, spec: TrialSpec) -> Generator[Progress, None, TrialResult]:
        is_long = spec.language == "en"
        until = time.monotonic() + (WAIT_S if is_long else 0)
        while time.monotonic() < until:
            time.sleep(0.1)
            yield Progress(
                step=1, num_steps=2, loss=None, sparsity=0.0, subwords_per_s=0.0, phase="training"
            )
        return replace(
            make_trial_result(), load_s=0.0, train_s=LONG_S if is_long else SHORT_S, evaluate_s=0.0
        )


def drive(folder: str) -> None:
    """English trials, which are long, before Georgian ones, one at a time."""
    spec = SweepSpec(
        name="timed",
        results=folder,
        languages=["en", "ka"],
        sparsities=[0.0],
        seeds=[0, 1],
        corpus={"kind": "synthetic"},
        model={"name": "builtin:small-bert", "init": "random"},
        training={"num_epochs": 3},
        evaluation={"splits": ["test"]},
        resources={"max_concurrent_trials": 1},
    )
    planned = make_plan(spec)
    os.environ |= {
        "SPARSWEEP_DEADLINE": str(time.time() + JOB_S),
        "SPARSWEEP_JOB_LENGTH_S": "100000",
    }
    progress = SweepProgress(spec.name, folder, planned)
    driver = Driver(spec, planned, ResultStore(folder), progress, trainable=TimedTrainable)
    driver.run()
    print(f"stopped by {driver.stop_reason} after {[str(event) for event in progress.events()]}")


def test_what_cannot_end_in_time_is_left_and_shorter_trials_run_instead(tmp_path: Path):
    started = time.monotonic()
    words = [sys.executable, "-m", "tests.integration.test_time_limit", str(tmp_path)]
    environment = os.environ | private_environment()  # before this file imports Ray
    driver = subprocess.run(words, capture_output=True, text=True, timeout=280, env=environment)
    assert driver.returncode == 0, driver.stderr
    assert "stopped by time limit" in driver.stdout, driver.stdout
    rows = ResultStore(str(tmp_path)).read("trials", ["language", "seed"]).to_pylist()
    assert sorted((row["language"], row["seed"]) for row in rows) == [
        ("en", 0),
        ("ka", 0),
        ("ka", 1),
    ]
    assert time.monotonic() - started < JOB_S, "it ended when nothing more could be done"


if __name__ == "__main__":
    drive(sys.argv[1])
