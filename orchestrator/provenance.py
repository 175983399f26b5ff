"""What produced a number: the code's commit, the versions of the libraries that compute, and where
it ran.

It says nothing about who ran it: no user name, no path, no value of the environment but the commit
that an image is told when it is built.
"""

import os
import platform
import re
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES: tuple[str, ...] = ("sparsweep", "torch", "transformers", "tokenizers", "ray", "numpy")
"""Those whose versions are stored with each result."""

COMMIT_VARIABLE = "SPARSWEEP_COMMIT"
"""Where git does not know the code, as in an image: the commit that it was built from."""


@cache
def collect_provenance() -> dict[str, str | bool | None]:
    """The provenance of this process, found out once. None is "not known", for example the commit
    of an installed copy that `COMMIT_VARIABLE` does not tell.

    Keys: commit, is_dirty, python, host, platform, and the version of each of `PACKAGES`.
    """
    commit, is_dirty = git_state(Path(__file__))
    if commit is None:
        commit = told_commit()
    return {
        "commit": commit,
        "is_dirty": is_dirty,
        **{package: package_version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
    }


def told_commit() -> str | None:
    """The commit that `COMMIT_VARIABLE` tells; None where it is not set, or no commit."""
    told = os.environ.get(COMMIT_VARIABLE, "")
    return told if re.fullmatch("[0-9a-f]{7,64}", told) else None


def git_state(source: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that a source file belongs to, and whether a tracked file differs from
    that commit.

    (None, None) where git does not know the file: no git, no checkout, or a copy installed inside
    somebody else's. Untracked files do not count as differences, since results often lie in the
    checkout.
    """
    tracked = _git(source.parent, "ls-files", "--error-unmatch", source.name)
    commit = _git(source.parent, "rev-parse", "--verify", "HEAD") if tracked else None
    changes = (
        _git(source.parent, "status", "--porcelain", "--untracked-files=no") if commit else None
    )
    return commit, None if changes is None else changes != ""


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None when it fails, is missing, or takes over 10 s, as on a slow
    shared disk."""
    # GIT_DIR and the like, which a git hook sets, would speak of another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


@cache
def package_version(package: str) -> str | None:
    """The installed version, read without importing the package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
