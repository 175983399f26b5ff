"""A small sweep in which one try meets a fault that stays with its process, see `faulty_worker`.

    python -m tests.workers.sweep_with_a_fault RESULTS

Prints, as JSON, how each attempt ended.
"""

import json
import os
import sys

from cluster.node.private_ray import private_environment
from orchestrator.planning.plan import make_plan
from orchestrator.results.store import ResultStore
from orchestrator.running.driver import Driver
from orchestrator.running.progress import SweepProgress
from orchestrator.spec.sweep_spec import load_sweep_spec

OVERRIDES = ("languages=[ka]", "sparsities=[0.5]", "seeds=[0,1]", "training.num_steps=20")


def main(results: str) -> None:
    """Run it."""
    os.environ.update(private_environment())  # before Ray is imported
    from tests.workers.faulty_worker import FaultyWorker

    sweep = load_sweep_spec("smoke", [*OVERRIDES, f"results={results}", "resources.max_retries=1"])
    planned, store = make_plan(sweep), ResultStore(results)
    Driver(sweep, planned, store, SweepProgress(sweep.name, results, planned), FaultyWorker).run()
    attempts = store.read("attempts").to_pylist()
    print(json.dumps(sorted((row["status"], row["error_kind"]) for row in attempts)))


if __name__ == "__main__":
    main(sys.argv[1])
