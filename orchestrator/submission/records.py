"""One submission: it is sent, kept in its folder, and asked how it stands.

The folder holds the record, `job.json`, and how the job ended, `end.json`, once that is known. A
record says which address is asked with the user's token, and what a job runs that is sent again.
So it counts only where the user owns it and nobody else may write to it: the folder of results may
be shared.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cluster import open_backend
from cluster.backend import Backend, JobSpec, JobState, JobStatus
from cluster.errors import ClusterError
from cluster.job_files import write_whole
from cluster.profile_fields import ClusterProfile
from orchestrator.errors import SweepError
from orchestrator.spec.profiles import make_profile
from workers.storage import NotOwnError, read_own, refuse_others
from workers.visits import visiting

RECORD, END = "job.json", "end.json"

log = logging.getLogger(__name__)


class NotARecordError(Exception):
    """A file that is left out; says why, and what to do about it."""


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

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

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


_RECORDS = TypeAdapter(JobRecord)
"""Reads a record; made once, since that takes as long as reading hundreds."""


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
    try:
        _write_record(job.folder, record)
    except OSError as error:  # a disk that is full must not hide that the job was sent
        log.warning(
            "job %s was sent, and its record cannot be completed (%s: %s); make room: until then "
            "it is found by its name, %s",
            record.job_id,
            error.filename,
            error.strerror,
            record.job_name,
        )
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


def read_records(
    roots: Iterable[Path], job_name: str
) -> tuple[list[tuple[Path, JobRecord]], list[str]]:
    """Submissions of that name below these folders.

    Returns:
        Folder and record of each, the newest first; and for each of the folders, a line on what is
        left out there: what belongs to others or can be written by them, and what cannot be read.
    """
    submissions: list[tuple[Path, JobRecord]] = []
    left_out: list[str] = []
    for root in roots:
        faults = []
        try:
            with visiting(root):
                folders = sorted(path for path in root.iterdir() if not path.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            left_out.append(f"left out: {root}: cannot be read ({error.strerror})")
            continue
        for folder in folders:
            try:
                with visiting(folder):
                    record = _read_record(folder)
            except NotARecordError as error:
                faults.append(str(error))
                continue
            if record is not None and record.job_name == job_name:
                submissions.append((folder, record))
        if faults:
            more = f" (and {len(faults) - 1} more there)" if len(faults) > 1 else ""
            left_out.append(f"left out: {faults[0]}{more}")
    submissions.sort(key=lambda submission: submission[1].submitted_at, reverse=True)
    return submissions, left_out


def _write_record(folder: Path, record: JobRecord) -> None:
    write_whole(folder / RECORD, json.dumps(asdict(record), indent=1))


def _read_record(folder: Path) -> JobRecord | None:
    """The record in a folder; None where there is none.

    Raises:
        NotARecordError: it is another's, can be written by others, or is no record.
    """
    file = folder / RECORD
    try:
        text = _read_own(folder)
    except (FileNotFoundError, NotADirectoryError):  # as a lock is, and a job just being sent
        return None
    except NotOwnError as error:
        raise NotARecordError(str(error)) from error
    except OSError as error:  # such as a colleague's folder, or a link
        raise NotARecordError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        record = _RECORDS.validate_json(text)
        make_profile(record.profile_name, record.profile)
    except ValidationError as error:
        fault = error.errors()[0]
        reason = ": ".join([*map(str, fault["loc"][:1]), fault["msg"]])
        raise NotARecordError(
            f"{file}: not a record of a job ({reason}); remove {folder} if nothing runs there"
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise NotARecordError(
            f"{file}: {record.profile_name}, as it was when the sweep was submitted at "
            f"{record.submitted_at}: {reason}; submit the sweep anew"
        ) from error
    return record


def _read_own(folder: Path) -> bytes:
    """The text of a record that is the user's alone.

    Folder and file are looked at as they were opened, so that nobody can exchange them in between.

    Raises:
        OSError: there is none, it cannot be read, or it is not the user's alone.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        refuse_others(folder, opened, {os.geteuid()})
        return read_own(folder / RECORD, {os.geteuid()}, folder=opened)
    finally:
        os.close(opened)


def _write_end(folder: Path, status: JobStatus) -> None:
    """Keep how a job ended, since batch systems forget; a disk that is full or read-only is no
    reason to fail."""
    with contextlib.suppress(OSError):
        write_whole(folder / END, json.dumps(asdict(status)))


def _read_end(folder: Path) -> JobStatus | None:
    """How the job of a submission ended; None where it has not, or where that cannot be read and
    the batch system is asked again."""
    try:
        status: JobStatus = TypeAdapter(JobStatus).validate_json((folder / END).read_bytes())
    except (OSError, ValueError):
        return None
    return status
