"""Sweeps in the background of this machine, with a Ray of their own.

The job is a process that `cluster.local.job` describes. Its output and exit code go to files in the
job's folder; a small record in the user's state folder says which job that was.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.backend import JobSpec, JobState, JobStatus
from cluster.contract import PROGRAM
from cluster.errors import ClusterError
from cluster.job_files import (
    exit_state,
    last_line,
    read_lines,
    run_words,
    sweep_file,
    write_sweep_file,
)
from cluster.local import job as local_job
from cluster.local.profile import LocalProfile

if TYPE_CHECKING:
    from filelock import FileLock

POLL_S = 0.2


class LocalBackend:
    """This machine as a batch system.

    Args:
        profile: whether processes share its GPUs by MPS.
        program: what the job runs, before the words of `sparsweep`; with -P, a file in the current
            folder that is called as a module of ours is not taken for it.
    """

    def __init__(
        self,
        profile: LocalProfile,
        program: Sequence[str] = (sys.executable, "-P", "-m", PROGRAM),
    ) -> None:
        self.profile, self.program = profile, program

    def check(self) -> list[str]:
        """Whether records of jobs can be kept."""
        try:
            _make_state_folder()
        except OSError as error:
            return [
                f"{error.filename}: {error.strerror}; set XDG_STATE_HOME to a folder that you may "
                "write to"
            ]
        return []

    def render(self, job: JobSpec) -> str:
        """The command as one would type it, and the sweep."""
        without = [word for name in local_job.LEFT_OUT for word in ("-u", name)]
        settings = [f"{name}={value}" for name, value in self.profile.environment().items()]
        mps = "# NVIDIA's MPS is started before it, and ended.\n" if self.profile.mps else ""
        return (
            "# On this machine, in the background, in a session of its own.\n"
            f"{mps}"
            f"# Output: {job.folder}/<job id>.log, exit code: {job.folder}/<job id>.exit\n"
            f"{shlex.join(['env', *without, *settings, *self._command(job)])}\n\n"
            f"# {sweep_file(job.folder)}\n"
            f"{job.sweep_json}\n"
        )

    def submit(self, job: JobSpec) -> str:
        """Start the job.

        Raises:
            ClusterError: the sweep runs already, or the process could not be started.
        """
        with _lock(job.job_name):
            if running := self.live_jobs(job.job_name):
                raise ClusterError(
                    f"{job.job_name}: runs already as {running[0]}; wait for its end, or cancel it"
                )
            _forget_removed()
            write_sweep_file(job)
            words = [local_job.MPS] if self.profile.mps else []
            words += [job.job_name, str(job.folder), *self._command(job)]
            started = subprocess.run(
                [sys.executable, "-P", "-m", "cluster.local.job", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=os.environ | self.profile.environment(),
            )
        job_id = started.stdout.strip()
        if not job_id:
            why = (started.stderr.strip().splitlines() or [f"exit code {started.returncode}"])[-1]
            raise ClusterError(f"{job.job_name}: could not be started: {why}")
        return job_id

    def live_jobs(self, job_name: str) -> list[str]:
        """Jobs of that name that run on this machine."""
        live = []
        for file in sorted(local_job.state_folder().glob(f"{local_job.this_host()}-*.json")):
            job_id, record = file.stem, _record(file.stem)
            if not _is_alive(job_id) or record.job_name != job_name:
                continue
            if not self.status(job_id, Path(record.folder)).state.is_terminal:
                live.append(job_id)
        return live

    def status(self, job_id: str, folder: Path) -> JobStatus:
        """How a job stands; of another machine's job only the files tell, where both see them."""
        host = _parse(job_id).host
        if over := _how_it_ended(job_id, folder):
            return over
        if host != local_job.this_host():
            detail = f"runs on {host}; ask there"
            return JobStatus(
                job_id=job_id, state=JobState.UNKNOWN, native="elsewhere", detail=detail
            )
        if local_job.read_record(job_id) is None:
            detail = "nothing is recorded of it"
            return JobStatus(job_id=job_id, state=JobState.GONE, native="unknown", detail=detail)
        if _is_alive(job_id):
            is_stopping = _stopping_file(folder, job_id).exists()
            state = JobState.STOPPING if is_stopping else JobState.RUNNING
            return JobStatus(job_id=job_id, state=state, native="alive")
        # It may have ended since the first look.
        return _how_it_ended(job_id, folder) or JobStatus(
            job_id=job_id,
            state=JobState.FAILED,
            native="dead",
            detail="it was killed, or the machine was started anew; submit again to go on",
        )

    def logs(self, job_id: str, folder: Path, follow: bool) -> Iterator[str]:
        """What the command printed.

        Raises:
            ClusterError: there is no log.
        """
        _parse(job_id)
        log = local_job.log_file(folder, job_id)
        if not log.exists():
            raise ClusterError(f"{log}: does not exist; is {folder} the folder of {job_id}?")

        def is_over() -> bool:
            return self.status(job_id, folder).state.is_terminal

        yield from read_lines(log, is_over if follow else None, POLL_S)

    def cancel(self, job_id: str, job_name: str, now: bool) -> None:
        """Stop a job, also if trials have not begun; of a job that is over nothing is left to stop.

        Raises:
            ClusterError: it runs on another machine, or is no job of that name.
        """
        host, pid = _parse(job_id)[:2]
        if host != local_job.this_host():
            raise ClusterError(f"{job_id}: runs on {host}; cancel it there")
        record = local_job.read_record(job_id)
        if record is None or record.job_name != job_name:
            raise ClusterError(
                f"{job_id}: is no job of {job_name} that was submitted here; see sparsweep status"
            )
        if not _is_alive(job_id):
            return
        _stopping_file(Path(record.folder), job_id).touch(mode=0o600)
        os.kill(pid, local_job.KILL if now else local_job.STOP)

    def _command(self, job: JobSpec) -> list[str]:
        return [*self.program, *run_words(job)]


class _JobId(NamedTuple):
    host: str
    pid: int
    start: str


def _parse(job_id: str) -> _JobId:
    match = re.fullmatch(r"([A-Za-z0-9.-]+)-([1-9][0-9]*)-([A-Za-z0-9]+)", job_id)
    if match is None:
        raise ClusterError(
            f"job id: {job_id!r} is none of this machine; they look like "
            f"{local_job.this_host()}-PID-START"
        )
    return _JobId(match[1], int(match[2]), match[3])


def _is_alive(job_id: str) -> bool:
    return local_job.job_id_of(_parse(job_id).pid) == job_id


def _how_it_ended(job_id: str, folder: Path) -> JobStatus | None:
    file = local_job.exit_file(folder, job_id)
    try:
        code = int(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # damaged; that it is there tells that the job is over
        detail = f"{file} is damaged, so its exit code is not known; submit again to go on"
        return JobStatus(job_id=job_id, state=JobState.FAILED, native="dead", detail=detail)
    state, detail = exit_state(code, last_line(local_job.log_file(folder, job_id)))
    if code < 0 and _stopping_file(folder, job_id).exists():
        state, detail = JobState.CANCELLED, "killed; trials go on from their last checkpoints"
    return JobStatus(job_id=job_id, state=state, native=f"exit code {code}", detail=detail)


def _stopping_file(folder: Path, job_id: str) -> Path:
    """There once the job was told to stop."""
    return folder / f"{job_id}.stopping"


def _record(job_id: str) -> local_job.LocalRecord:
    return local_job.read_record(job_id) or local_job.LocalRecord(job_name="", folder="")


def _make_state_folder() -> Path:
    folder = local_job.state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _forget_removed() -> None:
    """Drop the records of jobs whose folders were removed, which nobody can ask for any more."""
    for file in local_job.state_folder().glob(f"{local_job.this_host()}-*.json"):
        if not _is_alive(file.stem) and not Path(_record(file.stem).folder).is_dir():
            file.unlink(missing_ok=True)


def _lock(job_name: str) -> "FileLock":
    """Lock for one submission of a sweep at a time; the death of its holder releases it."""
    from filelock import FileLock

    return FileLock(_make_state_folder() / f".{job_name}.lock")


Backend = LocalBackend
"""What `cluster.BACKENDS` leads to."""
