"""The kernels in plain PyTorch: the definition of right.

Nothing here is fast, and looking at results waits for a GPU.

The other implementations give the same bits, except that they may add up the gradient norm in
another order.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.kernels.interface import MaskTensors, RankGroup, Semantics, StepOptions, StepTensors
from workers.kernels.packed import all_kept, pack, unpack


class ReferenceKernels:
    """See `workers.kernels.interface.Kernels`."""

    name = "reference"

    def step(self, tensors: Sequence[StepTensors], options: StepOptions) -> Tensor | None:
        """See `Kernels.step`."""
        scale = float(options.grad_scale) if options.grad_scale is not None else 1.0
        norm, multiplier = None, 1.0 / scale
        if options.max_grad_norm is not None:
            norm = grad_norm(tensors) / scale
            clip = min(1.0, options.max_grad_norm / (float(norm) + 1e-6))
            multiplier *= clip if norm.isfinite() else math.nan
        if options.found_inf is None or float(options.found_inf) == 0:
            for parameter in tensors:
                _adamw(parameter, multiplier)
        return None if norm is None else norm.float()

    def update_masks(self, groups: Sequence[RankGroup], semantics: Semantics) -> Tensor:
        """See `Kernels.update_masks`."""
        scores = [_scores(group, semantics) for group in groups]
        num_nan = torch.stack([score.isnan().sum() for score in scores]).sum()
        if num_nan == 0:
            for group, score in zip(groups, scores, strict=True):
                _prune(group, score, semantics)
        return num_nan


def grad_norm(tensors: Sequence[StepTensors]) -> Tensor:
    """2-norm of the unpruned entries of all gradients together.

    Args:
        tensors: parameters on one device.

    Returns:
        float64, 0-dimensional, in which no square of a float32 overflows; 0 without parameters.
    """
    kept = [
        own.grad if own.mask is None else own.grad[unpack(own.mask, own.grad.shape)]
        for own in tensors
    ]
    squares = [grad.double().square().sum() for grad in kept]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros((), dtype=torch.float64)


def _adamw(own: StepTensors, multiplier: float) -> None:
    weight, exp_avg, exp_avg_sq = own.weight, own.exp_avg, own.exp_avg_sq
    own.step.add_(1)
    step, lr = float(own.step), float(own.lr)

    grad = own.grad.float() * _round(multiplier)
    new_avg = (grad - exp_avg).mul_(_round(1 - own.beta1)).add_(exp_avg)
    new_sq = (exp_avg_sq * _round(own.beta2)).add_(grad.square().mul_(_round(1 - own.beta2)))

    inverse_correction = _round(1 / (1 - own.beta2**step) ** 0.5)
    # On a CPU torch's float32 square root is not always the nearest float.
    root = new_sq.double().sqrt().float()
    change = new_avg.div(root.mul_(inverse_correction).add_(_round(own.eps)))
    new_weight = (weight * _round(1 - lr * own.weight_decay)).sub_(
        change.mul_(_round(lr / (1 - own.beta1**step)))
    )

    # Selected, not multiplied: infinities leave no NaN behind.
    keep = unpack(all_kept(weight) if own.mask is None else own.mask, weight.shape)
    changes = [(weight, new_weight), (exp_avg, new_avg), (exp_avg_sq, new_sq)]
    if own.rounded is not None:
        changes.append((own.rounded, new_weight.to(own.rounded.dtype)))
    for old, new in changes:
        old.copy_(torch.where(keep, new, old))


def _round(coefficient: float) -> float:
    """To float32, so that no coefficient has more digits than the tensors it meets."""
    return float(torch.tensor(coefficient, dtype=torch.float32))


def _scores(group: RankGroup, semantics: Semantics) -> Tensor:
    """What the group's weights are ranked by, as one vector; −1 ranks below all magnitudes."""
    scores = []
    for own in group.tensors:
        keep = unpack(own.mask, own.weight.shape)
        if semantics == "dense_shadow":
            below = own.exp_avg.abs()
        else:
            below = torch.tensor(-1.0, device=own.weight.device)
        scores.append(torch.where(keep, own.weight.abs(), below).flatten())
    return torch.cat(scores)


def _prune(group: RankGroup, scores: Tensor, semantics: Semantics) -> None:
    sizes = [own.weight.numel() for own in group.tensors]
    kept = _smallest_pruned(scores, group.num_pruned).split(sizes)
    for own, is_kept in zip(group.tensors, kept, strict=True):
        _apply(own, is_kept, semantics)
        own.mask.copy_(pack(is_kept))


def _smallest_pruned(scores: Tensor, num_pruned: int) -> Tensor:
    """Which weights are kept when the `num_pruned` lowest scores go, and all that are −1.

    Ties go by position.
    """
    num_pruned = max(num_pruned, int((scores == -1).sum()))
    if num_pruned == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = scores.sort().values[num_pruned - 1]
    keep = scores > threshold
    ties = (scores == threshold).nonzero().squeeze(1)
    keep[ties[num_pruned - int((scores < threshold).sum()) :]] = True
    return keep


def _apply(own: MaskTensors, is_kept: Tensor, semantics: Semantics) -> None:
    """Set weight and moments to what the new mask makes of them; the old one is still in `own`."""
    weight, exp_avg, exp_avg_sq = own.weight, own.exp_avg, own.exp_avg_sq
    was_kept, is_kept = unpack(own.mask, weight.shape), is_kept.view(weight.shape)
    if semantics == "hard":  # what is kept was kept
        for tensor in (weight, exp_avg, exp_avg_sq):
            tensor.masked_fill_(~is_kept, 0.0)
    else:
        dense = torch.where(was_kept, weight, exp_avg)
        exp_avg.copy_(torch.where(is_kept, torch.where(was_kept, exp_avg, 0.0), dense))
        weight.copy_(torch.where(is_kept, dense, 0.0))
