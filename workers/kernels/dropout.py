"""Dropout on a CPU: whether a number is dropped is a function of its place and a key.

torch draws one number after the other from one generator, in one thread; and it keeps what was
dropped for the backward pass, which here is computed again. Bits are Philox4x32 of 7 rounds, the
fewest that pass all tests of randomness (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3", table 2), 16 of them a number.

Of a tensor of n numbers in row-major order, number i has block i // 128, lane i % 16, word
i % 128 // 32, and the low half of that word where i % 32 < 16, else the high one. The counter of
block and lane is (16 block + lane, call, step, 0), the key is the seed's.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LANES = 16
BLOCK = 8 * LANES
"""Numbers that share the counters of `LANES` lanes: four words of two halves each."""
ROUNDS = 7
STEPS_OF_PROBABILITY = 1 << 16

MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
"""Philox's constants: of its two products, and by which its key changes from round to round."""

_LOW, _BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


class DropoutKey(NamedTuple):
    """What decides who is dropped, beside the place."""

    seed: int
    """At least 0; 64 bits of it count."""
    step: int
    """Of the training, at least 0, below 2^32."""
    call: int
    """Which dropout of the step, at least 0, below 2^32."""

    @property
    def words(self) -> tuple[int, int]:
        """Philox's key, two words of 32 bits."""
        return self.seed & 0xFFFFFFFF, self.seed >> 32 & 0xFFFFFFFF


def threshold_and_scale(p: float) -> tuple[int, float]:
    """A probability in steps of 2^-16, and what the numbers that stay are multiplied by.

    Args:
        p: of being dropped, in [0, 1].

    Returns:
        Numbers whose 16 bits are below the first are dropped. The second is 1 / (1 - p) for the p
        that this makes, so that the expectation is exact; 0 where all are dropped.
    """
    threshold = round(p * STEPS_OF_PROBABILITY)
    num_kept = STEPS_OF_PROBABILITY - threshold
    return threshold, STEPS_OF_PROBABILITY / num_kept if num_kept else 0.0


def philox(counter: np.ndarray, key: tuple[int, int], rounds: int = ROUNDS) -> np.ndarray:
    """Random words, uint32 (4, n).

    Args:
        counter: uint32 (4, n).
        key: two words of 32 bits.
        rounds: of mixing.

    Source: Salmon et al. 2011, section 3.3.
    """
    first, second, third, fourth = counter.astype(np.uint64)
    for number in range(rounds):
        mixed = [
            np.uint64(word + number * weyl & 0xFFFFFFFF)
            for word, weyl in zip(key, WEYL, strict=True)
        ]
        of_first, of_third = first * np.uint64(MULTIPLIERS[0]), third * np.uint64(MULTIPLIERS[1])
        first, second, third, fourth = (
            (of_third >> _BITS) ^ second ^ mixed[0],
            of_third & _LOW,
            (of_first >> _BITS) ^ fourth ^ mixed[1],
            of_first & _LOW,
        )
    return np.stack([first, second, third, fourth]).astype(np.uint32)


def random_halves(size: int, key: DropoutKey) -> np.ndarray:
    """The 16 random bits of each of the first numbers, int64 (size,)."""
    num_counters = -(-size // BLOCK) * LANES
    counter = np.zeros((4, num_counters), np.uint32)
    counter[0] = np.arange(num_counters)
    counter[1], counter[2] = key.call, key.step
    # (words, blocks, lanes) to (blocks, words, halves, lanes)
    words = philox(counter, key.words).reshape(4, -1, LANES).transpose(1, 0, 2)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=2)
    return halves.reshape(-1)[:size].astype(np.int64)


def drop_reference(given: Tensor, p: float, key: DropoutKey) -> Tensor:
    """Dropout in plain torch: the meaning of `workers.kernels.numba_dropout.drop`, and slow.

    Args:
        given: float32 or bfloat16, on a CPU.
        p: of being dropped, in [0, 1], see `threshold_and_scale`.
        key: who is dropped.

    Returns:
        A new tensor, contiguous: 0 where a number is dropped, else the number times the scale,
        multiplied in float32 and rounded once.
    """
    threshold, scale = threshold_and_scale(p)
    is_kept = torch.from_numpy(random_halves(given.numel(), key) >= threshold).view(given.shape)
    kept = given.float() * torch.tensor(scale, dtype=torch.float32)
    return torch.where(is_kept, kept, torch.zeros(())).to(given.dtype).contiguous()
