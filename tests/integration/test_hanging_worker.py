"""A worker that stops in the midst of a trial and never says so."""

import signal
import time
from pathlib import Path

from orchestrator.results.store import ResultStore
from tests.real_sweeps import ONE_TO_STOP, Command, assert_same_numbers, checkpoints, write_sweep

SHORT_PATIENCE = """
import sys
from orchestrator.cli.main import main
from orchestrator.running import hangs
hangs.SILENT_S = 10.0
hangs.USUAL_GAPS = 3  # on a busy machine a step may take seconds
sys.exit(main(sys.argv[1:]))
"""

REPORTS_WITHIN_S = 3.0
"""The driver has heard by then that the trial trains; while it loads it may be silent longer."""


def test_a_worker_that_hangs_is_replaced_and_its_trial_goes_on(never_stopped, tmp_path: Path):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    command = Command("run", spec, program=SHORT_PATIENCE)
    command.wait_until(lambda: bool(checkpoints(results)))
    time.sleep(REPORTS_WITHIN_S)
    (worker,) = command.workers()
    worker.send_signal(signal.SIGSTOP)
    code, output = command.finish()
    assert code == 0, output
    assert not worker.is_running()
    assert "said nothing for 0 minutes, and was ended" in output
    assert_same_numbers(results, never_stopped, num_trials=1)
    (attempt,) = [
        row
        for row in ResultStore(str(results)).read("attempts").to_pylist()
        if row["status"] == "failed"
    ]
    assert attempt["error_kind"] == "worker_died"
