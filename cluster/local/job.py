"""The process that a job on this machine is: it starts the command, passes signals on and keeps the
exit code.

`cluster.local.backend` runs it as `python -m cluster.local.job [--mps] JOB_NAME FOLDER COMMAND...`;
it prints the job's id and goes on in the background, in a session of its own, where the end of a
terminal does not reach it.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from cluster import user_folders
from cluster.job_files import write_whole
from cluster.node.mps import Mps, NoMpsError

STOP, KILL = signal.SIGUSR2, signal.SIGQUIT
"""What the process is told: let trials save their checkpoints first, or end at once."""

LEFT_OUT = ("RAY_ADDRESS",)
"""Variables that the command does not get: it starts a Ray of its own."""

MPS = "--mps"
"""Option of this module."""

CLEANING_S = 10.0


@dataclass(frozen=True, kw_only=True)
class LocalRecord:
    """What this user's state folder keeps of a job.

    Attributes:
        job_name: of the sweep.
        folder: where the job's files are.
    """

    job_name: str
    folder: str


# The name of a job: <host>-<pid>-<start>. A pid is given to other processes later, but never with
# the same start.


def this_host() -> str:
    """This machine's name as it stands in ids of jobs."""
    return re.sub(r"[^A-Za-z0-9.-]", ".", socket.gethostname()) or "localhost"


def job_id_of(pid: int) -> str | None:
    """The id of the job that a running process here is; None: there is no such process."""
    start = _process_start(pid)
    return None if start is None else f"{this_host()}-{pid}-{start}"


def _process_start(pid: int) -> str | None:
    """When a process began, in words that stay the same for as long as it runs; None: it has ended.

    Linux counts from the start of the machine. psutil makes a time of day of that, which would move
    whenever the clock is set, and with it the names of jobs that run.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        if sys.platform != "linux":
            return f"{process.create_time() * 1e6:.0f}"
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (psutil.Error, OSError):  # ended, or hidden, so none of ours
        return None
    # What is before the last bracket is the program's name, whatever is in it.
    return stat.rpartition(")")[2].split()[19]


# Files


def state_folder() -> Path:
    """Where records of this user's jobs are."""
    return user_folders.state_folder() / "local"


def record_file(job_id: str) -> Path:
    """The record of a job."""
    return state_folder() / f"{job_id}.json"


def read_record(job_id: str) -> LocalRecord | None:
    """What is known of a job; None: nothing is, or nothing that can be read."""
    try:
        fields = json.loads(record_file(job_id).read_text(encoding="utf-8"))
        return LocalRecord(job_name=str(fields["job_name"]), folder=str(fields["folder"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None


def log_file(folder: Path, job_id: str) -> Path:
    """What the command printed."""
    return folder / f"{job_id}.log"


def exit_file(folder: Path, job_id: str) -> Path:
    """The command's exit code, there once the job is over."""
    return folder / f"{job_id}.exit"


# The process


def main() -> None:
    """Go to the background and run the command."""
    with_mps = sys.argv[1] == MPS
    job_name, folder, *command = sys.argv[1 + with_mps :]
    if os.fork() > 0:
        # Whoever started us need not wait for the job; it reads until we let go of its pipes.
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervise(job_name, Path(folder), command, with_mps)


def supervise(job_name: str, folder: Path, command: Sequence[str], with_mps: bool = False) -> None:
    """Run a command to its end in this process's session, and leave nothing of it behind.

    Args:
        job_name: of the sweep.
        folder: of the job's files.
        command: what runs.
        with_mps: whether its processes compute on GPUs at the same time, see `cluster.node.mps`.
    """
    job_id = job_id_of(os.getpid())
    assert job_id is not None
    write_whole(
        record_file(job_id), json.dumps(asdict(LocalRecord(job_name=job_name, folder=str(folder))))
    )
    # Ray's folder survives a driver that is killed, so it is put where it will be removed.
    with tempfile.TemporaryDirectory(prefix="sw-", ignore_cleanup_errors=True) as temp:
        log_file(folder, job_id).touch(mode=0o600)
        with log_file(folder, job_id).open("ab") as log:
            mps = _start_mps(Path(temp) / "mps", log) if with_mps else None
            try:
                process = _start(command, log.fileno(), temp, mps)
            except OSError:
                record_file(job_id).unlink()
                raise  # `submit` reads why
            print(job_id, flush=True)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        code = process.wait()
        _end_session()
        if mps:
            mps.close()
    write_whole(exit_file(folder, job_id), f"{code}\n")


def _start_mps(folder: Path, log: BinaryIO) -> Mps | None:
    try:
        return Mps(folder, os.environ)
    except NoMpsError as error:
        log.write(f"{error}\n".encode())
        log.flush()
        return None


def _start(command: Sequence[str], log: int, temp: str, mps: Mps | None) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {"PYTHONUNBUFFERED": "1", "TMPDIR": temp} | (mps.environment if mps else {})
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
    )
    for number in (signal.SIGINT, signal.SIGTERM, STOP):
        signal.signal(number, lambda *_: process.send_signal(STOP))
    signal.signal(KILL, lambda *_: process.kill())
    return process


def _end_session() -> None:
    """Kill what outlives the command: some of Ray's processes notice its death after seconds."""
    until = time.monotonic() + CLEANING_S
    while (left := list(_others_of_session())) and time.monotonic() < until:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _others_of_session() -> Iterator[int]:
    for pid in psutil.pids():
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (
                pid != os.getpid()
                and os.getsid(pid) == os.getpid()
                and _process_start(pid) is not None
            ):
                yield pid


if __name__ == "__main__":
    main()
