"""Where this user's files of sparsweep are, by the rules of the XDG base directories."""

import os
from pathlib import Path


def config_folder() -> Path:
    """What the user writes: profiles of clusters."""
    return _folder("XDG_CONFIG_HOME", ".config")


def state_folder() -> Path:
    """What sparsweep remembers: jobs that were submitted."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "sparsweep"
