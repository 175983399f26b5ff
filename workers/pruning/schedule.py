"""From training step to sparsity.

Nothing here imports torch, so that a login node without it can plan a sweep; this holds for all
registries of choices.
"""

from collections.abc import Callable
from dataclasses import dataclass

from workers.trial import PruningSpec, TrialSpec


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One way from the initial to the target sparsity, and which settings it uses.

    What a curve does not use is fixed by `Schedule.from_spec`.
    """

    remaining: Callable[[float], float]
    """The part of the way that is left, in [0, 1], by the part of the span that is over."""
    uses_initial: bool = True
    uses_begin: bool = True
    uses_end: bool = True
    uses_interval: bool = True
    reason: str = ""
    """Why it does not use the others, as a refusal says it."""


SCHEDULES: dict[str, Curve] = {
    "cubic": Curve(remaining=lambda done: (1 - done) ** 3),
    "linear": Curve(remaining=lambda done: 1 - done),
    "one_shot": Curve(
        remaining=lambda done: 0.0,
        uses_initial=False,
        uses_end=False,
        uses_interval=False,
        reason="it prunes to the target at once, at begin",
    ),
    "constant": Curve(
        remaining=lambda done: 0.0,
        uses_initial=False,
        uses_begin=False,
        uses_end=False,
        uses_interval=False,
        reason="its masks are fixed before the first step",
    ),
}
"""Curves by the name that `pruning.sparsity_schedule` gives them.

Source: cubic is Zhu & Gupta (2017), equation 1.
"""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Sparsity rises from `initial` to `target` between two steps.

    `step` counts completed optimizer steps. Masks change when `is_due`; between two changes
    sparsity stays.

    Attributes:
        curve: how it rises; a name in `SCHEDULES`.
        initial: sparsity at `begin_step`, in [0, 1).
        target: sparsity from `end_step` on, in [0, 1).
        begin_step: the first step after which masks change.
        end_step: the last one, at least `begin_step`.
        update_every_steps: Δt, steps from one change to the next, at least 1; None: `num_updates`
            says it.
        num_updates: n, intervals of equal length, at least 1, each with a change at its end. Where
            the length is no whole number of steps, a change is at the last step before; where it is
            less than a step, masks change after every step.

    Source: Zhu & Gupta (2017), equation 1, with begin t_0 and end t_0 + n Δt. There the last of the
    n intervals ends exactly at the end; here the end step is always due, also where Δt does not
    divide the span. The change at begin comes before the n: it asks for the initial sparsity.
    """

    curve: str
    initial: float
    target: float
    begin_step: int
    end_step: int
    update_every_steps: int | None = None
    num_updates: int | None = None

    @classmethod
    def from_spec(cls, spec: TrialSpec, num_steps: int) -> "Schedule | None":
        """Turn fractions of training into steps, to the nearest one.

        Args:
            spec: the trial, of whose pruning `compatibility.refusals` has nothing to say.
            num_steps: optimizer steps of the whole training.

        Returns:
            The schedule of the encoder's sparsity; None for a dense trial.
        """
        if spec.pruning is None:
            return None
        return cls.from_pruning(spec.pruning, spec.target_sparsity, num_steps)

    @classmethod
    def from_pruning(cls, pruning: PruningSpec, target: float, num_steps: int) -> "Schedule":
        """The schedule of a trial that prunes.

        Args:
            pruning: how.
            target: the sparsity asked for, in (0, 1).
            num_steps: optimizer steps of the whole training.
        """
        curve = SCHEDULES[pruning.sparsity_schedule]
        begin_step = round(pruning.begin * num_steps) if curve.uses_begin else 0
        return cls(
            curve=pruning.sparsity_schedule,
            initial=pruning.initial_sparsity if curve.uses_initial else target,
            target=target,
            begin_step=begin_step,
            end_step=round(pruning.end * num_steps) if curve.uses_end else begin_step,
            update_every_steps=pruning.update_every_steps,
            num_updates=pruning.num_updates,
        )

    @property
    def num_prunings(self) -> int:
        """Mask updates that prune something: all but one at begin that asks for no zeros."""
        span = self.end_step - self.begin_step
        if self.num_updates is not None:
            num_after = min(self.num_updates, span)
        else:
            num_after = -(-span // (self.update_every_steps or 1))
        return num_after + (self.sparsity(self.begin_step) > 0)

    def is_due(self, step: int) -> bool:
        """Whether masks change after `step` completed steps."""
        if not self.begin_step <= step <= self.end_step:
            return False
        if step == self.end_step:
            return True
        done, span = step - self.begin_step, self.end_step - self.begin_step
        if self.num_updates is not None:
            # The end of an interval, a multiple of span / n, lies in [done, done + 1).
            return -done * self.num_updates % span < self.num_updates
        return done % (self.update_every_steps or 1) == 0

    def sparsity(self, step: int) -> float:
        """Sparsity that the schedule asks for after `step` completed steps, in [0, 1)."""
        if step < self.begin_step:
            return 0.0
        if step >= self.end_step:
            return self.target
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.target + (self.initial - self.target) * SCHEDULES[self.curve].remaining(done)


def last_step_without_candidates(spec: TrialSpec, num_steps: int) -> int:
    """The step up to which no epoch's model may become a trial's best one, but for the last step's.

    The fraction is rounded as those of a schedule are, so that a dense trial chooses among the
    epochs of the pruned ones.

    Args:
        spec: the trial.
        num_steps: of the whole training.
    """
    asked = round((spec.evaluation.select_after or 0.0) * num_steps)
    schedule = Schedule.from_spec(spec, num_steps)
    return asked if schedule is None else max(asked, schedule.end_step)


def num_candidates(spec: TrialSpec, num_steps: int, steps_per_epoch: int) -> int:
    """How often a trial scores its model on validation to find the best one.

    Args:
        spec: the trial.
        num_steps: of the whole training, at least 1.
        steps_per_epoch: at least 1.

    Returns:
        0 where the last model is scored.
    """
    if spec.evaluation.selection == "last":
        return 0
    without = last_step_without_candidates(spec, num_steps)
    num_before_the_last = (num_steps - 1) // steps_per_epoch - without // steps_per_epoch
    return 1 + max(0, num_before_the_last)
