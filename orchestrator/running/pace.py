"""Whether a trial can still end before its job's time limit. Pure: no clock, no Ray.

How long a trial takes is said by `orchestrator.planning.speed`. A trial that cannot end in time is
left to the next job if it can end there; one that is longer than any job has to go from checkpoint
to checkpoint anyway, so it may start whenever a worker is free.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.contract import DEADLINE, JOB_LENGTH_S

SAVING_S = 10.0
"""Before the deadline, for running trials to save their checkpoints: mBERT's has 2 GB."""

STARTING_SHARE = 0.1
"""Of a job: until its workers have started. A trial that needs nearly all of a job would fit in
none otherwise."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """Until when this job may run.

    Attributes:
        deadline: when all must be saved, in seconds since 1970.
        fresh_s: how long a new job of this kind runs; None: not known.
    """

    deadline: float
    fresh_s: float | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], now: float) -> "TimeLimit | None":
        """The limit that a cluster has set for this job; None where there is none.

        Args:
            environment: of the driver, with the variables that `cluster.contract` names.
            now: the present time, in seconds since 1970. A new job has no more time than this one
                has in its beginning.

        Raises:
            ValueError: a value is not a number.
        """
        deadline = _number(environment, DEADLINE)
        if deadline is None:
            return None
        length_s = _number(environment, JOB_LENGTH_S)
        fresh_s = None if length_s is None else min(length_s, deadline - now)
        return cls(deadline=deadline, fresh_s=fresh_s)

    @property
    def stop_at(self) -> float:
        """When running trials are stopped, so that they are saved by the deadline."""
        return self.deadline - SAVING_S

    def latest_start(self, expected_s: float | None) -> float | None:
        """When a trial must have started to end in time; None: it may start at any time.

        Args:
            expected_s: how long it takes; None: not known.
        """
        if expected_s is None or self.fresh_s is None:
            return None
        if expected_s > self.fresh_s * (1 - STARTING_SHARE) - SAVING_S:
            return None  # no job is long enough
        return self.stop_at - expected_s


class Timetable:
    """Which trials may still start in this job, and until when.

    Args:
        limit: until when the job may run; None: for ever.
        expected_s: how long a trial takes, by its id; None while that is not known.
    """

    def __init__(self, limit: TimeLimit | None, expected_s: Callable[[str], float | None]):
        self.limit, self._expected_s = limit, expected_s
        self._has_started_any = False

    def has_started(self) -> None:
        """A trial was given to a worker. The first may always start, or a sweep might for ever
        start jobs in vain."""
        self._has_started_any = True

    def latest_start(self, trial_id: str) -> float | None:
        """When this trial must have started, in seconds since 1970; None: at any time."""
        if self.limit is None or not self._has_started_any:
            return None
        return self.limit.latest_start(self._expected_s(trial_id))

    def is_over(self, now: float) -> bool:
        """Whether running trials have to stop now."""
        return self.limit is not None and now >= self.limit.stop_at


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number; give seconds") from None
