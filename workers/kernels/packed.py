"""Packed masks: one bit a weight, 1 where it is kept.

A mask of n weights is an int32 tensor of ceil(n / 32) words; weight i (row-major) is bit i % 32,
counted from the least significant, of word i // 32. Bits beyond the last weight are 0.
"""

import torch
from torch import Tensor

WORD_BITS = 32


def num_words(num_weights: int) -> int:
    """Words that hold the mask of so many weights."""
    return -(-num_weights // WORD_BITS)


def all_kept(weight: Tensor) -> Tensor:
    """The mask that prunes nothing of `weight`."""
    words = torch.full((num_words(weight.numel()),), -1, dtype=torch.int32, device=weight.device)
    if rest := weight.numel() % WORD_BITS:
        words[-1] = (1 << rest) - 1
    return words


def pack(keep: Tensor) -> Tensor:
    """Bool tensor of any shape to words."""
    bits = torch.zeros(num_words(keep.numel()) * WORD_BITS, dtype=torch.int64, device=keep.device)
    bits[: keep.numel()] = keep.flatten()
    words = (bits.view(-1, WORD_BITS) << torch.arange(WORD_BITS, device=keep.device)).sum(dim=1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def unpack(words: Tensor, shape: torch.Size) -> Tensor:
    """Words to a bool tensor of `shape`."""
    bits = (
        words.unsqueeze(1) >> torch.arange(WORD_BITS, dtype=torch.int32, device=words.device)
    ) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
