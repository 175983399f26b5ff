"""Talks to Slurm's own commands, from where a user submits and from inside a job."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence

from cluster.backend import JobState
from cluster.errors import ClusterError
from cluster.slurm.time_limit import seconds

OF_CLIENTS = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_TIME_FORMAT")
"""What says where Slurm is and who asks, and not what is asked."""
NOT_OURS = (
    "SLURM_",
    "SLURMD_",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "SQUEUE_",
    "SINFO_",
    "SCONTROL_",
    "SCANCEL_",
    "SACCT_",
)
"""Beginnings of the names of variables that change what Slurm's commands do."""
OF_AN_ALLOCATION = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)
"""What Slurm sets in a job, and only where the job has GPUs: another job would take the devices of
this one for its own."""

ANSWERS_WITHIN_S = 60
TRIES_FOR_S = 60.0

STATES = {
    "PENDING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "COMPLETING": JobState.STOPPING,
    "EXPEDITING": JobState.STOPPING,  # of newer versions: it may be requeued
    "STAGE_OUT": JobState.STOPPING,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
    "FAILED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
}
"""Slurm's job states, and ours; the last group is terminal."""


def ask(*words: str, stdin: str | None = None) -> str:
    """Run one of Slurm's commands and return what it prints.

    Raises:
        ClusterError: it is not there, takes too long, or refuses; with its own words.
    """
    result = _run(words, stdin)
    if result.returncode:
        said = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise ClusterError(f"slurm: {words[0]}: {said}")
    return result.stdout


def _run(words: Sequence[str], stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            words,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=ANSWERS_WITHIN_S,
            check=False,
            env=_environment(),
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"slurm: {words[0]} is not on this machine's PATH; submit from a login node, or load "
            "its module"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"slurm: {words[0]} did not answer within {ANSWERS_WITHIN_S} s; is Slurm up?"
        ) from error


def _environment() -> dict[str, str]:
    """Ours, without what an allocation that we were called from put there, or the user did.

    Slurm documents that such a variable overrides what a batch script says, so the job would not be
    the one that was shown.
    """
    left_out = OF_AN_ALLOCATION if "SLURM_JOB_ID" in os.environ else ()
    return {
        name: value
        for name, value in os.environ.items()
        if name in OF_CLIENTS or not (name.startswith(NOT_OURS) or name in left_out)
    }


def job_fields(job_id: str) -> list[dict[str, str]]:
    """What `scontrol` knows of a job, a dictionary each task of an array; empty: nothing."""
    result = _run(["scontrol", "-o", "show", "job", job_id])
    if result.returncode:
        if "Invalid job id" in result.stderr:
            return []
        raise ClusterError(f"slurm: scontrol: {' '.join(result.stderr.split())}")
    return [
        dict(re.findall(r"(\S+?)=(.*?)(?=\s+\S+?=|\s*$)", line))
        for line in result.stdout.splitlines()
        if line
    ]


def accounted_state(job_id: str) -> tuple[str, str] | None:
    """State and exit code of a job that `scontrol` has forgotten, where the cluster keeps accounts;
    else None."""
    try:
        text = ask("sacct", "-n", "-X", "-P", "-j", job_id, "-o", "State,ExitCode")
    except ClusterError:  # no accounting here
        return None
    rows = [line.split("|") for line in text.splitlines() if line]
    return (rows[-1][0].split()[0], rows[-1][1]) if rows else None


def time_left_s(job_id: str) -> float | None:
    """Seconds until a running job's time limit; None where it has none, or Slurm does not say."""
    try:
        text = ask("squeue", "-h", "-j", job_id, "-o", "%L").strip()
        return float(seconds(text))
    except (ClusterError, ValueError):
        return None


def scancel(*words: str) -> None:
    """Cancel or signal jobs; those that are over already are no fault."""
    result = _run(["scancel", *words])
    said = " ".join(result.stderr.split())
    if result.returncode == -signal.SIGTERM:  # it was part of what it cancelled
        return
    if (
        result.returncode
        and "already completing or completed" not in said
        and "Invalid job id" not in said
    ):
        raise ClusterError(f"slurm: scancel: {said}")


def requeue_myself(delay_s: int = 0) -> bool:
    """Put the job that this process is part of back into the queue.

    Args:
        delay_s: it shall not start again before so many seconds have passed.

    Returns:
        Whether it goes back: a job that somebody cancelled does not.
    """
    job_id, until = os.environ["SLURM_JOB_ID"], time.monotonic() + TRIES_FOR_S
    while True:
        try:
            fields = job_fields(job_id)
            if not fields or fields[0]["JobState"].split(",")[0] != "RUNNING":
                return False
            ask("scontrol", "requeue", job_id)
            break
        except ClusterError:  # a controller that is being restarted must not end the sweep
            if time.monotonic() > until:
                raise
            time.sleep(5)
    if delay_s:
        with contextlib.suppress(ClusterError):  # it starts sooner then
            ask("scontrol", "update", f"JobId={job_id}", f"StartTime=now+{delay_s}")
    return True


def is_live(job_id: str) -> bool:
    """Whether a job waits or runs, of an array any task. A Slurm that does not answer says nothing:
    then it is."""
    try:
        fields = job_fields(job_id)
    except ClusterError:
        return True
    states = (
        STATES.get(task.get("JobState", "").partition(",")[0], JobState.UNKNOWN) for task in fields
    )
    return any(not state.is_terminal for state in states)
