"""Loops over weights that Numba compiles; `numba_cpu` calls them.

    table (T, 7) int64: a row a tensor, addresses and a number, see the columns below
    chunks (C, 3) int64: tensor, its first word in the chunk, and the one after the last
    taken (1,) int64: how many of the chunks threads have taken; each takes the next when it is done

Loops run word by word with 32 lanes inside, which LLVM turns into vector instructions whose
predicates are the mask's bits themselves. Threads share the chunks: those of the step take what is
next, since chunks do not all take the same time; those of the search, which counts in order, do the
chunks from `first` to `last`.
"""

# mypy: disable-error-code="no-untyped-def,call-arg,var-annotated"
# Numba infers the types of what it compiles.

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from workers.kernels.packed import WORD_BITS

ALL_LANES = np.uint32(0xFFFFFFFF)
LOW_HALF, HIGH_HALF = np.uint32(0x0000FFFF), np.uint32(0xFFFF0000)
MAGNITUDE = np.int32(0x7FFFFFFF)
ZERO, ONE = np.float32(0), np.uint32(1)

# NumPy's division does not raise, so loops with a division can be vectorised. No fast-math: bits
# are those of PyTorch.
_uncached = numba.njit(nogil=True, error_model="numpy")
_cached = numba.njit(nogil=True, error_model="numpy", cache=True)
inlined = numba.njit(nogil=True, error_model="numpy", forceinline=True)


def compiled(function: Any) -> Any:
    """Compile on the first call, and keep the machine code beside this file or in the user's cache
    folder: that takes seconds, and each process that trains would do it again.

    What is kept is compiled anew when this file has changed, on another kind of CPU, and by another
    Numba.
    """
    try:
        return _cached(function)
    except RuntimeError:  # neither folder can be written to
        return _uncached(function)


@intrinsic
def where(typingctx: Any, condition: Any, value: Any, other: Any) -> Any:
    """Select without a branch.

    From a branch LLVM makes masked loads, which cost 1.4 times the whole step.
    """
    signature = value(types.boolean, value, value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return signature, codegen


@intrinsic
def first_bit(typingctx: Any, word: Any) -> Any:
    """Index of the lowest bit that is 1."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, 1))

    return types.uint32(types.uint32), codegen


@intrinsic
def num_bits(typingctx: Any, word: Any) -> Any:
    """How many bits are 1."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint32(types.uint32), codegen


def _pointer_to(dtype: Any) -> Any:
    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        signature = types.CPointer(dtype)(types.int64)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return signature, codegen

    return pointer


def _filled(builder: Any, value: Any, lanes: int = WORD_BITS) -> Any:
    """LLVM's vector of so many lanes, each with this value."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    indices = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(
        builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, indices
    )


@intrinsic
def as_float(typingctx: Any, value: Any) -> Any:
    """A float32 as it is; a bfloat16, which comes as uint16, as the float32 of the same value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if value == types.float32:
            return args[0]
        high = builder.shl(builder.zext(args[0], ir.IntType(32)), ir.IntType(32)(16))
        return builder.bitcast(high, ir.FloatType())

    return types.float32(value), codegen


@intrinsic
def as_bfloat16(typingctx: Any, value: Any) -> Any:
    """The nearest bfloat16 of a float32, ties to even, as uint16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _one_rounded(builder, args[0])

    return types.uint16(types.float32), codegen


@intrinsic
def as_stored(typingctx: Any, value: Any, like: Any) -> Any:
    """A float32 in the type of `like`: as it is, or as `as_bfloat16` makes it where that is
    uint16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if like == types.float32:
            return args[0]
        return _one_rounded(builder, args[0])

    return like(types.float32, like), codegen


def _one_rounded(builder: Any, value: Any) -> Any:
    return _rounded(builder, value, lambda number: ir.IntType(32)(number), ir.IntType(16))


def _rounded(builder: Any, value: Any, constant: Any, result: Any) -> Any:
    """LLVM's float32, or a vector of them, to bfloat16.

    Args:
        value: what is rounded.
        constant: makes an int32 of such a shape from a number.
        result: LLVM's type of 16-bit integers of such a shape.
    """
    zero = constant(0)
    bits = builder.bitcast(value, zero.type)
    is_odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    nearest = builder.add(bits, builder.add(is_odd, constant(0x7FFF)))
    # Adding to NaN's bits could make them those of infinity, or of 0.
    is_nan = builder.fcmp_unordered("uno", value, value)
    kept = builder.select(is_nan, builder.or_(bits, constant(1 << 22)), nearest)
    return builder.trunc(builder.lshr(kept, constant(16)), result)


_floats = _pointer_to(types.float32)
_halves = _pointer_to(types.uint16)
_ints = _pointer_to(types.int32)
_words = _pointer_to(types.uint32)


@inlined
def _has_bit(word, lane):
    return (word >> np.uint32(lane)) & ONE != np.uint32(0)


@inlined
def _all_lanes(lanes):
    """The lowest bits, so many."""
    return ALL_LANES >> np.uint32(WORD_BITS - lanes)


# --- the step -------------------------------------------------------------------------------------

# Columns of a table: addresses, and a number.
WEIGHT, GRAD, EXP_AVG, EXP_AVG_SQ, MASK, ROUNDED, NUM_WEIGHTS = range(7)
# Columns of the coefficients.
LR_DECAY, ONE_BETA1, BETA2, ONE_BETA2, STEP_SIZE, CORRECTION, EPS = range(7)


# A line of a processor's cache holds half the weights of a word.
LINE_WEIGHTS = WORD_BITS // 2


@intrinsic
def take_chunk(typingctx: Any, address: Any) -> Any:
    """The number at an address, which is one more for whoever asks next."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(64)
        pointer = builder.inttoptr(args[0], number.as_pointer())
        return builder.atomic_rmw("add", pointer, number(1), "monotonic")

    return types.int64(types.int64), codegen


@inlined
def _is_sparse(mask, word, end):
    """Whether so few of these words' lines have a kept weight that leaving out the others pays.

    Memory is read ahead line after line, and gaps stop that: with every fourth line left, at
    random, a step took longer than with all of them, with every seventh four fifths of the time.
    """
    found = np.int64(0)
    for w in range(word, end):
        keep = mask[np.uint64(w)]
        found += np.int64((keep & LOW_HALF) != 0) + np.int64((keep & HIGH_HALF) != 0)
    return 6 * found < 2 * (end - word)


@compiled
def sum_squares(table, chunks, taken, sums):
    """Sum of squares of the kept gradient entries of each chunk, into sums (C,) float64.

    32 sums are made beside one another and then added up, so that the order is the same always.
    """
    lanes = np.empty(WORD_BITS, np.float64)  # in which no square of a float32 overflows
    while True:
        chunk = take_chunk(taken.ctypes.data)
        if chunk >= len(chunks):
            return
        tensor, word, end = chunks[chunk]
        size = table[tensor, NUM_WEIGHTS]
        mask = numba.carray(_words(table[tensor, MASK]), num_words(size))
        is_masked = table[tensor, MASK] != 0
        lanes[:] = 0.0
        if table[tensor, ROUNDED] == 0:
            grad = numba.carray(_floats(table[tensor, GRAD]), size)
            _add_squares(grad, mask, is_masked, word, end, lanes)
        else:
            halves = numba.carray(_halves(table[tensor, GRAD]), size)
            _add_squares(halves, mask, is_masked, word, end, lanes)
        total = 0.0
        for lane in range(WORD_BITS):
            total += lanes[lane]
        sums[chunk] = total


@inlined
def _add_squares(grad, mask, is_masked, word, end, lanes):
    """Of these words, to the sum of each lane."""
    size = len(grad)
    is_sparse = is_masked and _is_sparse(mask, word, end)
    for w in range(word, min(end, size // WORD_BITS)):
        keep = mask[w] if is_masked else ALL_LANES
        if is_sparse and keep == 0:
            continue
        for lane in range(WORD_BITS):
            value = np.float64(as_float(grad[np.uint64(w * WORD_BITS + lane)]))
            lanes[lane] += where(_has_bit(keep, lane), value * value, 0.0)
    if end * WORD_BITS > size:
        keep = mask[end - 1] if is_masked else ALL_LANES
        for lane in range(size % WORD_BITS):
            value = np.float64(as_float(grad[np.uint64(size // WORD_BITS * WORD_BITS + lane)]))
            lanes[lane] += where(_has_bit(keep, lane), value * value, 0.0)


@compiled
def num_words(size):
    """As `packed.num_words`, compiled."""
    return (size + WORD_BITS - 1) // WORD_BITS


@intrinsic
def _adamw_line(
    typingctx: Any,
    weight: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    rounded: Any,
    keep: Any,
    c: Any,
    multiplier: Any,
) -> Any:
    """The step of a line; the first five arguments are addresses, the fifth None where there are no
    rounded weights.

    Written in LLVM's vectors because its loop vectorizer asks at every word whether the tensors
    overlap, which takes a quarter more time where memory is fast.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at_weight, at_grad, at_m, at_v, at_rounded, keep, c, multiplier = args
        vector = ir.VectorType(ir.FloatType(), LINE_WEIGHTS)
        integers = ir.VectorType(ir.IntType(32), LINE_WEIGHTS)
        halves = ir.VectorType(ir.IntType(16), LINE_WEIGHTS)

        def integer(number: int) -> Any:
            return _filled(builder, ir.IntType(32)(number), LINE_WEIGHTS)

        pointers = [
            builder.inttoptr(address, vector.as_pointer()) for address in (at_weight, at_m, at_v)
        ]
        weight, old_m, old_v = (builder.load(pointer, align=4) for pointer in pointers)
        if rounded == types.none:
            grad = builder.load(builder.inttoptr(at_grad, vector.as_pointer()), align=4)
        else:
            half = builder.load(builder.inttoptr(at_grad, halves.as_pointer()), align=2)
            grad = builder.bitcast(builder.shl(builder.zext(half, integers), integer(16)), vector)

        coefficient = [
            _filled(builder, builder.extract_value(c, column), LINE_WEIGHTS)
            for column in range(EPS + 1)
        ]
        function = ir.FunctionType(vector, [vector])
        root = cgutils.get_or_insert_function(
            builder.module, function, f"llvm.sqrt.v{LINE_WEIGHTS}f32"
        )
        add, subtract, times = builder.fadd, builder.fsub, builder.fmul

        g = times(grad, _filled(builder, multiplier, LINE_WEIGHTS))
        m = add(old_m, times(subtract(g, old_m), coefficient[ONE_BETA1]))
        v = add(times(old_v, coefficient[BETA2]), times(times(g, g), coefficient[ONE_BETA2]))
        below = add(times(builder.call(root, [v]), coefficient[CORRECTION]), coefficient[EPS])
        change = times(builder.fdiv(m, below), coefficient[STEP_SIZE])
        w = subtract(times(weight, coefficient[LR_DECAY]), change)

        is_kept = builder.bitcast(keep, ir.VectorType(ir.IntType(1), LINE_WEIGHTS))
        w, m, v = (
            builder.select(is_kept, new, old) for new, old in ((w, weight), (m, old_m), (v, old_v))
        )
        for pointer, value in zip(pointers, (w, m, v), strict=True):
            builder.store(value, pointer, align=4)
        if rounded != types.none:
            pointer = builder.inttoptr(at_rounded, halves.as_pointer())
            old = builder.load(pointer, align=2)
            new = _rounded(builder, w, integer, halves)
            builder.store(builder.select(is_kept, new, old), pointer, align=2)
        return context.get_dummy_value()

    address, number = types.int64, types.float32
    coefficients = types.UniTuple(number, EPS + 1)
    given = (address, address, address, address, rounded, types.uint16, coefficients, number)
    return types.void(*given), codegen


@inlined
def _adamw_lanes(weight, grad, exp_avg, exp_avg_sq, rounded, start, lanes, keep, c, multiplier):
    """The step of a tensor's last word, which may have fewer lanes."""
    for lane in range(lanes):
        i = np.uint64(start) + np.uint64(lane)  # unsigned, or a negative index might be meant
        is_kept = _has_bit(keep, lane)
        g = as_float(grad[i]) * multiplier
        old_m, old_v = exp_avg[i], exp_avg_sq[i]
        m = old_m + (g - old_m) * c[ONE_BETA1]
        v = old_v * c[BETA2] + g * g * c[ONE_BETA2]
        w = weight[i] * c[LR_DECAY] - m / (np.sqrt(v) * c[CORRECTION] + c[EPS]) * c[STEP_SIZE]
        weight[i] = where(is_kept, w, weight[i])
        exp_avg[i] = where(is_kept, m, old_m)
        exp_avg_sq[i] = where(is_kept, v, old_v)
        if rounded is not None:
            rounded[i] = where(is_kept, as_bfloat16(w), rounded[i])


@compiled
def adamw(table, coefficients, chunks, taken, multiplier):
    """The step as `Kernels.step` defines it; coefficients (T, 7) float32."""
    while True:
        chunk = take_chunk(taken.ctypes.data)
        if chunk >= len(chunks):
            return
        tensor, word, end = chunks[chunk]
        size = table[tensor, NUM_WEIGHTS]
        weight = numba.carray(_floats(table[tensor, WEIGHT]), size)
        exp_avg = numba.carray(_floats(table[tensor, EXP_AVG]), size)
        exp_avg_sq = numba.carray(_floats(table[tensor, EXP_AVG_SQ]), size)
        mask = numba.carray(_words(table[tensor, MASK]), num_words(size))
        is_masked, is_rounded = table[tensor, MASK] != 0, table[tensor, ROUNDED] != 0
        r = coefficients[tensor]
        c = (r[0], r[1], r[2], r[3], r[4], r[5], r[6])
        is_sparse = is_masked and _is_sparse(mask, word, end)
        for w in range(word, min(end, size // WORD_BITS)):
            keep = mask[np.uint64(w)] if is_masked else ALL_LANES
            for half in range(2):
                kept = np.uint16(keep >> np.uint32(half * LINE_WEIGHTS))
                if is_sparse and kept == 0:
                    continue
                first = WORD_BITS * w + LINE_WEIGHTS * half
                at_weight = table[tensor, WEIGHT] + 4 * first
                at_m = table[tensor, EXP_AVG] + 4 * first
                at_v = table[tensor, EXP_AVG_SQ] + 4 * first
                at_grad = table[tensor, GRAD]
                if is_rounded:
                    at = table[tensor, ROUNDED] + 2 * first
                    at_grad += 2 * first
                    _adamw_line(at_weight, at_grad, at_m, at_v, at, kept, c, multiplier)
                else:
                    at_grad += 4 * first
                    _adamw_line(at_weight, at_grad, at_m, at_v, None, kept, c, multiplier)
        if end * WORD_BITS > size:
            keep = mask[end - 1] if is_masked else ALL_LANES
            start = size // WORD_BITS * WORD_BITS
            lanes = size - start
            if is_rounded:
                grad = numba.carray(_halves(table[tensor, GRAD]), size)
                rounded = numba.carray(_halves(table[tensor, ROUNDED]), size)
                _adamw_lanes(
                    weight, grad, exp_avg, exp_avg_sq, rounded, start, lanes, keep, c, multiplier
                )
            else:
                floats = numba.carray(_floats(table[tensor, GRAD]), size)
                _adamw_lanes(
                    weight, floats, exp_avg, exp_avg_sq, None, start, lanes, keep, c, multiplier
                )


# --- the search for the k-th magnitude ------------------------------------------------------------


@intrinsic
def _lanes_within(typingctx: Any, weights: Any, frozen: Any, mask: Any, low: Any, span: Any) -> Any:
    """Which of a word's 32 keys lie from `low` to `low + span`, as bits.

    The first two arguments are addresses.

    Written in LLVM's vectors because its loop vectorizer unrolls the loop that says the same, to a
    tenth of the speed.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weights, frozen, mask, low, span = args
        bit, integer = ir.IntType(1), ir.IntType(32)
        vector = ir.VectorType(integer, WORD_BITS)

        def loaded(address: Any) -> Any:
            return builder.load(builder.inttoptr(address, vector.as_pointer()), align=4, typ=vector)

        is_kept = builder.bitcast(mask, ir.VectorType(bit, WORD_BITS))
        bits = builder.select(is_kept, loaded(weights), loaded(frozen))
        keys = builder.and_(bits, _filled(builder, integer(int(MAGNITUDE))))
        is_within = builder.icmp_unsigned(
            "<=", builder.sub(keys, _filled(builder, low)), _filled(builder, span)
        )
        return builder.bitcast(is_within, integer)

    return types.uint32(types.int64, types.int64, types.uint32, types.int32, types.int32), codegen


@inlined
def _key(weight, frozen, i, is_kept):
    """Bits of a magnitude: ordered as it is."""
    return where(is_kept, weight[np.uint64(i)], frozen[np.uint64(i)]) & MAGNITUDE


@inlined
def _keys_within(weight, frozen, start, lanes, mask, low, span):
    """The same as `_lanes_within` for the first `lanes` of a word, whatever there are."""
    if lanes == WORD_BITS:
        return _lanes_within(
            weight.ctypes.data + 4 * start, frozen.ctypes.data + 4 * start, mask, low, span
        )
    within = np.uint32(0)
    for lane in range(lanes):
        above = _key(weight, frozen, start + lane, _has_bit(mask, lane)) - low
        if np.int32(0) <= above <= span:
            within |= ONE << np.uint32(lane)
    return within


@compiled
def count_digits(table, chunks, first, last, is_shadow, prefix, shift, bits, counts):
    """Histogram of a digit over the candidates whose higher digits are `prefix`.

    Two histograms take turns, so that an increment need not wait for the one before.
    """
    digit = np.int32((1 << bits) - 1)
    is_filtered = shift + bits < 31
    low = np.int32(prefix << (shift + bits)) if is_filtered else np.int32(0)
    span = np.int32((1 << (shift + bits)) - 1) if is_filtered else MAGNITUDE
    for chunk in range(first, last):
        tensor, word, end = chunks[chunk]
        size = table[tensor, NUM_WEIGHTS]
        weight = numba.carray(_ints(table[tensor, WEIGHT]), size)
        frozen = numba.carray(_ints(table[tensor, EXP_AVG if is_shadow else WEIGHT]), size)
        mask = numba.carray(_words(table[tensor, MASK]), num_words(size))
        for w in range(word, end):
            start = w * WORD_BITS
            lanes = min(WORD_BITS, size - start)
            candidates = _all_lanes(lanes) if is_shadow else mask[w]
            if candidates != 0 and is_filtered:
                candidates &= _keys_within(weight, frozen, start, lanes, mask[w], low, span)
            while candidates != 0:
                lane = first_bit(candidates)
                candidates &= candidates - ONE
                key = _key(weight, frozen, start + lane, _has_bit(mask[w], lane))
                counts[lane & ONE, (key >> shift) & digit] += 1


@compiled
def write_masks(table, chunks, first, last, is_shadow, threshold, rank, num_ties):
    """Prune the candidates below `threshold`, and the first `num_ties` of those at it.

    Of the latter `rank` lie before the chunk `first`.
    """
    for chunk in range(first, last):
        tensor, word, end = chunks[chunk]
        size = table[tensor, NUM_WEIGHTS]
        weight = numba.carray(_floats(table[tensor, WEIGHT]), size)
        exp_avg = numba.carray(_floats(table[tensor, EXP_AVG]), size)
        exp_avg_sq = numba.carray(_floats(table[tensor, EXP_AVG_SQ]), size)
        keys = numba.carray(_ints(table[tensor, WEIGHT]), size)
        frozen = numba.carray(_ints(table[tensor, EXP_AVG if is_shadow else WEIGHT]), size)
        mask = numba.carray(_words(table[tensor, MASK]), num_words(size))
        for w in range(word, end):
            start = w * WORD_BITS
            lanes = min(WORD_BITS, size - start)
            old = mask[w]
            candidates = _all_lanes(lanes) if is_shadow else old
            pruned = np.uint32(0)
            if threshold > 0:
                pruned = _keys_within(
                    keys, frozen, start, lanes, old, np.int32(0), np.int32(threshold - 1)
                )
            ties = (
                _keys_within(keys, frozen, start, lanes, old, np.int32(threshold), np.int32(0))
                & candidates
            )
            while ties != 0 and rank < num_ties:
                pruned |= ties & -ties
                ties &= ties - ONE
                rank += 1
            rank += num_bits(ties)
            new = candidates & ~pruned
            non_zero = ~_keys_within(keys, keys, start, lanes, old, np.int32(0), np.int32(0))
            # Nothing is new here, nor did others write to a pruned weight.
            if new == old and non_zero & ~old & _all_lanes(lanes) == 0:
                continue
            mask[w] = new
            if lanes == WORD_BITS:
                _apply_lanes(weight, exp_avg, exp_avg_sq, start, WORD_BITS, old, new, is_shadow)
            else:
                _apply_lanes(weight, exp_avg, exp_avg_sq, start, lanes, old, new, is_shadow)


@inlined
def _apply_lanes(weight, exp_avg, exp_avg_sq, start, lanes, old, new, is_shadow):
    """What a changed word means for weights and moments, see `Kernels.update_masks`."""
    for lane in range(lanes):
        i = np.uint64(start) + np.uint64(lane)  # unsigned, or a negative index might be meant
        was_kept, is_kept = _has_bit(old, lane), _has_bit(new, lane)
        stays_kept = was_kept & is_kept
        dense = where(was_kept | (not is_shadow), weight[i], exp_avg[i])
        frozen = where(is_shadow & (not is_kept), dense, ZERO)
        weight[i] = where(is_kept, dense, ZERO)
        exp_avg[i] = where(stays_kept, exp_avg[i], frozen)
        exp_avg_sq[i] = where(is_kept | is_shadow, exp_avg_sq[i], ZERO)


@compiled
def count_within(table, chunks, first, last, is_shadow, low, span):
    """Candidates whose key lies from `low` to `low + span`."""
    total = 0
    for chunk in range(first, last):
        tensor, word, end = chunks[chunk]
        size = table[tensor, NUM_WEIGHTS]
        weight = numba.carray(_ints(table[tensor, WEIGHT]), size)
        frozen = numba.carray(_ints(table[tensor, EXP_AVG if is_shadow else WEIGHT]), size)
        mask = numba.carray(_words(table[tensor, MASK]), num_words(size))
        for w in range(word, end):
            lanes = min(WORD_BITS, size - w * WORD_BITS)
            candidates = _all_lanes(lanes) if is_shadow else mask[w]
            within = _keys_within(
                weight, frozen, w * WORD_BITS, lanes, mask[w], np.int32(low), np.int32(span)
            )
            total += num_bits(within & candidates)
    return total
