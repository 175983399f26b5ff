"""The kernels for CPUs, compiled by Numba: as fast as memory, with as many threads as torch has.

The loops are in `numba_loops`; here tensors become tables of addresses, and work is divided among
threads. Sums are kept a chunk, and where the order counts threads take contiguous ranges of chunks,
so that no result depends on how many threads there are.
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
from workers.kernels.interface import RankGroup, Semantics, StepOptions, StepTensors
from workers.kernels.packed import num_words

CHUNK_WORDS = 1024
DIGITS = ((20, 11), (10, 10), (0, 10))  # (shift, bits) of a magnitude's 31 bits, highest first
INFINITY = 0x7F800000
LARGEST = 0x7FFFFFFF
ONE = torch.tensor(1.0)  # added as a number it takes several times as long


class NumbaKernels:
    """See `workers.kernels.interface.Kernels`."""

    name = "numba"

    def step(self, tensors: Sequence[StepTensors], options: StepOptions) -> Tensor | None:
        """See `Kernels.step`."""
        table = _table(
            [
                (own.weight, own.grad, own.exp_avg, own.exp_avg_sq, own.mask, own.rounded)
                for own in tensors
            ]
        )
        chunks = _chunks(tuple(own.weight.numel() for own in tensors))
        scale = float(options.grad_scale) if options.grad_scale is not None else 1.0
        norm, multiplier = None, 1.0 / scale

        if options.max_grad_norm is not None:
            sums = np.empty(len(chunks))
            _share(chunks, lambda taken: loops.sum_squares(table, chunks, taken, sums))
            norm = math.sqrt(sums.sum()) / scale
            clip = min(1.0, options.max_grad_norm / (norm + 1e-6))
            multiplier *= clip if math.isfinite(norm) else math.nan

        if tensors and (options.found_inf is None or float(options.found_inf) == 0):
            rows = [
                _coefficients(
                    float(own.step) + 1,
                    float(own.lr),
                    own.beta1,
                    own.beta2,
                    own.eps,
                    own.weight_decay,
                )
                for own in tensors
            ]
            coefficients = np.array(rows, np.float32).reshape(-1, loops.EPS + 1)
            factor = np.float32(multiplier)
            _share(chunks, lambda taken: loops.adamw(table, coefficients, chunks, taken, factor))
            torch._foreach_add_([own.step for own in tensors], ONE)
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
    """The search for the k-th smallest magnitude of one group, digit by digit.

    Args:
        group: what is ranked together.
        is_shadow: whether pruned weights compete, too.

    Attributes:
        threshold: bits of the k-th smallest magnitude; 0 until it is known.
        num_ties: how many of the weights at the threshold are pruned.
        num_nan: how many of the ranked weights are NaN.
        first_ranks: of each thread, how many weights at the threshold lie before its range.
    """

    def __init__(self, group: RankGroup, is_shadow: bool):
        tensors = group.tensors
        self.table = _table(
            [(own.weight, None, own.exp_avg, own.exp_avg_sq, own.mask, None) for own in tensors]
        )
        self.chunks = _chunks(tuple(own.weight.numel() for own in tensors))
        self.is_shadow, self.num_pruned = is_shadow, group.num_pruned
        self.num_weights = sum(own.weight.numel() for own in tensors)
        self.threshold, self.num_ties, self.num_nan = 0, 0, 0
        self.first_ranks: list[int] = []

    def find_threshold(self) -> None:
        """Set the attributes from the weights and masks as they are now."""
        left, prefix = 0, 0  # how many of those that share the prefix go; the digits so far
        for shift, bits in DIGITS:
            counts = self._count_digits(prefix, shift, bits)
            totals = counts.sum(axis=0)
            if shift == DIGITS[0][0]:
                # Under hard only kept weights are counted: what is pruned goes before all others.
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
        """Prune what lies below the threshold, and the first ties at it."""
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
        """NaN among the candidates."""
        # A look at the weights again is worth it only where a first digit is infinity's and NaN's.
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
    """Addresses of the tensors of each row (0 where there is none), and the number of weights.

    A row has weight, gradient, both moments, mask and the rounded weight.
    """
    table = np.empty((len(rows), loops.NUM_WEIGHTS + 1), np.int64)
    addresses = [0 if tensor is None else tensor.data_ptr() for row in rows for tensor in row]
    table[:, : loops.NUM_WEIGHTS] = np.array(addresses, np.int64).reshape(-1, loops.NUM_WEIGHTS)
    table[:, loops.NUM_WEIGHTS] = [row[0].numel() for row in rows]  # type: ignore[union-attr]
    return table


@functools.lru_cache(maxsize=256)
def _chunks(sizes: tuple[int, ...]) -> np.ndarray:
    """(C, 3): tensor, its first word in the chunk, and the one after the last."""
    chunks = [
        (tensor, word, min(word + CHUNK_WORDS, num_words(size)))
        for tensor, size in enumerate(sizes)
        for word in range(0, num_words(size), CHUNK_WORDS)
    ]
    return np.array(chunks, np.int64).reshape(-1, 3)


@functools.lru_cache(maxsize=256)
def _coefficients(
    step: float, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> tuple[float, ...]:
    """In the order of the coefficients' columns, see `numba_loops`; the same for most tensors."""
    return (
        1 - lr * weight_decay,
        1 - beta1,
        beta2,
        1 - beta2,
        lr / (1 - beta1**step),
        1 / math.sqrt(1 - beta2**step),
        eps,
    )


def _ranges(chunks: np.ndarray) -> list[tuple[int, int]]:
    """Contiguous ranges of chunks, of about the same number of words.

    There are at least one, and at most one a thread.
    """
    num_ranges = max(1, min(torch.get_num_threads(), len(chunks)))
    words = np.cumsum(chunks[:, 2] - chunks[:, 1])
    inner = [int(np.searchsorted(words, words[-1] * i / num_ranges)) for i in range(1, num_ranges)]
    return list(itertools.pairwise([0, *inner, len(chunks)]))


def _share(chunks: np.ndarray, work: Callable[[np.ndarray], Any]) -> None:
    """Do all chunks, each in the thread that is ready for it; `work` takes them, see `taken`."""
    taken = np.zeros(1, np.int64)
    at_once(work, [(taken,)] * max(1, min(torch.get_num_threads(), len(chunks))))


def _in_threads(
    chunks: np.ndarray, work: Callable[..., Any], own: Sequence[Any] | None = None
) -> list[Any]:
    """Do all ranges of chunks at once, one a thread.

    Args:
        chunks: what is divided.
        work: called as `work(first, last)`, or as `work(first, last, own[thread])`.
        own: an argument for each thread.

    Returns:
        What the calls returned.
    """
    calls: list[tuple[Any, ...]] = [*_ranges(chunks)]
    if own is not None:
        calls = [(*bounds, argument) for bounds, argument in zip(calls, own, strict=True)]
    return at_once(work, calls)


def at_once(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What the calls with these arguments return, each in a thread."""
    if len(calls) == 1:
        return [work(*calls[0])]
    futures = [_pool(len(calls)).submit(work, *call) for call in calls]
    try:
        return [future.result() for future in futures]
    finally:
        # The caller takes the memory for its own again, so no thread may write to it any more, not
        # even after Ctrl-C.
        wait(futures)


@functools.cache
def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="sparsweep-kernels")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
