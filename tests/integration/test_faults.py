"""Killed at the worst moment: what was committed stays, and the rest comes out to the same bits."""

import getpass
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from cluster.contract import SOME_FAILED
from orchestrator.results.store import ResultStore
from tests.ray_nodes import is_called
from tests.real_sweeps import (
    LONG_STEPS,
    ONE_TO_STOP,
    TO_STOP,
    Command,
    assert_same_numbers,
    changed_at,
    checkpoints,
    numbers,
    sparsweep,
    write_sweep,
)


def test_killed_driver_and_killed_worker_leave_the_numbers_of_an_undisturbed_sweep(
    never_stopped, tmp_path
):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **TO_STOP)

    killed = Command("run", spec)
    killed.wait_until(lambda: len(checkpoints(results)) > 0)
    killed.process.kill()
    assert killed.finish()[0] == -signal.SIGKILL
    assert list(results.glob("trials/*")) == [], "it was killed in the middle"

    started = time.time()
    resumed = Command("run", spec)
    resumed.wait_until(lambda: any(changed_at(file) > started for file in checkpoints(results)))
    resumed.wait_until(lambda: len(resumed.workers()) > 0)
    victim = next(iter(resumed.workers()))
    victim.kill()
    code, output = resumed.finish()
    assert code == 0, output
    assert "retry" in output
    assert "worker_died" in output

    assert numbers(results) == numbers(never_stopped)
    assert sparsweep("verify", spec, str(results))[0] == 0
    assert checkpoints(results) == []
    attempts = ResultStore(str(results)).read("attempts").to_pylist()
    died = [attempt for attempt in attempts if attempt["error_kind"] == "worker_died"]
    assert len(died) == 1
    assert sum(attempt["status"] == "completed" for attempt in attempts) == 2


def test_ctrl_c_saves_checkpoints_and_says_how_to_go_on(never_stopped, tmp_path):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    stopped = Command("run", spec)
    stopped.wait_until(lambda: any(saved_step(file) >= 10 for file in checkpoints(results)))
    idle = [child for child in stopped.children() if is_called(child, "ray::IDLE")]
    assert not idle, "no Python was started for what never comes"
    stopped.signal(signal.SIGINT)
    code, output = stopped.finish()
    assert code == 130, output
    assert "all that was finished is kept. Go on with:" in output
    assert f"sparsweep run {spec}" in output
    assert "Traceback" not in output
    step = int(re.search(rf"stopped  .* at step (\d+)/{LONG_STEPS}", output)[1])
    assert saved_step(checkpoints(results)[0]) >= step, "it saved its state when it was stopped"

    code, output = sparsweep("run", spec)
    assert code == 0, output
    assert_same_numbers(results, never_stopped, num_trials=1)
    resumed = ResultStore(str(results)).read("trials", ["num_resumes"]).to_pylist()
    assert resumed == [{"num_resumes": 1}]


INTERRUPTED_IN_A_HOOK = """
import os, signal, sys
from orchestrator.cli.main import main
left = [1]
def interrupt():
    if "ray" in sys.modules and left:
        left.pop()
        os.kill(os.getpid(), signal.SIGINT)
os.register_at_fork(after_in_parent=interrupt)
main()
"""


def test_a_ctrl_c_in_a_hook_of_a_fork_which_drops_what_is_raised_stops_the_sweep(tmp_path):
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", **ONE_TO_STOP)
    code, output = Command("run", spec, program=INTERRUPTED_IN_A_HOOK).finish()
    assert code == 130, output
    assert "Stopped (SIGINT); all that was finished is kept." in output
    assert "started" not in output


def saved_step(file: Path) -> int:
    with safe_open(file, "pt") as checkpoint:
        return json.loads(checkpoint.metadata()["values"])["step"]


def test_workers_run_the_planned_code_whatever_lies_in_the_current_folder(
    undisturbed, tmp_path, monkeypatch
):
    for package in ("workers", "orchestrator", "cluster"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError(__file__)\n")
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, sparsities=[0.5], languages=["ka"])
    code, output = sparsweep("run", spec, PYTHONSAFEPATH="1")
    assert code == 0, output
    assert_same_numbers(results, undisturbed, num_trials=1)


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_sweep_whose_ray_is_gone_stops_soon_and_says_so(name, tmp_path):
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    command = Command("run", spec)
    command.wait_until(lambda: len(checkpoints(results)) > 0)
    (victim,) = (child for child in command.children() if child.name() == name)
    victim.kill()
    killed = time.monotonic()
    code, output = command.finish()
    assert code == 75, output
    assert time.monotonic() - killed < 60
    assert re.search(r"Stopped \(Ray's (raylet of this machine|head) is gone\)", output)
    assert "Traceback" not in output


def test_a_closed_terminal_saves_checkpoints_and_nobody_elses_file_is_in_the_way(tmp_path):
    (tmp_path / f"torchinductor_{getpass.getuser()}").touch()  # where torch would make its folder
    results = tmp_path / "results"
    spec = write_sweep(tmp_path / "tiny.yaml", results, **ONE_TO_STOP)
    command = Command("run", spec, TMPDIR=str(tmp_path))
    command.wait_until(lambda: any(saved_step(file) >= 10 for file in checkpoints(results)))
    command.signal(signal.SIGHUP)  # to the driver, to Ray and to the workers
    code, output = command.finish()
    assert code == 75, output
    step = int(re.search(r"stopped  .* at step (\d+)/", output)[1])
    assert saved_step(checkpoints(results)[0]) >= step, "it saved its state when it was stopped"
    left = {path.name.partition("_")[0] for path in tmp_path.iterdir()}
    assert left == {"torchinductor", "results", "tiny.yaml"}


WITH_A_GPU_THAT_IS_NOT_THERE = """
import sys
from orchestrator.cli.main import main
from orchestrator.running import ray_cluster
private_ray = ray_cluster.private_ray
ray_cluster.private_ray = lambda: private_ray(num_gpus=1)
sys.exit(main(["run", sys.argv[1]]))
"""


def test_a_gpu_that_ray_gives_and_torch_does_not_see_is_not_the_trials_fault(tmp_path):
    import torch  # here: other tests of this file do without

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    resources = {"gpus_per_trial": 1, "max_retries": 1}
    changes = {"languages": ["ka"], "sparsities": [0.0], "resources": resources}
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", **changes)
    command = [sys.executable, "-c", WITH_A_GPU_THAT_IS_NOT_THERE, spec]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=170)
    assert done.returncode == SOME_FAILED, done.stdout + done.stderr
    attempts = ResultStore(str(tmp_path / "results")).read("attempts").to_pylist()
    assert [attempt["error_kind"] for attempt in attempts] == ["device"] * 2
    assert all("torch" in attempt["error_message"] for attempt in attempts)
    assert all("CUDA_VISIBLE_DEVICES: 0" in attempt["error_message"] for attempt in attempts), (
        "each worker saw the GPU that it was given"
    )


def test_a_fault_that_stays_with_a_process_costs_one_attempt(tmp_path):
    """As `make test-gpu` asks of a real one, on a GPU."""
    command = [sys.executable, "-m", "tests.workers.sweep_with_a_fault", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended == [["completed", None]] * 2 + [["failed", "device"]], done.stdout
