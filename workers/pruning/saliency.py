"""What decides which weights stay: a score for each weight, higher is kept.

A score lies beside its weight, float32 and of its shape. Scores of pruned weights mean nothing:
under `hard`, the only semantics that have scores, a pruned weight never returns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STREAM = 0x5CA1E
"""Sets the scores' random numbers apart from others that are drawn from the trial's seed."""


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """A criterion."""

    start: "Callable[[Tensor, int, int], Tensor] | None"
    """`start(weight, seed, index)`: the score before the first step, of the tensor with that index.
    A trial that is resumed calls it again on the weights that training started from.

    None: the kernels rank the weights' magnitudes themselves.
    """
    accumulate: "Callable[[Tensor, Tensor, Tensor], object] | None" = None
    """`accumulate(score, weight, grad)`: adds one step to the score, in place.

    The gradient is that of the loss, before clipping. None: the score stays what it was.
    """
    is_reset: bool = False
    """Whether the score is 0 again after each mask update."""

    @property
    def needs_gradients(self) -> bool:
        """Whether there is nothing to rank before the first backward pass."""
        return self.accumulate is not None


def _zeros(weight: "Tensor", seed: int, index: int) -> "Tensor":
    import torch

    return torch.zeros_like(weight)


def _drawn(weight: "Tensor", seed: int, index: int) -> "Tensor":
    """Uniform in [0, 1).

    Drawn by NumPy: the same on all devices, and nothing is taken from torch's global generator.
    """
    import numpy as np
    import torch

    drawn = np.random.default_rng([seed, index, STREAM]).random(
        tuple(weight.shape), dtype=np.float32
    )
    return torch.from_numpy(drawn).to(weight.device)


def _add_movement(score: "Tensor", weight: "Tensor", grad: "Tensor") -> None:
    """−Σ w ∂L/∂w: positive where gradient descent moves a weight away from 0, negative where
    towards it.

    Source: Sanh et al. (2020), section 4: the sum over all steps that the scores of movement
    pruning come to, up to their learning rate, which does not change ranks. There pruned weights
    still get gradients (a straight-through estimator), so they move on, are scored and may return;
    here masks are hard, and only kept weights move. There the score follows its own optimizer; here
    it is the plain sum.
    """
    score.addcmul_(weight, grad, value=-1)


def _add_gradient_times_weight(score: "Tensor", weight: "Tensor", grad: "Tensor") -> None:
    """Σ |w ∂L/∂w|: how much the loss would change without the weight, to first order.

    Source: Molchanov et al. (2017), section 2.2, for feature maps, averaged over batches; Lee et
    al. (2019), section 4, for single weights, from one batch before training. Here it is summed
    over the steps since the last mask update.
    """
    score.add_((weight * grad).abs_())


SALIENCIES: dict[str, Saliency] = {
    "magnitude": Saliency(start=None),
    "movement": Saliency(start=_zeros, accumulate=_add_movement),
    "gradient_times_weight": Saliency(
        start=_zeros, accumulate=_add_gradient_times_weight, is_reset=True
    ),
    "random": Saliency(start=_drawn),
}
"""Criteria by the name that `pruning.saliency` gives them.

`random` is the control: its scores are drawn once, so the masks of a rising schedule are nested,
and what is pruned depends on the trial's seed alone.
"""
