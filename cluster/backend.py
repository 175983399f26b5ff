"""What a batch system is asked to run, what it says of it, and what every backend can do.

A backend obtains a Ray cluster and runs one command on it, the same `sparsweep run` as on a laptop.
It knows nothing of trials or results: `JobSpec` is all that it is told.
"""

import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cluster.contract import Counts


class JobState(StrEnum):
    """Where a job is. Each backend has one table from its system's own states to these."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"
    """The system has forgotten it, so it is over; how it ended is not known."""
    UNKNOWN = "unknown"
    """A state that the backend's table does not have; taken to be alive."""

    @property
    def is_terminal(self) -> bool:
        """Whether it will not change any more, unless the sweep is submitted again."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.GONE)


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One submission of a sweep.

    Attributes:
        name: of the sweep: 1 to 47 of a-z, 0-9 and -.
        sweep_id: 8 hex digits of the sweep's name and results; names the job where a name must be
            unique.
        folder: where the job's files go, made for this submission and readable by its owner alone.
        results: the results location.
        sweep_json: the whole sweep, as `sparsweep run` reads it.
        plan_digest: hash of the trial ids as planned here, which the job compares with its own;
            None: not planned here.
        cpus_per_trial: cores of a trial.
        gpus_per_trial: GPUs of a trial; None: one.
        retry_failed: whether trials that failed in an earlier run are tried again.
        rerun_lacking: whether completed trials that lack scores are run again.
    """

    name: str
    sweep_id: str
    folder: Path
    results: str
    sweep_json: str
    plan_digest: str | None
    cpus_per_trial: int
    gpus_per_trial: float | None
    retry_failed: bool = False
    rerun_lacking: bool = False

    @property
    def job_name(self) -> str:
        """How the job is called wherever it is seen."""
        return job_name(self.name, self.sweep_id)


def user_name() -> str:
    """The user of this process; the number where the system has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def job_name(sweep: str, sweep_id: str) -> str:
    """Name of the jobs of a sweep: at most 47 of a-z, 0-9 and -, beginning with a letter."""
    return f"sw-{sweep[:35].rstrip('-')}-{sweep_id}"


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """What a batch system says of a job.

    Attributes:
        job_id: the system's name for it.
        state: in our words.
        native: in the system's own, for example `PREEMPTED`.
        detail: what else it says, such as why a job waits; empty if nothing.
        progress: how far the driver said it was; None where that is not known, or is seen in the
            results.
    """

    job_id: str
    state: JobState
    native: str
    detail: str = ""
    progress: Counts | None = None


def is_on_log(line: str, job_id: str) -> bool:
    """Whether a line of a log is none of the driver's and says why there is none."""
    return line.startswith(f"{job_id}: ")


class Backend(Protocol):
    """A batch system, as a profile describes it. All methods raise `ClusterError` with what a
    person can do."""

    def check(self) -> list[str]:
        """What stands in the way of a submission, one line each; empty when all is well."""

    def render(self, job: JobSpec) -> str:
        """Exactly what would be sent; pure, and quick."""

    def submit(self, job: JobSpec) -> str:
        """Send what `render` gives, and return the job's id; what fails leaves no job behind."""

    def live_jobs(self, job_name: str) -> list[str]:
        """Ids of this user's jobs of that name that are not over."""

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """How a job stands; `folder` holds its files. Jobs that are over stay known for as long as
        the system keeps them, then are `GONE`."""

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """The driver's lines so far, without line ends; with `follow` also those to come, until the
        job is over. Where there are none, a line may say why: see `is_on_log`."""

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """Stop a job: running trials save their checkpoints first, unless `now`.

        Raises:
            ClusterError: it is not a job of that name of this user, or it may not be stopped.
        """
