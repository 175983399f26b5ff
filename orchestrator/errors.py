"""Errors that a person causes and can mend. Each message is one line: where, what was wrong, the
value, the remedy."""

from collections.abc import Collection
from difflib import get_close_matches


class SweepError(Exception):
    """Something the user can put right; the command line prints it without a traceback and exits
    with 2."""


class SpecError(SweepError):
    """The sweep file, an override, or data that it names is wrong."""


class StoreError(SweepError):
    """The results location cannot be written or read, or holds something it should not."""


def check_name(option: str, name: str, known: Collection[str], what: str) -> None:
    """Refuse a name that an option or an argument was given and that there is not.

    Args:
        option: what was given the name.
        name: the name.
        known: the names that there are.
        what: what they are names of.

    Raises:
        SweepError: it is none of them; the message names a close one.
    """
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise SweepError(f"{option}: no {what} {name!r}; {hint}there are: {', '.join(known)}")
