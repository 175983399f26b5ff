"""How numbers are told to people: time spans, sizes, and counts with their noun."""

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """A time span as people say it: `42 s`, `14 min`, `1 h 04 min`, `2 d 03 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24:02} h"


def counted(number: int, what: str) -> str:
    """A number with its noun: `1 trial`, `1,845 trials`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are: `sw, yo, af and 37 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def size_in_words(num_bytes: float) -> str:
    """A size as people say it: `1 MiB` at least, `2.3 GiB`."""
    mib = num_bytes / 2**20
    return f"{mib / 1024:.1f} GiB" if mib >= 999.5 else f"{max(1.0, mib):.0f} MiB"
