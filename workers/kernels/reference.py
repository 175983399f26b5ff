"""Magnitude masks in plain PyTorch: the definition of right.

Shapes: all tensors of one call have the shapes of the prunable weights, in one fixed order. A mask is bool, True where
a weight is kept. Nothing here is fast; a faster implementation must give the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NAME = "reference"


def count_pruned(sparsity: float, num_weights: int) -> int:
    """How many of `num_weights` are zero at `sparsity`: the nearest integer, halves to even."""
    return round(sparsity * num_weights)


def magnitude_masks(weights: Sequence[Tensor], masks: Sequence[Tensor], num_pruned: int) -> list[Tensor]:
    """New masks that prune exactly the `num_pruned` weights of smallest magnitude among all given tensors.

    Weights that are pruned already rank below all others, so they stay pruned while `num_pruned` does not fall. Ties
    go by position: the earlier tensor first, and inside a tensor the lower row-major index first.

    Args:
        weights: the tensors that are ranked together.
        masks: current masks.
        num_pruned: 0 to the number of all weights.

    Raises:
        ValueError: `num_pruned` is out of range, or a weight is NaN.
    """
    scores = torch.cat([_score(weight, mask) for weight, mask in zip(weights, masks, strict=True)])
    if not 0 <= num_pruned <= scores.numel():
        raise ValueError(f"num_pruned: {num_pruned} is outside 0 to {scores.numel()}, the number of weights")
    if scores.isnan().any():
        raise ValueError(f"weights: {int(scores.isnan().sum())} are NaN; magnitudes cannot be ranked")
    if num_pruned == 0:
        keep = torch.ones_like(scores, dtype=torch.bool)
    else:
        threshold = _kth_smallest(scores, num_pruned)
        below = scores < threshold
        ties = (scores == threshold).nonzero().squeeze(1)
        keep = ~below
        keep[ties[: num_pruned - int(below.sum())]] = False
    sizes = [weight.numel() for weight in weights]
    return [part.view(weight.shape) for part, weight in zip(keep.split(sizes), weights, strict=True)]


def _kth_smallest(values: Tensor, k: int) -> Tensor:
    if values.is_cuda:  # there kthvalue refuses to run deterministically, for the sake of its indices
        return values.sort().values[k - 1]
    return values.kthvalue(k).values


def _score(weight: Tensor, mask: Tensor) -> Tensor:
    return weight.detach().abs().masked_fill(~mask, -1.0).flatten()


def zero_where_pruned(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Set pruned positions to +0.0 in place. Selection, not multiplication: infinities leave no NaN behind."""
    for tensor, mask in zip(tensors, masks, strict=True):
        tensor.masked_fill_(~mask, 0.0)
