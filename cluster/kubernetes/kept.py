"""What a job's folder keeps of the driver's log, since on Kubernetes it goes with its pod: when the
job is cancelled, and when KubeRay tries again."""

import contextlib
import json
import secrets
from pathlib import Path
from typing import TextIO

from cluster.job_files import write_whole

LOG, WORDS = "driver.log", "last_words.json"


class LogKeeper:
    """Keeps a log in a job's folder, line by line, from its beginning. A folder that cannot be
    written keeps none.

    What was kept before lasts until as much of the log is read again, since reading may break off;
    a log that begins otherwise, as that of a new driver does, replaces it at once.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path):
        self._path = folder / LOG
        self._beside = self._path.with_name(f".{LOG}.{secrets.token_hex(8)}")
        self._file: TextIO | None = None
        self._num_bytes_before = 0

    def add(self, line: str) -> None:
        """Keep a line."""
        with contextlib.suppress(OSError):
            if self._file is None:
                self._beside.touch(mode=0o600, exist_ok=False)
                self._file = self._beside.open("w", encoding="utf-8")
                self._num_bytes_before = self._size_before(line)
            print(line, file=self._file, flush=True)
            if self._beside.exists() and self._beside.stat().st_size >= self._num_bytes_before:
                self._beside.replace(self._path)  # and goes on to be written

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                self._beside.unlink(missing_ok=True)

    def _size_before(self, first_line: str) -> int:
        """Bytes that are kept of a log that begins so."""
        try:
            with self._path.open("rb") as kept:
                is_same = kept.readline() == f"{first_line}\n".encode()
                return self._path.stat().st_size if is_same else 0
        except OSError:
            return 0


def kept_lines(folder: Path) -> list[str]:
    """The log as far as it was kept; nothing where it was not."""
    try:
        return (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def keep_words(folder: Path, pod: str, words: str) -> None:
    """Keep what a driver said last."""
    said = {pod: words}
    if words and said.items() - _words(folder).items():
        with contextlib.suppress(OSError):
            write_whole(folder / WORDS, json.dumps(_words(folder) | said))


def words_before(folder: Path, pod: str | None) -> str:
    """The last words of the driver before the one that `pod` follows; empty where nobody heard
    them."""
    return next((said for one, said in reversed(_words(folder).items()) if one != pod), "")


def _words(folder: Path) -> dict[str, str]:
    """Pod -> the last words that were heard from it, the newest pod last."""
    try:
        return dict(json.loads((folder / WORDS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
