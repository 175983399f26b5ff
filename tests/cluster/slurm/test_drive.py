"""A whole job of mode block, without Slurm and Ray: srun is a program that listens where Ray's head
would, and the driver a shell."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.contract import BAD_INPUT, DONE, SOME_FAILED, STOPPED
from cluster.slurm import shared_files

PROBE = "sw-tiny-0123abcd-20260102"
SRUN = f"""#!{sys.executable}
import os, pathlib, signal, socket, sys
told = pathlib.Path({{told!r}})
told.write_text(" ".join(sys.argv[1:]))
def end(*_):
    told.with_suffix(".ended").touch()
    sys.exit(0)
signal.signal(signal.SIGUSR1, end)
host, _, port = os.environ["RAY_ADDRESS"].rpartition(":")
server = socket.create_server(("", int(port)))
while True:
    server.accept()[0].close()
"""
WAITS = 'trap "exit 75" USR2; touch up; while true; do sleep 0.05; done'
RUNNING = "JobId=12 JobName=sw-tiny-0123abcd JobState=RUNNING"


class Job:
    """The folder of a job whose driver is a shell script, and the job as a process."""

    def __init__(self, folder: Path, script: str, *options: str):
        (folder / shared_files.PROBE).write_text(PROBE)
        python = folder / "python"
        python.write_text(f"#!/bin/bash\ncd {folder}; env >environment\n{script}\n")
        python.chmod(0o755)
        self.folder = folder
        words = [sys.executable, "-P", "-m", "cluster.slurm.job", "block"]
        words += ["--folder", str(folder), "--temp-root", "/tmp", "--probe", PROBE]
        words += ["--stop-before-s", "180", "--time-limit-s", "3600", "--python", str(python)]
        self.process = subprocess.Popen(
            [*words, *options, "--", "run", "sweep.json"], stdout=subprocess.PIPE, text=True
        )

    def tell(self, number: int) -> None:
        """Send a signal as soon as the driver is up."""
        while not (self.folder / "up").exists():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        self.process.send_signal(number)

    def finish(self) -> tuple[int, str]:
        """The job's exit code and log."""
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


@pytest.fixture
def srun(slurm_job: Path, says, tmp_path: Path) -> Path:
    """What srun was asked for; beside it `.ended` appears when it is told that the job is over."""
    told = tmp_path / "srun.asked"
    says("squeue", "UNLIMITED")
    (tmp_path / "srun").write_text(SRUN.format(told=str(told)))
    (tmp_path / "srun").chmod(0o755)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("code", [DONE, SOME_FAILED, BAD_INPUT])
def test_exit_code_of_the_driver_is_that_of_the_job(slurm_job, srun, code):
    job = Job(slurm_job, f"exit {code}")
    assert job.finish() == (code, "")
    assert (slurm_job / shared_files.SEEN).read_text() == "node1"
    assert srun.with_suffix(".ended").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--mps",)])
def test_nodes_are_told_whether_trials_share_their_gpus_by_mps(slurm_job, srun, options):
    assert Job(slurm_job, "exit 0", *options).finish()[0] == DONE
    assert ("--mps" in srun.read_text().split()) == bool(options)


@pytest.mark.slow
def test_nodes_are_started_on_the_whole_allocation_with_a_token_of_the_jobs_own(slurm_job, srun):
    assert Job(slurm_job, "exit 0").finish()[0] == DONE
    asked = srun.read_text()
    assert asked.startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 ")
    assert f"--output={slurm_job}/%j.%N.log" in asked
    assert f"-m cluster.slurm.job node --head-name node1 --folder {slurm_job}" in asked
    environment = (slurm_job / "environment").read_text().splitlines()
    (token,) = [line for line in environment if line.startswith("RAY_AUTH_TOKEN=")]
    assert len(token) == len("RAY_AUTH_TOKEN=") + 64
    assert "RAY_AUTH_MODE=token" in environment
    assert token.partition("=")[2] not in asked


@pytest.mark.slow
def test_job_goes_back_to_the_queue_when_its_time_is_nearly_over(slurm_job, srun, says):
    asked = says("scontrol", RUNNING)
    job = Job(slurm_job, WAITS)
    job.tell(signal.SIGUSR2)
    code, output = job.finish()
    assert code == STOPPED
    assert asked.read_text().splitlines()[-1] == "requeue 12"
    assert "the time limit is near; trials save their checkpoints" in output
    assert "trials are left; back to the queue" in output


@pytest.mark.slow
def test_cancelled_job_does_not_go_back_and_is_called_cancelled(slurm_job, srun, says):
    asked, cancelled = says("scontrol", RUNNING), says("scancel", "")
    job = Job(slurm_job, WAITS)
    job.tell(signal.SIGUSR1)
    assert job.finish()[0] == STOPPED
    assert not asked.exists()
    assert cancelled.read_text() == "12\n"


def test_ray_that_does_not_start_ends_the_job(slurm_job, srun):
    (Path(os.environ["PATH"].partition(":")[0]) / "srun").write_text("#!/bin/sh\nexit 1\n")
    code, output = Job(slurm_job, "exit 0").finish()
    assert code == BAD_INPUT
    assert f"see the other logs in {slurm_job}" in output
    assert not (slurm_job / "environment").exists()
