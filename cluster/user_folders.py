"""Where this user's files of sparsweep are, by the XDG base directory rules, on macOS too."""

from pathlib import Path

from platformdirs.unix import Unix

FOLDERS = Unix("sparsweep")


def config_folder() -> Path:
    """What the user writes: profiles of clusters.

    Raises:
        FileNotFoundError: no home folder is known.
    """
    return _known("config", "XDG_CONFIG_HOME")


def state_folder() -> Path:
    """What sparsweep remembers: jobs that were submitted.

    Raises:
        FileNotFoundError: no home folder is known.
    """
    return _known("state", "XDG_STATE_HOME")


def _known(kind: str, variable: str) -> Path:
    try:
        folder: Path = getattr(FOLDERS, f"user_{kind}_path")
    except RuntimeError:  # as for a user without an entry in passwd, where HOME is not set
        folder = Path("~")
    if not folder.is_absolute():
        raise FileNotFoundError(f"no home folder is known; set HOME or {variable}")
    return folder
