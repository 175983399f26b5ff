"""The kernels for CPUs, compiled by Numba: as fast as memory, with as many threads as torch has.

The loops are in `numba_loops`; here tensors become tables of addresses, and work is divided among
threads. Threads take contiguous ranges of chunks and sums are kept a chunk, so that no result
depends on how many threads there are.
"""

import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.kernels import numba_loops as loops
from workers.kernels.interface import RankGroup, Semantics, StepTensors
from workers.kernels.packed import num_words

CHUNK_WORDS = 1024
DIGITS = ((20, 11), (10, 10), (0, 10))  # (shift, bits) of a magnitude's 31 bits, highest first
INFINITY = 0x7F800000
LARGEST = 0x7FFFFFFF


class NumbaKernels:
    """See `workers.kernels.interface.Kernels`."""

    name = "numba"

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
        table = _table(
            [(one.weight, one.grad, one.exp_avg, one.exp_avg_sq, one.mask) for one in tensors]
        )
        chunks = _chunks(tuple(one.weight.numel() for one in tensors))
        scale = float(grad_scale) if grad_scale is not None else 1.0
        norm, multiplier = None, 1.0 / scale
        if max_grad_norm is not None:
            sums = np.empty(len(chunks))
            _in_threads(
                chunks, lambda first, last: loops.sum_squares(table, chunks, first, last, sums)
            )
            norm = math.sqrt(sums.sum()) / scale
            multiplier *= (
                min(1.0, max_grad_norm / (norm + 1e-6)) if math.isfinite(norm) else math.nan
            )
        if found_inf is None or float(found_inf) == 0:
            coefficients = np.array([_coefficients(one) for one in tensors], np.float32).reshape(
                -1, loops.EPS + 1
            )
            args = (np.float32(multiplier), semantics == "dense_shadow")
            _in_threads(
                chunks,
                lambda first, last: loops.adamw(table, coefficients, chunks, first, last, *args),
            )
            for one in tensors:
                one.step.add_(1)
        return None if norm is None else torch.tensor(norm, dtype=torch.float32)

    def update_masks(self, groups: Sequence[RankGroup], semantics: Semantics) -> Tensor:
        """See `Kernels.update_masks`."""
        searches = [Search(group, semantics == "dense_shadow") for group in groups]
        for search in searches:
            search.find_threshold()
        num_nan = sum(search.num_nan for search in searches)
        if num_nan == 0:
            for search in searches:
                search.write_masks()
        return torch.tensor(num_nan)


class Search:
    """The k-th smallest magnitude of one group, digit by digit, and the masks that follow from
    it."""

    def __init__(self, group: RankGroup, is_shadow: bool):
        tensors = group.tensors
        self.table = _table(
            [(one.weight, None, one.exp_avg, one.exp_avg_sq, one.mask) for one in tensors]
        )
        self.chunks = _chunks(tuple(one.weight.numel() for one in tensors))
        self.is_shadow, self.num_pruned = is_shadow, group.num_pruned
        self.num_weights = sum(one.weight.numel() for one in tensors)
        self.threshold, self.num_ties, self.num_nan = 0, 0, 0
        self.first_ranks: list[int] = []

    def find_threshold(self) -> None:
        """Set `threshold`, the bits of the k-th magnitude, and `num_ties`, how many of those that
        equal it go.

        `first_ranks` says how many equal ones lie before each thread's range.
        """
        left, prefix = 0, 0
        for shift, bits in DIGITS:
            counts = self._count_digits(prefix, shift, bits)
            totals = counts.sum(axis=0)
            if shift == DIGITS[0][0]:
                self.num_nan = self._count_nan(totals)
                left = max(0, self.num_pruned - (self.num_weights - int(totals.sum())))
            if left == 0 or self.num_nan:
                self.first_ranks = [0] * len(counts)
                return
            cumulative = totals.cumsum()
            digit = int(np.searchsorted(cumulative, left))
            left -= int(cumulative[digit] - totals[digit])
            prefix = prefix << bits | digit
        self.threshold, self.num_ties = prefix, left
        ties = counts[:, digit]
        self.first_ranks = (ties.cumsum() - ties).tolist()

    def write_masks(self) -> None:
        """Prune as `find_threshold` found."""
        _in_threads(
            self.chunks,
            lambda first, last, rank: loops.write_masks(
                self.table,
                self.chunks,
                first,
                last,
                self.is_shadow,
                self.threshold,
                rank,
                self.num_ties,
            ),
            self.first_ranks,
        )

    def _count_digits(self, prefix: int, shift: int, bits: int) -> np.ndarray:
        """How often each digit occurs: (threads, bins)."""
        counts = np.zeros((len(_ranges(self.chunks)), 2, 1 << bits), np.int64)
        _in_threads(
            self.chunks,
            lambda first, last, own: loops.count_digits(
                self.table, self.chunks, first, last, self.is_shadow, prefix, shift, bits, own
            ),
            list(counts),
        )
        totals: np.ndarray = counts.sum(axis=1)
        return totals

    def _count_nan(self, totals: np.ndarray) -> int:
        """NaN among the candidates; only where a first digit is that of infinity and NaN is it
        worth another look."""
        if not totals[INFINITY >> DIGITS[0][0] :].any():
            return 0
        span = LARGEST - INFINITY - 1
        return sum(
            _in_threads(
                self.chunks,
                lambda first, last: loops.count_within(
                    self.table, self.chunks, first, last, self.is_shadow, INFINITY + 1, span
                ),
            )
        )


def _table(rows: Sequence[tuple[Tensor | None, ...]]) -> np.ndarray:
    """Addresses of weight, gradient, both moments and mask (0 where there is none), and the number
    of weights."""
    addresses = [
        [*(0 if one is None else one.data_ptr() for one in row), row[0].numel()]  # type: ignore[union-attr]
        for row in rows
    ]
    return np.array(addresses, np.int64).reshape(-1, loops.NUM_WEIGHTS + 1)


@functools.lru_cache(maxsize=256)
def _chunks(sizes: tuple[int, ...]) -> np.ndarray:
    """(C, 3): tensor, its first word in the chunk, and the one after the last."""
    chunks = [
        (tensor, word, min(word + CHUNK_WORDS, num_words(size)))
        for tensor, size in enumerate(sizes)
        for word in range(0, num_words(size), CHUNK_WORDS)
    ]
    return np.array(chunks, np.int64).reshape(-1, 3)


def _coefficients(one: StepTensors) -> tuple[float, ...]:
    step, lr = float(one.step) + 1, float(one.lr)
    return (
        1 - lr * one.weight_decay,
        1 - one.beta1,
        one.beta2,
        1 - one.beta2,
        lr / (1 - one.beta1**step),
        1 / math.sqrt(1 - one.beta2**step),
        one.eps,
    )


def _ranges(chunks: np.ndarray) -> list[tuple[int, int]]:
    """Contiguous ranges of chunks, at least one and at most one a thread, of about the same number
    of words."""
    num_ranges = max(1, min(torch.get_num_threads(), len(chunks)))
    words = np.cumsum(chunks[:, 2] - chunks[:, 1])
    inner = [int(np.searchsorted(words, words[-1] * i / num_ranges)) for i in range(1, num_ranges)]
    return list(itertools.pairwise([0, *inner, len(chunks)]))


def _in_threads(
    chunks: np.ndarray, work: Callable[..., Any], own: Sequence[Any] | None = None
) -> list[Any]:
    """What `work(first, last)`, or `work(first, last, own[thread])`, returns for each range of
    chunks."""
    ranges = _ranges(chunks)
    calls = [
        (*bounds, *(() if own is None else (own[thread],))) for thread, bounds in enumerate(ranges)
    ]
    if len(calls) == 1:
        return [work(*calls[0])]
    futures = [_pool(len(calls)).submit(work, *call) for call in calls]
    try:
        return [future.result() for future in futures]
    finally:  # also after Ctrl-C no thread may write to memory that the caller believes to be its own again
        wait(futures)


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="sparsweep-kernels")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
