"""The Slurm of these tests behaves as a real one, in all that sweeps rely on."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

WAITER = """#!/bin/bash
#SBATCH --gres=gpu:1 --requeue --open-mode=append --output=%j.out
for signal in TERM USR1; do trap "echo got $signal" $signal; done
echo "start ${SLURM_RESTART_COUNT:-0} on $(hostname)"
sleep 300 & wait; wait
"""
"""A job that says when it starts and is told to end, and waits."""


def sbatch(folder: Path, *words: str, script: str | None = None) -> tuple[int, str]:
    """Exit code and what is printed with --parsable: the job's id."""
    done = subprocess.run(
        ["sbatch", "--parsable", *words],
        cwd=folder,
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.strip() or done.stderr


def start_waiter(slurm, folder: Path, *words: str) -> tuple[str, Path]:
    """A running job's id and output."""
    code, job_id = sbatch(folder, *words, script=WAITER)
    assert code == 0, job_id
    output = folder / f"{job_id}.out"
    slurm.wait_until(lambda: says(output, "start 0"))
    return job_id, output


def says(output: Path, text: str) -> bool:
    return output.exists() and text in output.read_text()


def test_job_on_two_nodes_gets_a_gpu_on_each(slurm, folder):
    command = (
        "srun bash -c 'echo $(hostname) $(hostname -I) $CUDA_VISIBLE_DEVICES $SLURM_GPUS_ON_NODE'"
    )
    code, message = sbatch(
        folder,
        "-W",
        "-N2",
        "--ntasks-per-node=1",
        "--gres=gpu:1",
        "-o",
        "job.out",
        "--wrap",
        command,
    )
    assert code == 0, message
    assert sorted((folder / "job.out").read_text().splitlines()) == [
        "node1 10.213.0.11 0 1",
        "node2 10.213.0.12 0 1",
    ]


def test_jobs_side_by_side_on_one_node_get_different_gpus(slurm, folder):
    command = "echo $CUDA_VISIBLE_DEVICES; sleep 2"
    for name in ("a", "b"):
        code, message = sbatch(
            folder, "-w", "node1", "--gres=gpu:1", "-o", f"{name}.out", "--wrap", command
        )
        assert code == 0, message
    slurm.wait_until(lambda: not slurm.live_jobs())
    assert {(folder / f"{name}.out").read_text() for name in ("a", "b")} == {"0\n", "1\n"}


def test_tasks_of_an_array_know_their_numbers(slurm, folder):
    code, message = sbatch(
        folder, "-W", "--array=0-2", "-o", "%a.out", "--wrap", "echo $SLURM_ARRAY_TASK_ID"
    )
    assert code == 0, message
    assert [(folder / f"{task}.out").read_text() for task in range(3)] == ["0\n", "1\n", "2\n"]


def test_exit_code_of_a_job_is_kept(slurm, folder):
    code, job_id = sbatch(folder, "-W", "-o", "job.out", "--wrap", "exit 7")
    assert code == 7
    assert slurm.job_state(job_id) == "FAILED"
    assert slurm.job_fields(job_id)["ExitCode"] == "7:0"


def test_scancel_sends_term_first(slurm, folder):
    job_id, output = start_waiter(slurm, folder)
    subprocess.run(["scancel", job_id], check=True)
    slurm.wait_until(lambda: slurm.job_state(job_id) == "CANCELLED")
    assert says(output, "got TERM")


def test_requeued_job_starts_again(slurm, folder):
    job_id, output = start_waiter(slurm, folder)
    slurm.scontrol("requeue", job_id)
    slurm.wait_until(lambda: says(output, "start 1"))


def test_job_in_spot_makes_way_for_one_in_main_and_starts_again(slurm, folder):
    _, output = start_waiter(slurm, folder, "-p", "spot", "-w", "node2")
    code, message = sbatch(
        folder, "-p", "main", "-w", "node2", "--gres=gpu:2", "-o", "main.out", "--wrap", "sleep 1"
    )
    assert code == 0, message
    slurm.wait_until(lambda: says(output, "start 1"))
    assert says(output, "got TERM"), "it is told before it is killed"


def test_job_of_a_node_that_crashes_starts_again(slurm, folder):
    job_id, output = start_waiter(slurm, folder, "-w", "node2")
    slurm.crash("node2")
    slurm.wait_until(lambda: slurm.job_state(job_id) == "PENDING")
    slurm.start("node2")
    slurm.wait_until(lambda: says(output, "start 1"))


def test_users_have_homes_and_jobs_of_their_own(slurm, folder):
    code, job_id = slurm.run_as(
        "ann", "sbatch", "--parsable", "-o", "job.out", "--wrap", "id -un; pwd; sleep 300"
    )
    assert code == 0, job_id
    output = slurm.folder / "home" / "ann" / "job.out"
    slurm.wait_until(lambda: says(output, "ann"))
    assert output.read_text().splitlines() == ["ann", str(slurm.folder / "home" / "ann")]
    code, message = slurm.run_as("ben", "cat", str(output))
    assert (code, "Permission denied" in message) == (1, True)
    code, message = slurm.run_as("ben", "scancel", job_id.strip())
    assert "Access/permission denied" in message
    assert slurm.job_state(job_id.strip()) == "RUNNING"


@pytest.mark.skipif(
    "SPARSWEEP_SLOW_TESTS" not in os.environ, reason="takes two minutes; set SPARSWEEP_SLOW_TESTS=1"
)
def test_signal_comes_before_the_time_limit(slurm, folder):
    _, output = start_waiter(slurm, folder, "--time=2", "--signal=B:USR1@60")
    slurm.wait_until(lambda: says(output, "got USR1"), timeout_s=100)
