"""Processes of this machine, as the system lists them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path


def all_pids() -> list[int]:
    """Ids of all processes that this user can see."""
    if Path("/proc/self/stat").exists():
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    shown = subprocess.run(["ps", "-axo", "pid="], capture_output=True, text=True)  # macOS
    return [int(word) for word in shown.stdout.split()]


def descendants(root_pid: int) -> Iterator[int]:
    """Ids of the processes below one, parents first. Linux only, like all that has Ray on several
    machines."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has just ended
            continue
        children.setdefault(parent, []).append(pid)
    waiting = children.get(root_pid, [])
    while waiting:
        yield from waiting
        waiting = [child for pid in waiting for child in children.get(pid, [])]


def command_line(pid: int) -> bytes:
    """Words of a process, a null character after each; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill(pid: int) -> None:
    """End a process at once, if it is there and ours."""
    with contextlib.suppress(
        ProcessLookupError, PermissionError
    ):  # it has ended, and its number may be another's
        os.kill(pid, signal.SIGKILL)
