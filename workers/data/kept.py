"""What is kept on this machine's disk since it can be made again: encoded splits, and hashes of
files.

An entry is used only if it is the user's own and nobody else can write to it, for it decides
numbers; and only if it is whole, which who keeps it checks. A cache that cannot be read or written
costs time, never a trial: it is said once a process, and what is needed is made again.
"""

import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from platformdirs.unix import Unix

from workers.leftovers import LEFTOVERS
from workers.storage import Location, NotOwnError, read_own
from workers.visits import visiting

PARTS = {
    "encoded splits": ("encoded/*.safetensors", f"encoded/{LEFTOVERS}"),
    "hashes of files": ("fingerprints.json", LEFTOVERS),
}
"""What the cache holds, and the patterns of the files that hold it, which `clear` removes."""

log = logging.getLogger(__name__)

_said: set[str] = set()


class Part(NamedTuple):
    """A part of the cache: what it holds, where, the number of its files and their size."""

    name: str
    place: Path
    num_files: int
    num_bytes: int


def cache_folder() -> Path:
    """Where tokenised data and fingerprints are kept: $SPARSWEEP_CACHE, else `sparsweep` in the
    user's cache.

    Raises:
        FileNotFoundError: no home folder is known, as for a user without an entry in passwd.
    """
    if given := os.environ.get("SPARSWEEP_CACHE"):
        return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111, ~nobody stays as it is
    try:
        folder = Unix("sparsweep").user_cache_path  # by the XDG rules, on macOS too
    except RuntimeError:
        folder = Path("~")
    if not folder.is_absolute():
        raise FileNotFoundError("no home folder is known; set HOME or SPARSWEEP_CACHE")
    return folder


def read_entry(name: str) -> bytes | None:
    """The content of an entry; None where there is none that may be believed.

    Args:
        name: of the file, from the cache's folder on.
    """
    try:
        return read_own(cache_folder() / name, {os.geteuid(), 0})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotOwnError as error:
        say_once(name, f"{error}; made again")
        return None
    except OSError as error:
        say_once("read", f"the cache cannot be read ({_reason(error)}); going on without")
        return None


def write_entry(name: str, data: bytes) -> None:
    """Keep an entry, if that is possible."""
    try:
        Location("", str(cache_folder() / name)).write_atomic(data, mode=0o600)
    except OSError as error:
        say_once(
            "write",
            f"the cache cannot be written ({_reason(error)}); going on without, which takes "
            "longer; SPARSWEEP_CACHE names another folder",
        )


def refuse_entry(name: str, reason: object) -> None:
    """Say that an entry is damaged and is made again."""
    line = f"{cache_folder() / name}: damaged ({' '.join(str(reason).split())}); made again"
    say_once(name, line)


def say_once(topic: str, line: str) -> None:
    """Log a line, unless this process has said something of that topic."""
    if topic not in _said:
        _said.add(topic)
        log.warning(line)


def measure() -> list[Part]:
    """What the cache holds at the moment.

    Raises:
        OSError: it cannot be looked at.
    """
    folder = cache_folder()
    parts = []
    for name, patterns in PARTS.items():
        with visiting(folder):
            sizes = [file.stat().st_size for pattern in patterns for file in folder.glob(pattern)]
        parts.append(Part(name, folder / patterns[0], len(sizes), sum(sizes)))
    return parts


def clear() -> None:
    """Remove what the cache holds, and nothing else that lies in its folder.

    Runs that use it meanwhile make again what they miss.

    Raises:
        OSError: something cannot be removed.
    """
    folder = cache_folder()
    with visiting(folder):
        for patterns in PARTS.values():
            for pattern in patterns:
                for file in folder.glob(pattern):
                    file.unlink(missing_ok=True)
        if (encoded := folder / "encoded").is_dir() and not any(encoded.iterdir()):
            shutil.rmtree(encoded, ignore_errors=True)


def _reason(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"
