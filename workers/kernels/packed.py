"""Packed masks: one bit a weight, 1 where it is kept.

A mask of n weights is an int32 tensor of ceil(n / 32) words; weight i (row-major) is bit i % 32,
counted from the least significant, of word i // 32. Bits beyond the last weight are 0.
"""

import torch
from torch import Tensor

WORD_BITS = 32


def num_words(num_weights: int) -> int:
    """Words that a mask takes.

    Args:
        num_weights: at least 0.
    """
    return -(-num_weights // WORD_BITS)


def all_kept(weight: Tensor) -> Tensor:
    """The mask that prunes nothing.

    Args:
        weight: of any dtype and shape.

    Returns:
        int32 [words], on the weight's device.
    """
    words = torch.full((num_words(weight.numel()),), -1, dtype=torch.int32, device=weight.device)
    if rest := weight.numel() % WORD_BITS:
        words[-1:].fill_((1 << rest) - 1)  # an assignment would wait for a GPU
    return words


def pack(keep: Tensor) -> Tensor:
    """A mask in words.

    Args:
        keep: bool of any shape, True where a weight is kept.

    Returns:
        int32 [words], on the same device.
    """
    bits = torch.zeros(num_words(keep.numel()) * WORD_BITS, dtype=torch.int64, device=keep.device)
    bits[: keep.numel()] = keep.flatten()
    words = (bits.view(-1, WORD_BITS) << torch.arange(WORD_BITS, device=keep.device)).sum(dim=1)
    # The highest of 32 bits is the sign of an int32.
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def unpack(words: Tensor, shape: torch.Size) -> Tensor:
    """The mask that `pack` made the words of.

    Args:
        words: int32 [words].
        shape: of the mask; as many weights as the words are for.

    Returns:
        Bool of that shape, on the same device.
    """
    bits = (
        words.unsqueeze(1) >> torch.arange(WORD_BITS, dtype=torch.int32, device=words.device)
    ) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()
