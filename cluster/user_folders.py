"""Where this user's files of sparsweep are, by the XDG base directory rules, on macOS too."""

from pathlib import Path

from platformdirs.unix import Unix

FOLDERS = Unix("sparsweep")


def config_folder() -> Path:
    """What the user writes: profiles of clusters."""
    return FOLDERS.user_config_path


def state_folder() -> Path:
    """What sparsweep remembers: jobs that were submitted."""
    return FOLDERS.user_state_path
