"""What a job's folder keeps of the driver's log, since on Kubernetes it goes with its pod: when the
job is cancelled, and when KubeRay tries again."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from cluster.job_files import write_whole

LOG, WORDS = "driver.log", "last_words.json"


def keeping(folder: Path, lines: Iterable[str]) -> Iterator[str]:
    """The lines, which the folder keeps as they pass; a folder that cannot be written keeps none.

    Args:
        folder: of the job.
        lines: the log from its beginning.
    """
    with contextlib.ExitStack() as stack:
        file = None
        for number, line in enumerate(lines):
            with contextlib.suppress(OSError):
                if number == 0:  # what was kept before lasts until there is something new
                    (folder / LOG).touch(mode=0o600)
                    file = stack.enter_context((folder / LOG).open("w", encoding="utf-8"))
                if file is not None:
                    print(line, file=file, flush=True)
            yield line


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
