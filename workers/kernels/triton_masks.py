"""The mask update in Triton: seven launches, however many tensors and groups there are.

The threshold of a group is found digit by digit in the bits of the magnitudes, which sort as the
magnitudes do (radix select). A launch counts one digit of the weights that agree with the threshold
in the digits before; the next one reads these counts and so knows a digit more. Only integers are
added up, so nothing hangs on the order of programs. The host looks at nothing.

1. to 4. `count_digits`: 8, 8, 8 and 7 bits, the highest first; the first also counts NaN. (Triton
   compiles histograms of more than 256 bins badly, so digits are not wider.)
5. `count_ties`: weights at the threshold, chunk by chunk.
6. `share_ties`: how many of them are to be pruned from each chunk on.
7. `write_masks`: masks, weights and moments.

Shapes: rows int64 [tensors, NUM_COLUMNS], chunks int32 [chunks, 2]: see `triton_launch`; groups
int64 [groups, NUM_GROUP_COLUMNS]; counts int64 [groups, NUM_DIGITS, NUM_BINS]; num_nan int64 [];
thresholds int32 [groups]; ties and shares int64 [chunks].
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.kernels.interface import RankGroup, Semantics
from workers.kernels.triton_launch import (
    LANES,
    DeviceTable,
    Launcher,
    are_kept,
    block_offsets,
    count_inside,
    find_chunk,
    list_chunks,
    load_words,
)

# Columns of `rows`: addresses, number of weights, group.
WEIGHT = tl.constexpr(0)
EXP_AVG = tl.constexpr(1)
EXP_AVG_SQ = tl.constexpr(2)
MASK = tl.constexpr(3)
NUMEL = tl.constexpr(4)
GROUP = tl.constexpr(5)
NUM_COLUMNS = tl.constexpr(6)
# Columns of `groups`.
NUM_PRUNED = tl.constexpr(0)
NUM_WEIGHTS = tl.constexpr(1)
FIRST_CHUNK = tl.constexpr(2)
END_CHUNK = tl.constexpr(3)
NUM_GROUP_COLUMNS = tl.constexpr(4)

BLOCK_WORDS = tl.constexpr(32)
BLOCK = tl.constexpr(BLOCK_WORDS.value * LANES.value)
# What one program reads: much, beside the 256 counts that it reads before.
CHUNK = tl.constexpr(32 * BLOCK.value)
NUM_DIGITS = tl.constexpr(4)
NUM_BINS = tl.constexpr(256)
MAGNITUDE = tl.constexpr(0x7FFFFFFF)  # all bits of a float32 but its sign
INFINITY = tl.constexpr(0x7F800000)  # the largest magnitude that is a number


@triton.jit
def count_digits(
    rows: tl.tensor,
    chunks: tl.tensor,
    groups: tl.tensor,
    counts: tl.tensor,
    num_nan: tl.tensor,
    DIGIT: tl.constexpr,
    SHADOW: tl.constexpr,
) -> None:
    """Add to `counts` how often each value of one digit occurs among a chunk's weights.

    Only those weights count that agree with the threshold in the digits before.
    """
    shift: tl.constexpr = 23 - 8 * DIGIT if DIGIT < 3 else 0
    width: tl.constexpr = 8 if DIGIT < 3 else 7
    index, first = find_chunk(chunks, tl.program_id(0).to(tl.int64), CHUNK)
    row = rows + index * NUM_COLUMNS
    group = tl.load(row + GROUP)
    threshold, _left = _find_threshold(groups, counts, group, DIGIT)
    count = tl.zeros([NUM_BINS], tl.int32)
    num_others = tl.full((), 0, tl.int32)
    nan = tl.full((), 0, tl.int32)
    for start in range(first, tl.minimum(first + CHUNK, tl.load(row + NUMEL)), BLOCK):
        values, competes, _keep = _load_ranked(row, start, SHADOW)
        values &= MAGNITUDE
        if DIGIT == 0:
            nan += tl.sum((competes & (values > INFINITY)).to(tl.int32))
        else:
            competes = competes & ((values >> (shift + width)) == threshold)
        # What does not compete is counted as 0 and taken off at the end: Triton before 3.3 counts
        # without a mask only.
        digits = tl.where(competes, (values >> shift) & ((1 << width) - 1), 0)
        num_others += BLOCK - tl.sum(competes.to(tl.int32))
        count += tl.histogram(tl.reshape(digits, [BLOCK]), NUM_BINS)
    bins = tl.arange(0, NUM_BINS)
    count -= tl.where(bins == 0, num_others, 0)
    own = counts + (group * NUM_DIGITS + DIGIT) * NUM_BINS + bins
    tl.atomic_add(own, count.to(tl.int64), mask=count > 0, sem="relaxed")
    if DIGIT == 0:
        tl.atomic_add(num_nan, nan.to(tl.int64), mask=nan > 0, sem="relaxed")


@triton.jit
def _find_threshold(
    groups: tl.tensor, counts: tl.tensor, group: tl.tensor, DIGITS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """The first DIGITS digits of a group's threshold.

    And how many of the weights that agree with them are to be pruned.
    """
    own = counts + group * (NUM_DIGITS * NUM_BINS) + tl.arange(0, NUM_BINS)
    threshold = tl.full((), 0, tl.int32)
    left = tl.full((), 0, tl.int64)
    if DIGITS > 0:
        columns = groups + group * NUM_GROUP_COLUMNS
        # What was pruned before does not compete under hard, and so was not counted.
        num_pruned_before = tl.load(columns + NUM_WEIGHTS) - tl.sum(tl.load(own))
        left = tl.maximum(tl.load(columns + NUM_PRUNED) - num_pruned_before, 0)
    for digit in range(DIGITS):
        count = tl.load(own + digit * NUM_BINS)
        is_below = tl.cumsum(count) < left
        threshold = threshold * tl.where(digit < NUM_DIGITS - 1, 256, 128) + tl.sum(
            is_below.to(tl.int32)
        )
        left -= tl.sum(tl.where(is_below, count, 0))
    return threshold, left


@triton.jit
def _load_ranked(
    row: tl.tensor, first: tl.tensor, SHADOW: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Of a block: bits of the ranked values, whether they compete, and whether they are kept.

    All are [BLOCK_WORDS, LANES].
    """
    num_inside = count_inside(first, tl.load(row + NUMEL), BLOCK_WORDS)
    inside = block_offsets(BLOCK_WORDS) < num_inside
    keep = are_kept(load_words(tl.load(row + MASK), first, num_inside, BLOCK_WORDS))
    values = tl.load(_pointers(row, WEIGHT, first), mask=inside, other=0)
    if SHADOW:
        values = tl.where(
            keep, values, tl.load(_pointers(row, EXP_AVG, first), mask=inside, other=0)
        )
        competes = inside
    else:
        competes = inside & keep
    return values, competes, keep


@triton.jit
def _pointers(row: tl.tensor, COLUMN: tl.constexpr, first: tl.tensor) -> tl.tensor:
    """To a block's bits."""
    return tl.load(row + COLUMN).to(tl.pointer_type(tl.int32)) + first + block_offsets(BLOCK_WORDS)


@triton.jit
def count_ties(
    rows: tl.tensor,
    chunks: tl.tensor,
    groups: tl.tensor,
    counts: tl.tensor,
    ties: tl.tensor,
    SHADOW: tl.constexpr,
) -> None:
    """How many weights of a chunk are at its group's threshold."""
    index, first = find_chunk(chunks, tl.program_id(0).to(tl.int64), CHUNK)
    row = rows + index * NUM_COLUMNS
    threshold, _left = _find_threshold(groups, counts, tl.load(row + GROUP), NUM_DIGITS)
    count = tl.zeros([BLOCK_WORDS, LANES], tl.int32)
    for start in range(first, tl.minimum(first + CHUNK, tl.load(row + NUMEL)), BLOCK):
        values, competes, _keep = _load_ranked(row, start, SHADOW)
        count += (competes & ((values & MAGNITUDE) == threshold)).to(tl.int32)
    tl.store(ties + tl.program_id(0), tl.sum(count).to(tl.int64))


@triton.jit
def share_ties(
    groups: tl.tensor, counts: tl.tensor, ties: tl.tensor, thresholds: tl.tensor, shares: tl.tensor
) -> None:
    """One group's threshold, and how many ties are still to be pruned when each chunk begins."""
    group = tl.program_id(0).to(tl.int64)
    threshold, left = _find_threshold(groups, counts, group, NUM_DIGITS)
    tl.store(thresholds + group, threshold)
    columns = groups + group * NUM_GROUP_COLUMNS
    end = tl.load(columns + END_CHUNK)
    for start in range(tl.load(columns + FIRST_CHUNK), end, NUM_BINS):
        chunk = start + tl.arange(0, NUM_BINS)
        num_ties = tl.load(ties + chunk, mask=chunk < end, other=0)
        tl.store(shares + chunk, left - (tl.cumsum(num_ties) - num_ties), mask=chunk < end)
        left -= tl.sum(num_ties)


@triton.jit
def write_masks(
    rows: tl.tensor,
    chunks: tl.tensor,
    thresholds: tl.tensor,
    shares: tl.tensor,
    num_nan: tl.tensor,
    SHADOW: tl.constexpr,
) -> None:
    """Prune a chunk's weights below the threshold, and its share of those at it.

    Nothing changes if there are NaN.
    """
    index, first = find_chunk(chunks, tl.program_id(0).to(tl.int64), CHUNK)
    row = rows + index * NUM_COLUMNS
    numel = tl.load(row + NUMEL)
    end = tl.where(tl.load(num_nan) == 0, tl.minimum(first + CHUNK, numel), first)
    threshold = tl.load(thresholds + tl.load(row + GROUP))
    left = tl.load(shares + tl.program_id(0))
    for start in range(first, end, BLOCK):
        values, competes, was_kept = _load_ranked(row, start, SHADOW)
        magnitudes = values & MAGNITUDE
        is_tie = competes & (magnitudes == threshold)
        num_ties = tl.sum(is_tie.to(tl.int32))
        survives = is_tie & (left <= 0)
        if (left > 0) & (left < num_ties):  # in one block of a group: ranks are not cheap
            rank = tl.reshape(
                tl.cumsum(tl.reshape(is_tie.to(tl.int32), [BLOCK])), [BLOCK_WORDS, LANES]
            )
            survives = is_tie & (rank > left)
        left -= num_ties
        is_kept = competes & ((magnitudes > threshold) | survives)

        num_inside = count_inside(start, numel, BLOCK_WORDS)
        word = tl.arange(0, BLOCK_WORDS)
        words = tl.sum(is_kept.to(tl.int32) << tl.arange(0, LANES)[None, :], axis=1)
        pointers = tl.load(row + MASK).to(tl.pointer_type(tl.int32)) + start // LANES + word
        tl.store(pointers, words, mask=word * LANES < num_inside)
        changes = (block_offsets(BLOCK_WORDS) < num_inside) & ~(was_kept & is_kept)
        # A ranked value is what a weight takes that comes back, and what is kept of one that goes.
        tl.store(_pointers(row, WEIGHT, start), tl.where(is_kept, values, 0), mask=changes)
        tl.store(
            _pointers(row, EXP_AVG, start),
            tl.where(is_kept, 0, values if SHADOW else 0),
            mask=changes,
        )
        if not SHADOW:
            tl.store(
                _pointers(row, EXP_AVG_SQ, start),
                tl.zeros([BLOCK_WORDS, LANES], tl.int32),
                mask=changes,
            )


class MaskUpdate:
    """Launches the kernels of a mask update."""

    def __init__(self, launcher: Launcher):
        self._launcher = launcher
        self._rows, self._chunks = DeviceTable(launcher.device), DeviceTable(launcher.device)
        self._groups = DeviceTable(launcher.device)

    def __call__(self, groups: Sequence[RankGroup], semantics: Semantics) -> Tensor:
        """See `Kernels.update_masks`.

        Raises:
            RuntimeError: see `DeviceTable.get`.
        """
        device, launch = self._launcher.device, self._launcher.launch
        # Torch gives this and the memory below to later work on this stream only, so after these
        # kernels.
        num_nan = torch.zeros((), dtype=torch.int64, device=device)
        sizes = [own.weight.numel() for group in groups for own in group.tensors]
        if sum(sizes) == 0:
            return num_nan

        row_values = [value for index, group in enumerate(groups) for value in _rows(group, index)]
        group_values = _group_values(groups)
        rows = self._rows.get(
            row_values, lambda: torch.tensor(row_values).view(-1, NUM_COLUMNS.value)
        )
        chunks = self._chunks.get(sizes, lambda: list_chunks(sizes, CHUNK.value))
        table = self._groups.get(
            group_values, lambda: torch.tensor(group_values).view(-1, NUM_GROUP_COLUMNS.value)
        )

        counts = torch.zeros(
            (len(groups), NUM_DIGITS.value, NUM_BINS.value), dtype=torch.int64, device=device
        )
        thresholds = torch.empty(len(groups), dtype=torch.int32, device=device)
        ties = torch.empty(len(chunks), dtype=torch.int64, device=device)
        shares = torch.empty_like(ties)

        shadow = semantics == "dense_shadow"
        for digit in range(NUM_DIGITS.value):
            arguments = (rows, chunks, table, counts, num_nan)
            launch(count_digits, len(chunks), *arguments, DIGIT=digit, SHADOW=shadow)
        launch(count_ties, len(chunks), rows, chunks, table, counts, ties, SHADOW=shadow)
        launch(share_ties, len(groups), table, counts, ties, thresholds, shares)
        launch(write_masks, len(chunks), rows, chunks, thresholds, shares, num_nan, SHADOW=shadow)
        return num_nan


def _rows(group: RankGroup, index: int) -> list[int]:
    """In the order of the columns of `rows`, one row after the other."""
    values: list[int] = []
    for own in group.tensors:
        addressed = (own.weight, own.exp_avg, own.exp_avg_sq, own.mask)
        values += [*(tensor.data_ptr() for tensor in addressed), own.weight.numel(), index]
    return values


def _group_values(groups: Sequence[RankGroup]) -> list[int]:
    """In the order of the columns of `groups`, one group after the other."""
    sizes = [[own.weight.numel() for own in group.tensors] for group in groups]
    ends = list(accumulate(sum(-(-size // CHUNK.value) for size in group) for group in sizes))
    return [
        value
        for group, group_sizes, first, end in zip(groups, sizes, [0, *ends], ends, strict=False)
        for value in (group.num_pruned, sum(group_sizes), first, end)
    ]
