"""Scores in the place of magnitudes, so that the kernels rank both.

The kernels rank float32 magnitudes by their bits. A score has a sign, so it is turned into a
positive number of the same rank first.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from workers.kernels.interface import MaskTensors

LARGEST_SCORE = 1e38
"""Scores beyond it count as it; see `rankable`."""

PIECE = 2**15
"""Elements up to which torch uses one thread. Of 85 million scores, `rankable` takes 0.3 s so and
2.5 s in one piece a tensor, on two cores that others use, too."""


def count_pruned(sparsity: float, num_units: int) -> int:
    """How many of `num_units` are pruned at `sparsity`: the nearest integer, halves to even.

    Args:
        sparsity: fraction in [0, 1].
        num_units: weights, or blocks of them.
    """
    return round(sparsity * num_units)


def scores_as_weights(scores: Tensor, mask: Tensor) -> MaskTensors:
    """What a mask update under `hard` is given, so that it prunes the lowest scores.

    The scores take the place of the weights, and of their moments as well, for which a score has
    nothing. After the update what is pruned is 0 in `weight`, and nothing else is.

    The kernels have no function of their own for this: it would be the mask update again in each of
    the three implementations, without the few lines that write to the weights.

    Args:
        scores: float32 of any sign, of any shape; left as they are. NaN cannot be ranked.
        mask: packed, of as many bits as there are scores; the update changes it.
    """
    ranks = rankable(scores)
    return MaskTensors(weight=ranks, exp_avg=ranks, exp_avg_sq=ranks, mask=mask)


def rankable(scores: Tensor) -> Tensor:
    """New numbers in the order of the scores, all above 0.

    The bits of positive floats sort as the floats do. So the bits of the scores are turned until
    they sort as integers from 0 on; the last one is dropped, for otherwise there would be one too
    many. ±1e38 then lie between 0 and infinity.

    Args:
        scores: float32 of any sign and any shape.

    Returns:
        Contiguous float32 of the same shape. NaN stays NaN, −0 and 0 are equal, and scores that
        differ in the last of 24 bits only may be.
    """
    turned = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    for new, old in pieces(turned, scores.contiguous()):
        torch.add(old, 0.0, out=new)  # −0 becomes 0
        new.clamp_(-LARGEST_SCORE, LARGEST_SCORE).masked_fill_(old.isnan(), math.nan)

        # All bits of a negative score are turned, so that the most negative one sorts first.
        # Halved, each sign has 2 ** 30 values, and the positive ones go above the others.
        bits = new.view(torch.int32)
        is_negative = bits >> 31  # −1 or 0
        bits.bitwise_xor_(is_negative).bitwise_right_shift_(1).add_(
            is_negative.add_(1), alpha=1 << 30
        )
    return turned


def pieces(*tensors: Tensor, width: int = 1) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors into vectors that a CPU's cache holds through several operations.

    Args:
        tensors: contiguous and of one shape, of any dtypes. On a GPU they are not cut.
        width: the pieces' lengths are divisible by it if the tensors' are.

    Returns:
        The pieces of all tensors side by side; they share the tensors' memory.
    """
    size = PIECE // width * width if tensors[0].device.type == "cpu" else tensors[0].numel()
    return zip(*(tensor.view(-1).split(max(width, size)) for tensor in tensors), strict=True)
