"""One submission: it is sent, kept in its folder, and asked how it stands.

The folder holds the record, `job.json`, and how the job ended, `end.json`, once that is known.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster import open_backend
from cluster.backend import Backend, JobSpec, JobState, JobStatus
from cluster.errors import ClusterError
from cluster.job_files import write_whole
from cluster.profile_fields import ClusterProfile
from orchestrator.errors import SweepError
from orchestrator.spec.profiles import make_profile

RECORD, END = "job.json", "end.json"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What is known of a submission from its beginning.

    Attributes:
        job_id: what the backend calls it; None while it is being sent, and for ever where that
            process died.
        job_name: see `JobSpec`.
        profile_name: what `--on` said.
        profile: its fields, without defaults.
        sweep_digest: hash of the sweep as it was sent.
        plan_digest: hash of its trial ids; None if it was not planned where it was submitted.
        num_left: trials that were left then; None likewise.
        submitted_at: UTC, ISO 8601.
        user: who submitted.
        host: where.
    """

    job_id: str | None
    job_name: str
    profile_name: str
    profile: dict[str, Any]
    sweep_digest: str
    plan_digest: str | None
    num_left: int | None
    submitted_at: str
    user: str
    host: str

    def cluster(self) -> ClusterProfile:
        """The profile as it was then.

        Raises:
            SweepError: this version of sparsweep does not know it.
        """
        try:
            return make_profile(self.profile_name, self.profile)
        except ValueError as error:
            raise SweepError(
                f"{self.profile_name}, as it was when the sweep was submitted at "
                f"{self.submitted_at}: {error}; submit the sweep anew"
            ) from error

    def backend(self) -> Backend:
        """The batch system that has the job."""
        return open_backend(self.cluster())


@dataclass(frozen=True)
class Submission:
    """A record, its folder, and what the backend says of it now."""

    folder: Path
    record: JobRecord
    status: JobStatus


def send(job: JobSpec, record: JobRecord, backend: Backend) -> JobRecord:
    """Submit a job and keep its record; returns the record with the job's id."""
    job.folder.mkdir(mode=0o700)
    try:
        # The record comes first: should we die while sending, the job is found by its name.
        _write_record(job.folder, record)
        record = replace(record, job_id=backend.submit(job))
    except BaseException:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    _write_record(job.folder, record)
    return record


def ask(folder: Path, record: JobRecord) -> Submission:
    """How a submission stands; a cluster that does not answer must not keep one from the others."""
    status = _read_end(folder)
    if status is not None:
        return Submission(folder, record, status)
    try:
        status = _ask_backend(folder, record)
    except ClusterError as error:
        job_id = record.job_id or "?"
        status = JobStatus(
            job_id=job_id, state=JobState.UNKNOWN, native="no answer", detail=str(error)
        )
    if status.state.is_terminal and status.state is not JobState.GONE:
        _write_end(folder, status)
    return Submission(folder, record, status)


def _ask_backend(folder: Path, record: JobRecord) -> JobStatus:
    backend = record.backend()
    job_id = record.job_id
    if job_id is None:  # whoever submitted died while doing so
        job_id = next(iter(backend.live_jobs(record.job_name)), None)
    if job_id is None:
        return JobStatus(job_id="?", state=JobState.GONE, native="was never sent")
    return backend.status(job_id, folder)


def read_records(roots: Iterable[Path], job_name: str) -> list[tuple[Path, JobRecord]]:
    """Folder and record of every submission of that name below these folders, the newest first.

    Raises:
        SweepError: one of the files is no record.
    """
    files = [file for root in roots for file in root.glob(f"*/{RECORD}")]
    submissions = [(file.parent, _read_record(file)) for file in files]
    ours = [(folder, record) for folder, record in submissions if record.job_name == job_name]
    return sorted(ours, key=lambda submission: submission[1].submitted_at, reverse=True)


def _write_record(folder: Path, record: JobRecord) -> None:
    write_whole(folder / RECORD, json.dumps(asdict(record), indent=1))


def _read_record(file: Path) -> JobRecord:
    try:
        return JobRecord(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise SweepError(f"{file}: not a record of a job ({error}); remove it to go on") from error


def _write_end(folder: Path, status: JobStatus) -> None:
    """Keep how a job ended, since batch systems forget; a disk that is full or read-only is no
    reason to fail."""
    with contextlib.suppress(OSError):
        write_whole(folder / END, json.dumps(asdict(status)))


def _read_end(folder: Path) -> JobStatus | None:
    """How the job of a submission ended; None where it has not, or where that cannot be read and
    the batch system is asked again."""
    try:
        fields = json.loads((folder / END).read_text())
        return JobStatus(**fields | {"state": JobState(fields["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
