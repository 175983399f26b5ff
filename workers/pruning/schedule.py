"""From training step to sparsity.

Nothing here imports torch, so that a login node without it can plan a sweep; this holds for all
registries of choices.
"""

from collections.abc import Callable
from dataclasses import dataclass

from workers.trial import PruningSpec


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One way from the initial to the target sparsity, and which settings it uses.

    `remaining` is the part of that way which is left, in [0, 1], when the fraction `done` of the
    span is over. What a shape does not use is fixed by `Schedule.from_spec`, and `reason` says why.
    """

    remaining: Callable[[float], float]
    uses_initial: bool = True
    uses_begin: bool = True
    uses_end: bool = True
    uses_interval: bool = True
    reason: str = ""


SCHEDULES: dict[str, Shape] = {
    "cubic": Shape(remaining=lambda done: (1 - done) ** 3),
    "linear": Shape(remaining=lambda done: 1 - done),
    "one_shot": Shape(
        remaining=lambda done: 0.0,
        uses_initial=False,
        uses_end=False,
        uses_interval=False,
        reason="it prunes to the target at once, at begin",
    ),
    "constant": Shape(
        remaining=lambda done: 0.0,
        uses_initial=False,
        uses_begin=False,
        uses_end=False,
        uses_interval=False,
        reason="its masks are fixed before the first step",
    ),
}
"""Shapes by the name that `pruning.sparsity_schedule` gives them.

Source: cubic is Zhu & Gupta (2017), equation 1.
"""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Sparsity goes from `initial` to `target` as `shape` says, while `begin_step <= step <=
    end_step`.

    `step` counts completed optimizer steps. Masks change when `is_due`; between two changes
    sparsity stays.

    Source: Zhu & Gupta (2017), equation 1, with begin t_0 and end t_0 + n Δt. There the last of the
    n intervals ends exactly at the end; here the end step is always due, also where the frequency
    does not divide the span.
    """

    shape: str
    initial: float
    target: float
    begin_step: int
    end_step: int
    update_every_steps: int

    @classmethod
    def from_spec(cls, pruning: PruningSpec, target: float, num_steps: int) -> "Schedule":
        """Turn fractions of training into steps, to the nearest one."""
        shape = SCHEDULES[pruning.sparsity_schedule]
        begin_step = round(pruning.begin * num_steps) if shape.uses_begin else 0
        return cls(
            shape=pruning.sparsity_schedule,
            initial=pruning.initial_sparsity if shape.uses_initial else target,
            target=target,
            begin_step=begin_step,
            end_step=round(pruning.end * num_steps) if shape.uses_end else begin_step,
            update_every_steps=pruning.update_every_steps,
        )

    def is_due(self, step: int) -> bool:
        """Whether masks change after `step` completed steps."""
        if not self.begin_step <= step <= self.end_step:
            return False
        return step == self.end_step or (step - self.begin_step) % self.update_every_steps == 0

    def sparsity(self, step: int) -> float:
        """Sparsity that the schedule asks for after `step` completed steps, in [0, 1)."""
        if step < self.begin_step:
            return 0.0
        if step >= self.end_step:
            return self.target
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.target + (self.initial - self.target) * SCHEDULES[self.shape].remaining(done)
