"""Dropout on a CPU as fast as memory: what `dropout` says, compiled by Numba."""

# mypy: disable-error-code="no-untyped-def,call-arg,var-annotated"
# Numba infers the types of what it compiles.

import numpy as np
import torch
from torch import Tensor

from workers.kernels.dropout import (
    BLOCK,
    LANES,
    MULTIPLIERS,
    ROUNDS,
    WEYL,
    DropoutKey,
    threshold_and_scale,
)
from workers.kernels.numba_cpu import at_once
from workers.kernels.numba_loops import as_float, as_stored, compiled, inlined, where

PIECE = 1 << 18
"""Numbers that take a thread 0.13 ms, three times what it takes to hand them to it."""
U32, U64 = np.uint32, np.uint64


def drop(given: Tensor, p: float, key: DropoutKey) -> Tensor:
    """See `workers.kernels.dropout.drop_reference`, whose bits these are."""
    given = given.contiguous()
    found = torch.empty_like(given)
    is_rounded = given.dtype is torch.bfloat16
    arrays = [
        (one.view(-1).view(torch.uint16) if is_rounded else one.view(-1)).numpy()
        for one in (given.detach(), found)
    ]
    threshold, scale = threshold_and_scale(p)
    low, high = key.words
    how = (U32(low), U32(high), U32(key.call), U32(key.step), U32(threshold), np.float32(scale))

    size = given.numel()
    num_threads = max(1, min(torch.get_num_threads(), size // PIECE))
    share = -(-size // (num_threads * BLOCK)) * BLOCK
    starts = range(0, size, share) if size else ()
    at_once(_drop, [(*arrays, start, min(start + share, size), *how) for start in starts])
    return found


@inlined
def _words(counter, low, high, call, step):
    """Philox's four words of a counter."""
    first, second, third, fourth = counter, call, step, U32(0)
    for _ in range(ROUNDS):
        of_first = U64(first) * U64(MULTIPLIERS[0])
        of_third = U64(third) * U64(MULTIPLIERS[1])
        first = U32(U32(of_third >> U64(32)) ^ U32(second ^ low))
        third = U32(U32(of_first >> U64(32)) ^ U32(fourth ^ high))
        second, fourth = U32(of_third), U32(of_first)
        low, high = U32(low + U32(WEYL[0])), U32(high + U32(WEYL[1]))
    return first, second, third, fourth


@inlined
def _kept(given, bits, threshold, scale):
    kept = where(bits >= threshold, as_float(given) * scale, np.float32(0))
    return as_stored(kept, given)


@compiled
def _drop(given, found, start, end, low, high, call, step, threshold, scale):
    """Numbers from `start`, which begins a block, up to `end`; bfloat16 come as uint16."""
    for begin in range(start, end, BLOCK):
        if begin + BLOCK <= end:
            for lane in range(LANES):
                words = _words(U32(begin // 8 + lane), low, high, call, step)
                for part in range(4):
                    i = U64(begin + 2 * LANES * part + lane)
                    j = i + U64(LANES)
                    found[i] = _kept(given[i], U32(words[part] & U32(0xFFFF)), threshold, scale)
                    found[j] = _kept(given[j], U32(words[part] >> U32(16)), threshold, scale)
        else:
            for place in range(end - begin):
                words = _words(U32(begin // 8 + place % LANES), low, high, call, step)
                word = words[place // (2 * LANES)]
                shift = U32(16) if place % (2 * LANES) >= LANES else U32(0)
                bits = U32(U32(word >> shift) & U32(0xFFFF))
                found[begin + place] = _kept(given[begin + place], bits, threshold, scale)
