"""What sparsweep says: whether it may say so, and what a user then does."""

import re
from collections.abc import Iterator

from cluster.contract import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, STOPPED

CODES = {DONE, BAD_INPUT, SOME_FAILED, STOPPED, INTERRUPTED}
"""Exit codes that the README documents, without that of a fault of sparsweep."""

FORBIDDEN = ("Traceback (most recent call last)", "this is a fault of sparsweep", "*** SIG")

FILE = r"[^\s:;,()]+\.(?:parquet|safetensors)"


def complaint(code: int, output: str, sent: set[int], is_heard: bool) -> str | None:
    """What is wrong with the way a command ended; None if nothing is.

    Args:
        code: its exit code; a signal's number is negative.
        output: all that it said.
        sent: signals that it got.
        is_heard: it took signals when it got them; a program that only begins dies of them.
    """
    died_of = -code if code < 0 else None
    may_die_of = {9} if is_heard else {9, *sent}
    if code not in CODES and not (died_of in sent and died_of in may_die_of):
        return f"exit code {code}"
    if is_heard:
        for words in FORBIDDEN:
            if words in output:
                return f"it says {words!r}"
    return None


def files_to_delete(output: str) -> set[str]:
    """The files that it says to delete, such as trials/0123456789abcdef.parquet."""
    return {"/".join(name.split("/")[-2:]) for name in _named(output)}


def _named(output: str) -> Iterator[str]:
    settled = set()
    for line in output.splitlines():
        advice = re.search(r"\b(?:delete|remove) (it\b|the file\b)?(.*)", line)
        files = re.findall(FILE, line)
        if advice is None or not files:
            continue
        damaged, named = files[0], re.findall(FILE, advice[2])
        if "one is enough" in line and damaged in settled:
            continue
        settled.add(damaged)
        yield from named
        if advice[1]:
            yield damaged


def options_to_add(output: str) -> list[str]:
    """Options of `run` by which it says to go on."""
    return [option for option in ("--retry-failed", "--rerun-lacking") if option in output]
