"""The driver of a Slurm job: what it is started with, and how it ends. A shell stands in for
Python."""

import argparse
import os
import shlex
import signal
import threading
import time
from pathlib import Path

import pytest

from cluster.contract import DEADLINE, ELASTIC, JOB_LENGTH_S, NUM_NODES, STOPPED
from cluster.slurm import driver, shared_files
from cluster.slurm.driver import run_driver, srun_words
from cluster.slurm.job import parse
from cluster.slurm.signals import STOP_REQUESTS

NO_JOB = "slurm_load_jobs error: Invalid job id specified"


@pytest.fixture(autouse=True)
def no_limit(says, monkeypatch) -> None:
    says("squeue", "UNLIMITED")
    monkeypatch.setattr(driver, "LOOKS_EVERY_S", 0.02)


def args_of(folder: Path, role: str, script: str = "exit 0", *more: str) -> argparse.Namespace:
    """The command line of a job whose Python is a shell that keeps its words and environment."""
    python = folder / "python"
    python.write_text(f'#!/bin/bash\ncd {folder}; echo "$@" >words; env >environment\n{script}\n')
    python.chmod(0o755)
    words = [role, "--folder", str(folder), "--temp-root", "/tmp", "--python", str(python)]
    words += ["--stop-before-s", "180", "--time-limit-s", "3600", *more]
    return parse([*words, "--", "run", "sweep.json", "--as-job"])


def environment(folder: Path) -> dict[str, str]:
    lines = (folder / "environment").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_driver_is_the_same_command_as_on_a_laptop(slurm_job, signals):
    assert run_driver(args_of(slurm_job, "block"), signals) == 0
    assert (slurm_job / "words").read_text() == "-P -m orchestrator.cli run sweep.json --as-job\n"


def test_driver_of_a_block_knows_its_nodes_and_that_of_a_head_that_they_come_and_go(
    slurm_job, signals
):
    run_driver(args_of(slurm_job, "block"), signals)
    block = environment(slurm_job)
    run_driver(args_of(slurm_job, "head"), signals)
    head = environment(slurm_job)
    assert (block.get(NUM_NODES), block.get(ELASTIC)) == ("2", None)
    assert (head.get(NUM_NODES), head.get(ELASTIC)) == (None, "1")
    assert DEADLINE not in block
    assert JOB_LENGTH_S not in block


def test_driver_knows_when_all_must_be_saved_and_how_long_the_next_job_has(
    slurm_job, signals, says
):
    says("squeue", "30:00")
    run_driver(args_of(slurm_job, "block"), signals)
    told = environment(slurm_job)
    assert float(told[DEADLINE]) == pytest.approx(time.time() + 30 * 60 - 180, abs=60)
    assert float(told[JOB_LENGTH_S]) == 3600 - 180 - driver.SHORTEST_RUN_S


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 1", 1),
        ("exit 75", STOPPED),
        ("kill -USR2 $$", STOPPED),
        ("kill -TERM $$", STOPPED),
        ("kill -KILL $$", -signal.SIGKILL),
    ],
)
def test_end_by_the_signal_that_stops_it_is_a_stop(slurm_job, signals, script, code):
    assert run_driver(args_of(slurm_job, "block", script), signals) == code


def test_request_from_before_the_start_stops_the_driver(slurm_job, signals):
    signals.stop(STOP_REQUESTS[signal.SIGUSR1])
    script = 'trap "exit 75" USR2; while true; do sleep 0.05; done'
    assert run_driver(args_of(slurm_job, "block", script), signals) == STOPPED


def test_driver_that_does_not_stop_in_time_is_killed_so_that_the_job_can_go_back(
    slurm_job, signals, capsys
):
    script = "trap '' USR2; touch deaf; while true; do sleep 0.05; done"
    args = args_of(slurm_job, "block", script)
    args.stop_before_s = driver.RESERVE_S

    def stop_when_deaf() -> None:
        while not (slurm_job / "deaf").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR2)

    threading.Thread(target=stop_when_deaf).start()
    assert run_driver(args, signals) == STOPPED
    assert "the driver does not stop; its trials go on from their last" in capsys.readouterr().out


def test_head_does_not_wait_for_workers_that_will_not_come(
    slurm_job, signals, says, monkeypatch, capsys
):
    monkeypatch.setattr(driver, "LOOKS_FOR_WORKERS_EVERY_S", 0.1)
    says("scontrol", NO_JOB, code=1)
    (slurm_job / shared_files.WORKERS).write_text("13")
    script = 'trap "exit 75" USR2; while true; do sleep 0.05; done'
    assert run_driver(args_of(slurm_job, "head", script), signals) == STOPPED
    assert signals.request.comes_back is False
    assert "no worker is left, and none will come" in capsys.readouterr().out


def test_container_is_around_the_driver_of_a_block(slurm_job, signals, says):
    asked = says("srun", "")
    container = ("--container", "x.sqsh", "--container-mount", "/data:/data")
    assert run_driver(args_of(slurm_job, "block", "exit 0", *container), signals) == 0
    words = shlex.split(asked.read_text())
    assert "--container-image=x.sqsh" in words
    assert f"--container-mounts={slurm_job}:{slurm_job},/data:/data" in words
    assert words[words.index("--nodelist=node1") + 1 :][:4] == [
        str(slurm_job / "python"),
        *("-P", "-m", "orchestrator.cli"),
    ]


def test_one_task_a_node_that_outlives_the_others(slurm_job):
    words = srun_words(args_of(slurm_job, "block"), 2)
    assert words[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert {"--no-kill", "--kill-on-bad-exit=0", "--cpus-per-task=3"} <= set(words)
    assert not any("container" in word for word in words)
    del os.environ["SLURM_CPUS_PER_TASK"]
    assert "--cpus-per-task=1" in srun_words(args_of(slurm_job, "block"), 2)
