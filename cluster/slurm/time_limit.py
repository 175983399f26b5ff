"""Time limits as Slurm writes them."""

import re

MINUTE, HOUR, DAY = 60, 3600, 86400
ACCEPTED = "give minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"

_WITH_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_WITHOUT_DAYS = re.compile(r"(?:(\d+):(?=\d+:))?(\d+)(?::(\d+))?", re.ASCII)


def seconds(time_limit: str) -> int:
    """Seconds of a time limit.

    Args:
        time_limit: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS. As in Slurm, what stands
            after a dash begins with hours, what stands alone with minutes.

    Raises:
        ValueError: it is none of these, such as UNLIMITED.
    """
    if match := _WITH_DAYS.fullmatch(time_limit):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return days * DAY + hours * HOUR + minutes * MINUTE + rest
    if match := _WITHOUT_DAYS.fullmatch(time_limit):
        hours, minutes, rest = (int(part or 0) for part in match.groups())
        return hours * HOUR + minutes * MINUTE + rest
    raise ValueError(f"{time_limit!r} is no time limit of Slurm; {ACCEPTED}")
