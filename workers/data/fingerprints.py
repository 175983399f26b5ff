"""Fingerprints of local files, and the folder where things that can be made again are kept."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from platformdirs.unix import Unix

from workers.storage import Location
from workers.trial import digest_bytes


def cache_folder() -> Path:
    """Where tokenised data and fingerprints are kept: $SPARSWEEP_CACHE, else `sparsweep` in the
    user's cache."""
    if folder := os.environ.get("SPARSWEEP_CACHE"):
        return Path(folder)
    return Unix("sparsweep").user_cache_path  # by the XDG rules, on macOS too


def fingerprint_files(files: Iterable[tuple[str, Path]]) -> str:
    """16 hexadecimal digits that stand for the contents of files under given labels, wherever they
    lie.

    A file's hash is remembered by size and modification time, so that planning does not read
    gigabytes again.

    Args:
        files: a label, which is part of the fingerprint, and the file that has it; in any order.

    Raises:
        OSError: a file cannot be read.
    """
    memory = _open_memory(cache_folder() / "fingerprints.json")
    parts = sorted((label, memory.sha256(path)) for label, path in files)
    memory.save()
    return digest_bytes([json.dumps(parts).encode()])


class _Memory:
    """SHA-256 of files seen before. Losing it, or another process replacing it, costs time only."""

    def __init__(self, path: Path):
        self.path = path
        self.is_changed = False
        self.known = self._read()

    def sha256(self, path: Path) -> str:
        path = path.resolve()
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        entry = self.known.get(str(path))
        if not isinstance(entry, list) or entry[:3] != state:
            with path.open("rb") as file:
                entry = [*state, hashlib.file_digest(file, "sha256").hexdigest()]
            self.known[str(path)] = entry
            self.is_changed = True
        return str(entry[3])

    def save(self) -> None:
        """Write what is new, beside what other processes have written meanwhile."""
        if self.is_changed:
            self.known = self._read() | self.known
            with contextlib.suppress(OSError):  # a cache that cannot be written is only slower
                Location.parse(str(self.path)).write_atomic(json.dumps(self.known).encode())
            self.is_changed = False

    def _read(self) -> dict[str, list]:
        try:
            known = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


@cache
def _open_memory(path: Path) -> _Memory:
    """Read once a process: a worker asks for the same files before each of its trials."""
    return _Memory(path)
