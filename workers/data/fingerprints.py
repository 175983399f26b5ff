"""Fingerprints of local files, whose hashes are remembered."""

import hashlib
import json
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from workers.data.kept import cache_folder, read_entry, refuse_entry, write_entry
from workers.trial import digest_bytes
from workers.visits import visiting

MEMORY = "fingerprints.json"

UNSETTLED_S = 2.0
"""A file that was changed so short a time ago may change once more without another time stamp."""


def fingerprint_files(files: Iterable[tuple[str, Path]]) -> str:
    """16 hexadecimal digits that stand for the contents of files under given labels, wherever they
    lie.

    A file's hash is remembered by size, inode, and the times of its last modification and change,
    so that planning does not read gigabytes again. The last of them nobody can set back.

    Args:
        files: a label, which is part of the fingerprint, and the file that has it; in any order.

    Raises:
        OSError: a file cannot be read.
    """
    memory = _open_memory(_place())
    parts = sorted((label, memory.sha256(path)) for label, path in files)
    memory.save()
    return digest_bytes([json.dumps(parts).encode()])


class _Memory:
    """SHA-256 of files seen before. Losing it, or another process replacing it, costs time only."""

    def __init__(self) -> None:
        self.is_changed = False
        self.known = self._read()

    def sha256(self, path: Path) -> str:
        with visiting(path):
            return self._sha256(path)

    def _sha256(self, path: Path) -> str:
        path = path.resolve()
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        entry = self.known.get(str(path))
        if isinstance(entry, list) and entry[:-1] == state:
            return str(entry[-1])
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - stat.st_ctime > UNSETTLED_S:
            self.known[str(path)] = [*state, sha256]
            self.is_changed = True
        return sha256

    def save(self) -> None:
        """Write what is new, beside what other processes have written meanwhile."""
        if self.is_changed:
            self.known = self._read() | self.known
            content = {"digest": _digest(self.known), "files": self.known}
            write_entry(MEMORY, json.dumps(content).encode())
            self.is_changed = False

    def _read(self) -> dict[str, list]:
        data = read_entry(MEMORY)
        if data is None:
            return {}
        try:
            content = json.loads(data)
            known: Any = content["files"]
            if _digest(known) != content["digest"] or not isinstance(known, dict):
                raise ValueError("its digest is another one")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            refuse_entry(MEMORY, error)
            return {}
        return known


def _digest(known: Any) -> str:
    return digest_bytes([json.dumps(known, sort_keys=True).encode()])


def _place() -> str:
    """Where the memory lies; empty where no place is known for it."""
    try:
        return str(cache_folder())
    except OSError:
        return ""


@cache
def _open_memory(place: str) -> _Memory:
    """Read once a process and place: a worker asks for the same files before each of its trials."""
    return _Memory()
