"""The kernels in plain PyTorch: the definition of right. Nothing here is fast, and looking at
results waits for a GPU.

The other implementations give the same bits, except that they may add up the gradient norm in
another order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.kernels.interface import RankGroup, Semantics, StepTensors
from workers.kernels.packed import pack, unpack


class ReferenceKernels:
    """See `workers.kernels.interface.Kernels`."""

    name = "reference"

    def step(
        self,
        tensors: Sequence[StepTensors],
        *,
        semantics: Semantics,
        max_grad_norm: float | None,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
    ) -> Tensor | None:
        """See `Kernels.step`."""
        scale = float(grad_scale) if grad_scale is not None else 1.0
        norm, multiplier = None, 1.0 / scale
        if max_grad_norm is not None:
            norm = grad_norm(tensors) / scale
            multiplier *= (
                min(1.0, max_grad_norm / (float(norm) + 1e-6)) if norm.isfinite() else float("nan")
            )
        if found_inf is None or float(found_inf) == 0:
            for one in tensors:
                _adamw(one, multiplier, semantics)
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
    """2-norm of the unpruned entries of all gradients together, float64."""
    kept = [
        one.grad if one.mask is None else one.grad[unpack(one.mask, one.grad.shape)]
        for one in tensors
    ]
    squares = [grad.double().square().sum() for grad in kept]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros((), dtype=torch.float64)


def _adamw(one: StepTensors, multiplier: float, semantics: Semantics) -> None:
    weight, exp_avg, exp_avg_sq = one.weight, one.exp_avg, one.exp_avg_sq
    one.step.add_(1)
    step, lr = float(one.step), float(one.lr)
    grad = one.grad * _round(multiplier)
    new_avg = (grad - exp_avg).mul_(_round(1 - one.beta1)).add_(exp_avg)
    new_sq = (exp_avg_sq * _round(one.beta2)).add_(grad.square().mul_(_round(1 - one.beta2)))
    inverse_correction = _round(1 / (1 - one.beta2**step) ** 0.5)
    root = (
        new_sq.double().sqrt().float()
    )  # torch's float32 square root is not always the nearest float on a CPU
    change = new_avg.div(root.mul_(inverse_correction).add_(_round(one.eps)))
    new_weight = (weight * _round(1 - lr * one.weight_decay)).sub_(
        change.mul_(_round(lr / (1 - one.beta1**step)))
    )
    if one.mask is not None:
        pruned = ~unpack(one.mask, weight.shape)
        new_weight.masked_fill_(
            pruned, 0.0
        )  # selected, not multiplied: infinities leave no NaN behind
        is_shadow = semantics == "dense_shadow"
        new_avg = torch.where(pruned, exp_avg if is_shadow else 0.0, new_avg)
        new_sq = torch.where(pruned, exp_avg_sq if is_shadow else 0.0, new_sq)
    weight.copy_(new_weight)
    exp_avg.copy_(new_avg)
    exp_avg_sq.copy_(new_sq)


def _round(coefficient: float) -> float:
    """To float32, so that no coefficient has more digits than the tensors it meets."""
    return float(torch.tensor(coefficient, dtype=torch.float32))


def _scores(group: RankGroup, semantics: Semantics) -> Tensor:
    """What the group's weights are ranked by, as one vector; −1 ranks below all magnitudes."""
    scores = []
    for one in group.tensors:
        keep = unpack(one.mask, one.weight.shape)
        below = (
            one.exp_avg.abs()
            if semantics == "dense_shadow"
            else torch.tensor(-1.0, device=one.weight.device)
        )
        scores.append(torch.where(keep, one.weight.abs(), below).flatten())
    return torch.cat(scores)


def _prune(group: RankGroup, scores: Tensor, semantics: Semantics) -> None:
    sizes = [one.weight.numel() for one in group.tensors]
    for one, keep in zip(
        group.tensors, _smallest_pruned(scores, group.num_pruned).split(sizes), strict=True
    ):
        _apply(
            one.weight,
            one.exp_avg,
            one.exp_avg_sq,
            unpack(one.mask, one.weight.shape),
            keep,
            semantics,
        )
        one.mask.copy_(pack(keep))


def _smallest_pruned(scores: Tensor, num_pruned: int) -> Tensor:
    """Which weights are kept when the `num_pruned` lowest scores go, and all that are −1; ties by
    position."""
    num_pruned = max(num_pruned, int((scores == -1).sum()))
    if num_pruned == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = scores.sort().values[num_pruned - 1]
    keep = scores > threshold
    ties = (scores == threshold).nonzero().squeeze(1)
    keep[ties[num_pruned - int((scores < threshold).sum()) :]] = True
    return keep


def _apply(
    weight: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    was_kept: Tensor,
    is_kept: Tensor,
    semantics: Semantics,
) -> None:
    is_kept = is_kept.view(weight.shape)
    if semantics == "hard":  # what is kept was kept
        for tensor in (weight, exp_avg, exp_avg_sq):
            tensor.masked_fill_(~is_kept, 0.0)
    else:
        dense = torch.where(was_kept, weight, exp_avg)
        exp_avg.copy_(torch.where(is_kept, torch.where(was_kept, exp_avg, 0.0), dense))
        weight.copy_(torch.where(is_kept, dense, 0.0))
