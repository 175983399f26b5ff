"""The AdamW step of all parameters in Triton: two launches, or three with clipping.

Every weight is read and written once, with one bit of mask: 28 1/8 bytes a weight, and 4 1/8 more
for the norm; as many with rounded weights, whose gradients have two bytes less, as the copies have
more. A GPU moves sectors of 32 bytes, and those in which no weight is kept are left alone:
where the pruned ones lie at random, 28 (1 - s^8) + 1/8 bytes are left at the sparsity s: 26.5 at
0.7, 16.1 at 0.9, 4.3 at 0.98.

1. `add_squares`, only when clipping: squares of the unpruned gradients, added up by each program
  over its chunks.
2. `prepare`: the norm and, tensor by tensor, all coefficients of the step; advances `step`.
3. `adamw`: the update.

Shapes: rows int64 [tensors, NUM_COLUMNS] and chunks int32 [chunks, 2], see `triton_launch`; squares
float64 [programs]; coefficients float32 [tensors, NUM_COEFFICIENTS]; norm float32 []; grad_scale
and found_inf 1 element or None.
"""

from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from workers.kernels.interface import StepOptions, StepTensors
from workers.kernels.triton_launch import (
    LANES,
    DeviceTable,
    Launcher,
    are_kept,
    are_moved,
    block_offsets,
    count_inside,
    find_chunk,
    list_chunks,
    load_words,
)

# Columns of `rows`: addresses, ...
WEIGHT = tl.constexpr(0)
GRAD = tl.constexpr(1)
EXP_AVG = tl.constexpr(2)
EXP_AVG_SQ = tl.constexpr(3)
STEP = tl.constexpr(4)
MASK = tl.constexpr(5)  # 0 without a mask
ROUNDED = tl.constexpr(6)  # 0 without rounded weights; otherwise the gradient is bfloat16, too
LR_FLOAT32 = tl.constexpr(7)  # of an lr that is a tensor of this dtype, otherwise 0
LR_FLOAT64 = tl.constexpr(8)
# ... integers, ...
NUMEL = tl.constexpr(9)
IS_ALIGNED = tl.constexpr(10)
# ... and the bits of float64 numbers.
LR = tl.constexpr(11)  # 0 if it is a tensor
BETA1 = tl.constexpr(12)
BETA2 = tl.constexpr(13)
EPS = tl.constexpr(14)
WEIGHT_DECAY = tl.constexpr(15)
MAX_NORM = tl.constexpr(16)
NUM_COLUMNS = tl.constexpr(32)  # what all programs read lies in the first cache line of a row

NUM_COEFFICIENTS = tl.constexpr(8)
ROWS_PER_PROGRAM = tl.constexpr(256)  # of `prepare`
ALIGNMENT = tl.constexpr(16)  # bytes that a thread moves at once
# A thread has 4 neighbours of a block's 1024 weights, so that it moves ALIGNMENT bytes of each
# tensor. Where a block cannot be moved so, small blocks of a weight a thread take its place.
BLOCK_WORDS = tl.constexpr(32)
SMALL_WORDS = tl.constexpr(8)
BLOCK = tl.constexpr(BLOCK_WORDS.value * LANES.value)
SMALL = tl.constexpr(SMALL_WORDS.value * LANES.value)
CHUNK_BLOCKS = tl.constexpr(4)
CHUNK = tl.constexpr(CHUNK_BLOCKS.value * BLOCK.value)
# Programs of `add_squares` at most: several times what the largest GPUs run at once, so that no
# part of them idles for long at the end; and the same on all GPUs, since the order of a sum can
# change its last bit.
MAX_PROGRAMS = tl.constexpr(4096)


@triton.jit(do_not_specialize=["num_chunks", "chunks_per_program"])
def add_squares(
    rows: tl.tensor,
    chunks: tl.tensor,
    squares: tl.tensor,
    num_chunks: tl.tensor,
    chunks_per_program: tl.tensor,
) -> None:
    """Each program's sum of squares.

    In float64, in which no square of a float32 overflows, and whose rounding, in whatever order,
    the norm in float32 does not show. The kernel waits for memory all the same.
    """
    start = tl.program_id(0).to(tl.int64) * chunks_per_program
    total = tl.zeros([BLOCK_WORDS, LANES], tl.float64)
    for chunk in range(start, tl.minimum(start + chunks_per_program, num_chunks)):
        index, first = find_chunk(chunks, chunk, CHUNK)
        row = rows + index * NUM_COLUMNS
        numel = tl.load(row + NUMEL)
        is_full = (tl.load(row + IS_ALIGNED) != 0) & (first + CHUNK <= numel)
        if tl.load(row + ROUNDED) == 0:
            total = _add_chunk(total, row, first, numel, is_full, False)
        else:
            total = _add_chunk(total, row, first, numel, is_full, True)
    tl.store(squares + tl.program_id(0), tl.sum(total))


@triton.jit
def _add_chunk(
    total: tl.tensor,
    row: tl.tensor,
    first: tl.tensor,
    numel: tl.tensor,
    is_full: tl.tensor,
    HAS_ROUNDED: tl.constexpr,
) -> tl.tensor:
    if is_full:
        for block in tl.static_range(CHUNK_BLOCKS):
            total += _squares(row, first + block * BLOCK, True, HAS_ROUNDED)
    else:
        for block in range(first, tl.minimum(first + CHUNK, numel), BLOCK):
            total += _squares(row, block, False, HAS_ROUNDED)
    return total


@triton.jit
def _squares(
    row: tl.tensor, first: tl.tensor, FULL: tl.constexpr, HAS_ROUNDED: tl.constexpr
) -> tl.tensor:
    num_inside = count_inside(first, tl.load(row + NUMEL), BLOCK_WORDS)
    words = load_words(tl.load(row + MASK), first, num_inside, BLOCK_WORDS)
    moved = _moved(words, num_inside, BLOCK_WORDS, FULL)
    grad = _load_grad(row, first, moved, BLOCK_WORDS, FULL, HAS_ROUNDED).to(tl.float64)
    return tl.where(are_kept(words), grad * grad, 0.0)


@triton.jit(do_not_specialize=["num_rows", "num_squares"])
def prepare(
    rows: tl.tensor,
    squares: tl.tensor,
    coefficients: tl.tensor,
    norm: tl.tensor,
    grad_scale: tl.tensor,
    found_inf: tl.tensor,
    num_rows: tl.tensor,
    num_squares: tl.tensor,
) -> None:
    """Coefficients for ROWS_PER_PROGRAM tensors, and the norm, unless `norm` is None.

    They are computed in float64 and rounded once.
    """
    index = tl.program_id(0) * ROWS_PER_PROGRAM + tl.arange(0, ROWS_PER_PROGRAM)
    is_row = index < num_rows
    row = rows + index.to(tl.int64) * NUM_COLUMNS
    numbers = row.to(tl.pointer_type(tl.float64))

    multiplier = tl.full([ROWS_PER_PROGRAM], 1.0, tl.float64)
    if grad_scale is not None:
        multiplier /= tl.load(grad_scale).to(tl.float64)
    if norm is not None:
        program = tl.arange(0, MAX_PROGRAMS)
        total = tl.sqrt(tl.sum(tl.load(squares + program, mask=program < num_squares, other=0.0)))
        if grad_scale is not None:
            total /= tl.load(grad_scale).to(tl.float64)
        if tl.program_id(0) == 0:
            tl.store(norm, total.to(tl.float32))
        clip = tl.load(numbers + MAX_NORM, mask=is_row, other=1.0) / (total + 1e-6)
        zero_or_nan = total - total  # NaN when the norm is not finite
        multiplier *= tl.where(zero_or_nan == 0, tl.minimum(clip, 1.0), zero_or_nan)

    num_done = num_rows
    if found_inf is not None:
        num_done = tl.where(tl.load(found_inf) == 0, num_rows, 0)
    counter = tl.load(row + STEP, mask=is_row, other=0).to(tl.pointer_type(tl.float32))
    step = tl.load(counter, mask=is_row, other=0.0) + 1
    tl.store(counter, step, mask=index < num_done)

    lr32 = tl.load(row + LR_FLOAT32, mask=is_row, other=0)
    lr64 = tl.load(row + LR_FLOAT64, mask=is_row, other=0)
    lr = tl.load(numbers + LR, mask=is_row, other=0.0)
    lr += tl.load(lr32.to(tl.pointer_type(tl.float32)), mask=lr32 != 0, other=0.0).to(tl.float64)
    lr += tl.load(lr64.to(tl.pointer_type(tl.float64)), mask=lr64 != 0, other=0.0)
    beta1 = tl.load(numbers + BETA1, mask=is_row, other=0.0)
    beta2 = tl.load(numbers + BETA2, mask=is_row, other=0.0)
    eps = tl.load(numbers + EPS, mask=is_row, other=0.0)
    weight_decay = tl.load(numbers + WEIGHT_DECAY, mask=is_row, other=0.0)

    # In the order in which `_adamw_block` takes them.
    own = coefficients + index.to(tl.int64) * NUM_COEFFICIENTS
    tl.store(own, multiplier.to(tl.float32), mask=is_row)
    tl.store(own + 1, (1 - beta1).to(tl.float32), mask=is_row)
    tl.store(own + 2, beta2.to(tl.float32), mask=is_row)
    tl.store(own + 3, (1 - beta2).to(tl.float32), mask=is_row)
    tl.store(own + 4, (1 / tl.sqrt(1 - _power(beta2, step))).to(tl.float32), mask=is_row)
    tl.store(own + 5, eps.to(tl.float32), mask=is_row)
    tl.store(own + 6, (1 - lr * weight_decay).to(tl.float32), mask=is_row)
    tl.store(own + 7, (lr / (1 - _power(beta1, step))).to(tl.float32), mask=is_row)


@triton.jit
def _power(base: tl.tensor, exponent: tl.tensor) -> tl.tensor:
    """base ** exponent by repeated squaring in float64, for whole exponents below 2 ** 32.

    Its error grows with the exponent, but by then the power is small: of 8.8 million coefficients
    computed with it, of steps to 400,000 and betas from 0.5 to 0.99999, one was not the same
    float32 as with a power that has no error.
    """
    result = tl.full(base.shape, 1.0, tl.float64)
    left = exponent.to(tl.int64)
    for _ in range(32):
        result = tl.where((left & 1) == 1, result * base, result)
        base *= base
        left >>= 1
    return result


@triton.jit
def adamw(
    rows: tl.tensor,
    chunks: tl.tensor,
    coefficients: tl.tensor,
    found_inf: tl.tensor,
    ANY_ROUNDED: tl.constexpr,
) -> None:
    """The update of one block; CHUNK_BLOCKS programs share a chunk.

    Nothing changes if `found_inf` is not 0. Whether any tensor has rounded weights is known to the
    compiler, since they take registers.
    """
    program = tl.program_id(0).to(tl.int64)
    index, first = find_chunk(chunks, program // CHUNK_BLOCKS, CHUNK)
    first += program % CHUNK_BLOCKS * BLOCK
    row = rows + index * NUM_COLUMNS
    own = coefficients + index * NUM_COEFFICIENTS
    end = tl.minimum(first + BLOCK, tl.load(row + NUMEL))
    if found_inf is not None:
        end = tl.where(tl.load(found_inf) == 0, end, first)
    is_full = (tl.load(row + IS_ALIGNED) != 0) & (end - first == BLOCK)
    if ANY_ROUNDED:
        if tl.load(row + ROUNDED) != 0:
            _adamw_blocks(row, own, first, end, is_full, True)
        else:
            _adamw_blocks(row, own, first, end, is_full, False)
    else:
        _adamw_blocks(row, own, first, end, is_full, False)


@triton.jit
def _adamw_blocks(
    row: tl.tensor,
    own: tl.tensor,
    first: tl.tensor,
    end: tl.tensor,
    is_full: tl.tensor,
    HAS_ROUNDED: tl.constexpr,
) -> None:
    """One block, or small ones."""
    if is_full:
        _adamw_block(row, own, first, BLOCK_WORDS, True, HAS_ROUNDED)
    else:
        for small in range(first, end, SMALL):
            _adamw_block(row, own, small, SMALL_WORDS, False, HAS_ROUNDED)


@triton.jit
def _adamw_block(
    row: tl.tensor,
    own: tl.tensor,
    first: tl.tensor,
    WORDS: tl.constexpr,
    FULL: tl.constexpr,
    HAS_ROUNDED: tl.constexpr,
) -> None:
    num_inside = count_inside(first, tl.load(row + NUMEL), WORDS)
    weights = _pointers(row, WEIGHT, first, tl.float32, WORDS, FULL)
    exp_avgs = _pointers(row, EXP_AVG, first, tl.float32, WORDS, FULL)
    exp_avg_sqs = _pointers(row, EXP_AVG_SQ, first, tl.float32, WORDS, FULL)
    words = load_words(tl.load(row + MASK), first, num_inside, WORDS)
    keep, moved = are_kept(words), _moved(words, num_inside, WORDS, FULL)
    weight = tl.load(weights, mask=moved, other=0.0)
    grad = _load_grad(row, first, moved, WORDS, FULL, HAS_ROUNDED)
    exp_avg = tl.load(exp_avgs, mask=moved, other=0.0)
    exp_avg_sq = tl.load(exp_avg_sqs, mask=moved, other=0.0)

    # Coefficients are loaded where they are used, and what is pruned is put back at once: otherwise
    # registers become 48 or more of 40, and a GPU keeps 5 programs in flight on a multiprocessor
    # instead of 6.
    grad *= tl.load(own)
    new_avg = (grad - exp_avg) * tl.load(own + 1) + exp_avg
    exp_avg = tl.where(keep, new_avg, exp_avg)
    new_sq = exp_avg_sq * tl.load(own + 2) + grad * grad * tl.load(own + 3)
    exp_avg_sq = tl.where(keep, new_sq, exp_avg_sq)
    change = tl.div_rn(exp_avg, tl.sqrt_rn(exp_avg_sq) * tl.load(own + 4) + tl.load(own + 5))
    tl.store(exp_avgs, exp_avg, mask=moved)
    tl.store(exp_avg_sqs, exp_avg_sq, mask=moved)

    new_weight = weight * tl.load(own + 6) - change * tl.load(own + 7)
    weight = tl.where(keep, new_weight, weight)
    tl.store(weights, weight, mask=moved)
    if HAS_ROUNDED:
        rounded = _pointers(row, ROUNDED, first, tl.bfloat16, WORDS, FULL)
        tl.store(rounded, weight.to(tl.bfloat16), mask=moved)


@triton.jit
def _load_grad(
    row: tl.tensor,
    first: tl.tensor,
    moved: tl.tensor,
    WORDS: tl.constexpr,
    FULL: tl.constexpr,
    HAS_ROUNDED: tl.constexpr,
) -> tl.tensor:
    """A block of the gradient in float32, 0 where it is not moved."""
    if HAS_ROUNDED:
        halves = _pointers(row, GRAD, first, tl.bfloat16, WORDS, FULL)
        grad = tl.load(halves, mask=moved, other=0.0).to(tl.float32)
    else:
        floats = _pointers(row, GRAD, first, tl.float32, WORDS, FULL)
        grad = tl.load(floats, mask=moved, other=0.0)
    return grad


@triton.jit
def _pointers(
    row: tl.tensor,
    COLUMN: tl.constexpr,
    first: tl.tensor,
    DTYPE: tl.constexpr,
    WORDS: tl.constexpr,
    FULL: tl.constexpr,
) -> tl.tensor:
    """To a block of the tensor whose address is in this column, aligned if the block is FULL."""
    base = tl.load(row + COLUMN).to(tl.pointer_type(DTYPE))
    if FULL:
        base = tl.multiple_of(base, ALIGNMENT)  # without this every access is of one weight
    return base + first + block_offsets(WORDS)


@triton.jit
def _moved(
    words: tl.tensor, num_inside: tl.tensor, WORDS: tl.constexpr, FULL: tl.constexpr
) -> tl.tensor:
    """Which weights of a block are read and written, bool [WORDS, LANES]."""
    moved = are_moved(words)
    return moved if FULL else moved & (block_offsets(WORDS) < num_inside)


class Step:
    """Launches the step's kernels."""

    def __init__(self, launcher: Launcher):
        self._launcher = launcher
        self._rows, self._chunks = DeviceTable(launcher.device), DeviceTable(launcher.device)

    def __call__(self, tensors: Sequence[StepTensors], options: StepOptions) -> Tensor | None:
        """See `Kernels.step`.

        Raises:
            ValueError: lr is a tensor on another GPU, or of another dtype than float32 and float64.
            RuntimeError: see `DeviceTable.get`.
        """
        device, launch = self._launcher.device, self._launcher.launch
        max_norm = options.max_grad_norm
        if not tensors:
            return None if max_norm is None else torch.zeros((), device=device)
        on_host = _rows(tensors, max_norm, device)
        rows = self._rows.get(on_host.tobytes(), lambda: torch.from_numpy(on_host))
        sizes = [own.weight.numel() for own in tensors]
        chunks = self._chunks.get(sizes, lambda: list_chunks(sizes, CHUNK.value))

        # Torch gives this memory to later work on this stream only, so after these kernels.
        norm = None if max_norm is None else torch.empty((), device=device)
        coefficients = torch.empty((len(tensors), NUM_COEFFICIENTS.value), device=device)
        num_chunks = len(chunks)
        chunks_per_program = -(-num_chunks // MAX_PROGRAMS.value)
        num_programs = -(-num_chunks // max(chunks_per_program, 1))
        squares = torch.empty(num_programs, dtype=torch.float64, device=device)

        if norm is not None and num_chunks > 0:
            launch(add_squares, num_programs, rows, chunks, squares, num_chunks, chunks_per_program)
        launch(
            prepare,
            -(-len(tensors) // ROWS_PER_PROGRAM.value),
            *(rows, squares, coefficients, norm, options.grad_scale, options.found_inf),
            *(len(tensors), num_programs),
        )
        if num_chunks > 0:
            launch(
                adamw,
                num_chunks * CHUNK_BLOCKS.value,
                *(rows, chunks, coefficients, options.found_inf),
                ANY_ROUNDED=any(own.rounded is not None for own in tensors),
            )
        return norm


def _rows(
    tensors: Sequence[StepTensors], max_grad_norm: float | None, device: torch.device
) -> np.ndarray:
    """The table `rows`, made column by column, since it is made at every step."""
    rows = np.zeros((len(tensors), NUM_COLUMNS.value), np.int64)
    numbers = rows.view(np.float64)
    for column, addressed in (
        (WEIGHT, [own.weight for own in tensors]),
        (GRAD, [own.grad for own in tensors]),
        (EXP_AVG, [own.exp_avg for own in tensors]),
        (EXP_AVG_SQ, [own.exp_avg_sq for own in tensors]),
        (STEP, [own.step for own in tensors]),
    ):
        rows[:, column.value] = [tensor.data_ptr() for tensor in addressed]
    for column, optional in (
        (MASK, [own.mask for own in tensors]),
        (ROUNDED, [own.rounded for own in tensors]),
    ):
        rows[:, column.value] = [0 if tensor is None else tensor.data_ptr() for tensor in optional]
    rows[:, NUMEL.value] = [own.weight.numel() for own in tensors]
    moved = rows[:, [WEIGHT.value, GRAD.value, EXP_AVG.value, EXP_AVG_SQ.value, ROUNDED.value]]
    rows[:, IS_ALIGNED.value] = (moved % ALIGNMENT.value == 0).all(axis=1)
    lrs = [_lr(own.lr, device) for own in tensors]
    numbers[:, LR.value] = [lr for lr, _, _ in lrs]
    rows[:, LR_FLOAT32.value] = [address for _, address, _ in lrs]
    rows[:, LR_FLOAT64.value] = [address for _, _, address in lrs]
    numbers[:, BETA1.value] = [own.beta1 for own in tensors]
    numbers[:, BETA2.value] = [own.beta2 for own in tensors]
    numbers[:, EPS.value] = [own.eps for own in tensors]
    numbers[:, WEIGHT_DECAY.value] = [own.weight_decay for own in tensors]
    numbers[:, MAX_NORM.value] = 1.0 if max_grad_norm is None else max_grad_norm
    return rows


def _lr(lr: float | Tensor, device: torch.device) -> tuple[float, int, int]:
    """Its value and no address, or no value and its address as a float32 or a float64."""
    if not isinstance(lr, Tensor):
        return lr, 0, 0
    if lr.device == device and lr.dtype == torch.float32:
        return 0.0, lr.data_ptr(), 0
    if lr.device == device and lr.dtype == torch.float64:
        return 0.0, 0, lr.data_ptr()
    if lr.device.type == "cpu":
        return float(lr), 0, 0
    raise ValueError(
        f"lr: a tensor of {lr.dtype} on {lr.device}, with weights on {device}; give a float, or a "
        "tensor of float32 or float64 on the weights' device"
    )
