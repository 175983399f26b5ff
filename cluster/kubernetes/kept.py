"""What a job's folder keeps of the driver's log, since on Kubernetes it goes with its pod: when the
job is cancelled, and when KubeRay tries again."""

import contextlib
import json
from pathlib import Path
from typing import TextIO

from cluster.job_files import write_whole

LOG, WORDS = "driver.log", "last_words.json"


class LogKeeper:
    """Keeps a log in a job's folder, line by line, from its beginning; what was kept before lasts
    until there is a first line. A folder that cannot be written keeps none.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path):
        self._path = folder / LOG
        self._file: TextIO | None = None

    def add(self, line: str) -> None:
        """Keep a line."""
        with contextlib.suppress(OSError):
            if self._file is None:
                self._path.touch(mode=0o600)
                self._file = self._path.open("w", encoding="utf-8")
            print(line, file=self._file, flush=True)

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()


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
