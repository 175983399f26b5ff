"""Files that are being written, and what writers that were killed left of them.

A file is written beside the one that it replaces, under a name that says who writes: on which
machine (and in which container), and as which process. So it is known at once of a writer on this
machine that it is dead; of others it is assumed after an hour.
"""

import contextlib
import glob
import os
import re
import secrets
import socket
import time
from functools import cache
from hashlib import sha256
from pathlib import Path

LEFTOVERS = ".*.tmp"
"""Pattern of the names of such files."""

LEFTOVER_AGE_S = 3600
"""A file that is younger may still be being written, where its writer is not known to be dead."""

_NAME = re.compile(r"\..+\.(?:(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-)?[0-9a-f]{8}\.tmp")


def temporary_beside(path: Path) -> Path:
    """A name for the new content of a file; nobody else uses it."""
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_leftovers(folder: Path, of: str | None = None) -> int:
    """Remove what dead writers left in a folder.

    Args:
        folder: need not be there.
        of: name of the file that they wrote; None: any.

    Returns:
        How many there were. What one may not remove stays.
    """
    num_removed = 0
    pattern = LEFTOVERS if of is None else f".{glob.escape(of)}{LEFTOVERS}"
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if _is_left(path):
                path.unlink()
                num_removed += 1
    return num_removed


def _is_left(path: Path) -> bool:
    name = _NAME.fullmatch(path.name)
    if name is None:
        return False
    if name["machine"] == _machine():
        try:
            os.kill(int(name["process"]), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # it lives, and is another user's
            pass
    return time.time() - path.stat().st_mtime > LEFTOVER_AGE_S


@cache
def _machine() -> str:
    """8 hexadecimal digits for this machine since it was started, and this container on it: where
    process ids mean the same."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # no Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115, it is no file
    return sha256("\n".join(parts).encode()).hexdigest()[:8]
