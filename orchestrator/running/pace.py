"""Whether a trial can still end before its job's time limit, from how long others took. Pure: no
clock, no Ray.

A trial's cost is known when it is planned (`PlannedTrial.cost`); how many seconds a unit of cost
takes here is learned from trials that are done. A trial that cannot end in time is left to the next
job if it can end there; one that is longer than any job has to go from checkpoint to checkpoint
anyway, so it may start whenever a worker is free.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

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
        """As the variables say that `cluster.contract` names; None where there is no limit.

        Args:
            environment: of the driver.
            now: the present time, in seconds since 1970. A new job has no more time than this one
                has in its beginning.

        Raises:
            ValueError: a value is not a number.
        """
        deadline = _number(environment, DEADLINE)
        if deadline is None:
            return None
        length_s = _number(environment, JOB_LENGTH_S)
        return cls(
            deadline=deadline, fresh_s=None if length_s is None else min(length_s, deadline - now)
        )

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
        if expected_s > self.fresh_s * (1 - STARTING_SHARE) - SAVING_S:  # no job is long enough
            return None
        return self.stop_at - expected_s


@dataclass
class Pace:
    """Seconds a unit of cost, learned from trials: their median, since a few may have shared a
    machine with others."""

    _ratios: list[float] = field(default_factory=list)
    _median: float | None = None

    def learn(self, cost: float, seconds: float) -> None:
        """A trial of this cost took so long."""
        if cost > 0 and seconds > 0:
            self._ratios.append(seconds / cost)
            self._median = None

    def expected_s(self, cost: float) -> float | None:
        """How long a trial of this cost takes; None while nothing is known."""
        if not self._ratios:
            return None
        if self._median is None:
            self._median = median(self._ratios)
        return cost * self._median


class Timetable:
    """Which trials may still start in this job, and until when.

    Args:
        limit: until when the job may run; None: for ever.
        costs: of the trials that are left.
    """

    def __init__(self, limit: TimeLimit | None, costs: Mapping[str, float]):
        self.limit, self.pace = limit, Pace()
        self._costs = costs
        self._has_started_one = False

    def has_ended(self, trial_id: str, seconds: float) -> None:
        """One of the trials was completed, after so long."""
        self.pace.learn(self._costs[trial_id], seconds)

    def has_started(self) -> None:
        """A trial was given to a worker. The first may always start, or a sweep might for ever
        start jobs in vain."""
        self._has_started_one = True

    def latest_start(self, trial_id: str) -> float | None:
        """When this trial must have started, in seconds since 1970; None: whenever it likes."""
        if self.limit is None or not self._has_started_one:
            return None
        return self.limit.latest_start(self.pace.expected_s(self._costs[trial_id]))

    def is_over(self, now: float) -> bool:
        """Whether running trials have to stop now."""
        return self.limit is not None and now >= self.limit.stop_at


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number; give seconds") from None
