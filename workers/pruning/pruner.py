"""Keeps pruned weights at zero: when masks change, and what they are applied to.

Semantics are `hard`: at a mask change the pruned weights and both of their Adam moments become zero, and before every
clipping and optimizer step so do their gradients. With weight, gradient and moments all zero, AdamW (decoupled decay
included) leaves the weight at zero, so none ever comes back, and the clipping norm is that of the kept weights.
"""

import torch
from torch import Tensor, nn

from workers.kernels import reference
from workers.pruning.schedule import CubicSchedule
from workers.pruning.scope import rank_groups
from workers.trial import LayerSparsity, PruningSpec

MOMENTS = ("exp_avg", "exp_avg_sq")


class Pruner:
    """Masks of the prunable weights of one trial.

    Args:
        weights: prunable parameters by name.
        optimizer: whose moments are zeroed with the weights.
        schedule: None for a dense trial, which has no masks.
        pruning: the trial's settings; None for a dense trial.
    """

    def __init__(
        self,
        weights: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        schedule: CubicSchedule | None,
        pruning: PruningSpec | None,
    ):
        self.weights = weights
        self.optimizer = optimizer
        self.schedule = schedule
        self.groups = rank_groups(list(weights), pruning.scope) if pruning else []
        self.masks: dict[str, Tensor] = {}
        self.sparsity = 0.0

    def update(self, step: int) -> None:
        """Change the masks if that is due after `step` completed steps.

        Raises:
            ValueError: a weight is NaN.
        """
        if self.schedule is None or not self.schedule.is_due(step):
            return
        self.sparsity = self.schedule.sparsity(step)
        if not self.masks:
            self.masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        for names in self.groups:
            weights = [self.weights[name] for name in names]
            num_pruned = reference.count_pruned(self.sparsity, sum(weight.numel() for weight in weights))
            masks = reference.magnitude_masks(weights, [self.masks[name] for name in names], num_pruned)
            self.masks.update(zip(names, masks, strict=True))
        self._zero_weights_and_moments()

    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights; call it before clipping."""
        if self.masks:
            gradients = {name: weight.grad for name, weight in self.weights.items() if weight.grad is not None}
            reference.zero_where_pruned(list(gradients.values()), [self.masks[name] for name in gradients])

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

    @torch.no_grad()
    def _zero_weights_and_moments(self) -> None:
        masks = list(self.masks.values())
        reference.zero_where_pruned(list(self.weights.values()), masks)
        for moment in MOMENTS:
            states = [self.optimizer.state.get(weight, {}).get(moment) for weight in self.weights.values()]
            present = [(state, mask) for state, mask in zip(states, masks, strict=True) if state is not None]
            reference.zero_where_pruned([state for state, _ in present], [mask for _, mask in present])
