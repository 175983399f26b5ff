"""Errors that a person causes and can mend. Each message is one line: where, what was wrong, the
value, the remedy."""


class SweepError(Exception):
    """Something the user can put right; the command line prints it without a traceback and exits
    with 2."""


class SpecError(SweepError):
    """The sweep file, an override, or data that it names is wrong."""


class StoreError(SweepError):
    """The results location cannot be written or read, or holds something it should not."""
