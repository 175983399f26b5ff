"""A node on which every worker dies gets no more trials, and none of them fails for that."""

import contextlib
from pathlib import Path

import psutil

from orchestrator.results.store import ResultStore
from tests.real_sweeps import TO_STOP, Command, sparsweep, write_sweep

RESOURCES = {"checkpoint_every_s": 0.2, "max_retries": 0, "gpus_per_trial": 0}


def test_a_node_where_workers_die_gets_no_more_trials(cluster, tmp_path: Path):
    sick, _ = cluster.add_node(), cluster.add_node()
    results = tmp_path / "results"
    # Trials that take longer than a worker's start: else the other node has done them all before
    # the sick one gets its second.
    spec = write_sweep(
        tmp_path / "tiny.yaml", results, **TO_STOP | {"resources": RESOURCES, "seeds": [0, 1]}
    )
    running = Command("run", spec, **cluster.environment, SPARSWEEP_NODES="3")

    def is_closed() -> bool:
        attempts = ResultStore(str(results)).read("attempts").to_pylist()
        if any("gets no more trials" in (row["error_message"] or "") for row in attempts):
            return True
        for worker in sick.workers():
            with contextlib.suppress(psutil.Error):
                worker.kill()
        return False

    running.wait_until(is_closed)
    code, output = running.finish()
    assert code == 0, output
    assert output.count("gets no more trials: 2 trials in a row failed there: worker_died") == 1
    assert sparsweep("verify", spec, str(results))[0] == 0
    assert " gets no more trials since " in sparsweep("status", spec)[1]
