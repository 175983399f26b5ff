"""The files of a job, the command that it runs, and what the command's exit code says: the same for
every backend.

A job's folder is readable by its owner alone, and so is every file in it.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cluster.backend import JobSpec, JobState
from cluster.contract import DONE, INTERRUPTED, SOME_FAILED, STOPPED

_TAIL_BYTES = 4096


def sweep_file(folder: Path) -> Path:
    """Where the sweep of the job in `folder` is."""
    return folder / "sweep.json"


def run_words(job: JobSpec) -> list[str]:
    """What comes after `sparsweep` in the command that the job runs."""
    return ["run", str(sweep_file(job.folder)), *run_options(job)]


def run_options(job: JobSpec) -> list[str]:
    """Options of the command: refuse another plan than the one submitted; run again what failed
    or lacks scores."""
    expected = [] if job.plan_digest is None else ["--expect-plan", job.plan_digest]
    again = {"--retry-failed": job.retry_failed, "--rerun-lacking": job.rerun_lacking}
    return [*expected, *(option for option, is_wanted in again.items() if is_wanted)]


def write_sweep_file(job: JobSpec) -> Path:
    """Write the job's sweep, whole or not at all, to where its command reads it."""
    return write_whole(sweep_file(job.folder), job.sweep_json)


def write_whole(path: Path, text: str) -> Path:
    """Write a file for its owner alone; a reader sees the old text or the new one meanwhile.

    Raises:
        OSError: it cannot be written, with the file's name.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        beside.touch(mode=0o600, exist_ok=False)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)
    return path


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text that comes in parts, without line ends."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def read_lines(log: Path, is_over: Callable[[], bool] | None, poll_s: float = 2.0) -> Iterator[str]:
    """The lines of a log, without line ends; none while it does not exist.

    Args:
        log: the file, which grows at its end.
        is_over: whether nothing will be added any more; lines to come are waited for until then.
            None: not waited for.
        poll_s: how long to wait before looking again, in seconds.
    """
    return lines_of(_growth(log, is_over, poll_s))


def _growth(log: Path, is_over: Callable[[], bool] | None, poll_s: float) -> Iterator[bytes]:
    num_read = 0
    while True:
        # Asked before reading, so that nothing comes after the last look.
        is_last = is_over is None or is_over()
        text = _read_from(log, num_read)
        num_read += len(text)
        yield text
        if is_last:
            return
        time.sleep(poll_s)


def _read_from(file: Path, start: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            return opened.read()
    except FileNotFoundError:
        return b""


def last_line(log: Path) -> str:
    """The last line that says something; empty if there is none."""
    size = log.stat().st_size if log.exists() else 0
    lines = _read_from(log, max(0, size - _TAIL_BYTES)).decode(errors="replace").split("\n")
    return last_said(lines)


def last_said(lines: Sequence[str]) -> str:
    """The last of these lines that says something; empty if there is none."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def exit_state(code: int, last_line: str) -> tuple[JobState, str]:
    """What the exit code of `sparsweep run` says of the job, and a person's words for it.

    Args:
        code: as Python gives it (a signal's number is negative) or as a shell does (128 and the
            signal's number).
        last_line: of the output, which says why when nothing else does.
    """
    number = 128 - code if code < 0 else code
    if number == DONE:
        return JobState.COMPLETED, ""
    if number == SOME_FAILED:
        return JobState.COMPLETED, "some trials failed"
    if number in (STOPPED, INTERRUPTED):
        return JobState.CANCELLED, "stopped with trials left"
    if number in (128 + signal.SIGTERM, 128 + signal.SIGUSR2):
        return JobState.CANCELLED, "stopped before trials began"
    if number == 128 + signal.SIGKILL:
        return JobState.FAILED, "killed by SIGKILL, as happens where memory runs out"
    return JobState.FAILED, last_line or f"exit code {code}, and no output"
