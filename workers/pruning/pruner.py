"""Tells the optimizer when to prune how much, and counts what came of it.

How pruned weights are found and kept at zero is the optimizer's, see `workers.optim`.
"""

import torch
from torch import Tensor, nn

from workers.optim import MaskedAdamW
from workers.pruning.schedule import CubicSchedule
from workers.trial import LayerSparsity, PruningSpec


class Pruner:
    """Gradual pruning of one trial.

    Args:
        weights: prunable parameters by name.
        optimizer: has them in its prunable groups, in this order.
        schedule: None for a dense trial.
        pruning: the trial's settings; None for a dense trial.
    """

    def __init__(
        self,
        weights: dict[str, nn.Parameter],
        optimizer: MaskedAdamW,
        schedule: CubicSchedule | None,
        pruning: PruningSpec | None,
    ):
        self.weights, self.optimizer, self.schedule, self.pruning = weights, optimizer, schedule, pruning
        self.sparsity = 0.0

    def is_due(self, step: int) -> bool:
        """Whether masks change after `step` completed steps."""
        return self.schedule is not None and self.schedule.is_due(step)

    def update(self, step: int) -> Tensor | None:
        """Change the masks if that is due after `step` completed steps.

        Returns:
            How many weights are NaN (then nothing has changed), see `MaskedAdamW.update_masks`; None if not due.

        Raises:
            ValueError: on a CPU, a weight is NaN.
        """
        if self.schedule is None or self.pruning is None or not self.schedule.is_due(step):
            return None
        self.sparsity = self.schedule.sparsity(step)
        return self.optimizer.update_masks(self.sparsity, self.pruning.scope)

    def count(self) -> tuple[LayerSparsity, ...]:
        """Zeros of each prunable weight, counted on the weights themselves."""
        return tuple(
            LayerSparsity(
                name=name,
                shape=tuple(weight.shape),
                num_zeros=weight.numel() - int(torch.count_nonzero(weight)),
                num_weights=weight.numel(),
            )
            for name, weight in self.weights.items()
        )
