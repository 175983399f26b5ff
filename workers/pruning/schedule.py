"""From training step to sparsity."""

from dataclasses import dataclass

from workers.trial import PruningSpec


@dataclass(frozen=True, kw_only=True)
class CubicSchedule:
    """Sparsity rises from `initial` to `target`, fast at first, while `begin_step <= step <= end_step`.

    `step` counts completed optimizer steps. Masks change when `is_due`; between two changes sparsity stays.

    Source: Zhu & Gupta (2017), equation 1, with begin t_0 and end t_0 + n Δt. There the last of the n intervals ends
    exactly at the end; here the end step is always due, also where the frequency does not divide the span.
    """

    initial: float
    target: float
    begin_step: int
    end_step: int
    update_every_steps: int

    @classmethod
    def from_spec(cls, pruning: PruningSpec, target: float, num_steps: int) -> "CubicSchedule":
        """Turn fractions of training into steps, to the nearest one."""
        return cls(
            initial=pruning.initial_sparsity,
            target=target,
            begin_step=round(pruning.begin * num_steps),
            end_step=round(pruning.end * num_steps),
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
        left = 1 - (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.target + (self.initial - self.target) * left**3
