"""Temporary folders that only the user can enter, and that do not outlive their process for long:
those of a process that was killed are removed by the next one that makes such a folder.

Each holds a locked file. The lock ends with the process, whatever ended it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIXES = ("ray-", "sparsweep-tune-")
"""Beginnings of the names of all such folders."""

EMPTY_WITHIN_S = 2.0
"""How long others may go on writing into a folder while it is removed."""

_LOCK = ".owner"
_locks: dict[Path, int] = {}


def make_own_folder(prefix: str, root: str | Path | None = None) -> Path:
    """Make a new folder, after removing those in the same place whose process is gone.

    Args:
        prefix: one of `PREFIXES`.
        root: where; None: the system's place.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(root or tempfile.gettempdir())
    remove_leftovers(place)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    lock = os.open(folder / f"{_LOCK}.new", os.O_CREAT | os.O_WRONLY, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only now has it the name by which others know it, so that nobody finds it unlocked.
    (folder / f"{_LOCK}.new").rename(folder / _LOCK)
    _locks[folder] = lock
    return folder


def remove_own_folder(folder: Path) -> None:
    """Remove a folder that this process made, with all that is in it."""
    _remove(folder)
    if (lock := _locks.pop(folder, None)) is not None:
        os.close(lock)


def remove_leftovers(root: Path | None = None) -> None:
    """Remove the user's folders in a place whose process is gone.

    Args:
        root: the place; None: where Ray's folders are, the system's place or, where that has too
            long a path, /tmp.
    """
    system, short = Path(tempfile.gettempdir()), Path("/tmp")  # noqa: S108 (as private_ray has it)
    for place in {system, short} if root is None else {root}:
        for prefix in PREFIXES:
            for folder in place.glob(f"{prefix}*"):
                if _is_left_over(folder):
                    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: where it does not become empty, since processes of Ray that
    are about to end still write, it stays known as left over."""
    until = time.monotonic() + EMPTY_WITHIN_S
    while True:
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                if path.name != _LOCK:
                    _remove_path(path)
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()
        if not folder.exists():
            return
        with contextlib.suppress(OSError):
            (folder / _LOCK).touch(mode=0o600)
        if time.monotonic() > until:
            return
        time.sleep(0.1)


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_left_over(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return False
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:  # not one of ours, or just being removed
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process lives, or the file system has no locks
        return False
    finally:
        os.close(lock)
    return True
