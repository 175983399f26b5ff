"""Processes of this machine, any of which may end while it is looked at."""

import contextlib

import psutil


def descendants(root_pid: int) -> list[psutil.Process]:
    """The processes below one, parents first; none when it has ended."""
    try:
        below: list[psutil.Process] = psutil.Process(root_pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return below


def command_line(process: psutil.Process) -> list[str]:
    """Words of a process; none when it has ended, or where it may not be looked at."""
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


def kill(process: psutil.Process) -> None:
    """End a process at once, if it is there and ours; never a later one of the same number."""
    with contextlib.suppress(psutil.Error):
        process.kill()
