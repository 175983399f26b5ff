"""Which code computes trials in this process: another one may find another, and other numbers."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_identity() -> str:
    """The version of sparsweep and a digest of the source of this package: equal where two
    processes compute the same numbers."""
    folder, digest = code_folder(), hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(file.read_bytes() + b"\0")
    try:
        number = version("sparsweep")
    except PackageNotFoundError:  # a checkout that is not installed
        number = "of a checkout"
    return f"{number}, code {digest.hexdigest()[:12]}"


def code_folder() -> Path:
    """Where this package lies."""
    return Path(__file__).resolve().parent
