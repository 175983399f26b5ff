"""A trained weight as its difference to the one that it was trained from, exact to the bit.

Floats are compared as whole numbers, so -0 is not 0, and NaN is itself. The forms that a weight may
have, and their parts, are described in `workers.model.kept_model`.
"""

import numpy as np
import torch
from torch import Tensor

NUM_ROWS_SEEN = 64
"""Rows that are looked at before all are compared."""

BLOCK = 1 << 17
"""Values that are looked at before the next ones, a multiple of 8: so what is found of them stays
in the CPU's cache. For whole matrices, to get memory for it takes longer than all else."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes: equal ones are equal bits, whatever floats these are."""


def difference(value: Tensor, base: Tensor | None) -> tuple[str, dict[str, Tensor]]:
    """The form of a weight that takes least room, and the tensors that it consists of."""
    bits = value.view(_BITS[value.element_size()]).numpy()
    if base is not None and (base.shape, base.dtype) != (value.shape, value.dtype):
        base = None
    size, width = value.element_size(), value.shape[-1] if value.ndim else 1
    num_kept, size_of_bits = int(np.count_nonzero(bits)), -(-value.numel() // 8)
    room = {"whole": value.numel() * size, "kept": size_of_bits + num_kept * size}
    rows: dict[str, np.ndarray] = {}
    old = None if base is None else base.detach().cpu().contiguous().view(_BITS[size]).numpy()
    if old is not None and _may_share_rows(bits, old):
        if value.ndim != 2:
            if np.array_equal(bits, old):
                return "base", {}
        else:
            rows["rows"], trained, num_values = _changed_rows(bits, old)
            if not len(rows["rows"]):
                return "base", {}
            room["rows"] = len(rows["rows"]) * (4 + width * size)
            if num_kept < value.numel():
                rows["kept_rows"] = trained
                room["kept_rows"] = size_of_bits + 4 * len(trained) + num_values * size
    form = min(room, key=lambda form: room[form])
    parts: dict[str, np.ndarray] = {}
    flat = bits.reshape(-1)
    if form in ("kept", "kept_rows"):
        parts["bits"] = _bits_of(flat)
    if form in rows:
        parts["rows"] = rows[form].astype(np.int32)
        flat = bits[rows[form]].reshape(-1)
    parts["values"] = _not_zero(flat) if "bits" in parts else flat
    tensors = {part: torch.from_numpy(array) for part, array in parts.items()}
    tensors["values"] = tensors["values"].view(value.dtype)
    return form, tensors


def _changed_rows(bits: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Of two matrices: rows that differ; those in which a value differs that is not zero; and how
    many values of the latter are not zero."""
    num_rows = max(1, BLOCK // max(1, bits.shape[1]))
    changed, trained, num_values = [], [], 0
    for start in range(0, len(bits), num_rows):
        block, before = bits[start : start + num_rows], old[start : start + num_rows]
        differing = (_words(block) != _words(before)).any(1).nonzero()[0]
        if not len(differing):
            continue
        block, before = block[differing], before[differing]
        is_trained = ((block != before) & (block != 0)).any(1)
        num_values += int(np.count_nonzero(block[is_trained]))
        changed.append(start + differing)
        trained.append(start + differing[is_trained])
    none = np.empty(0, np.int64)
    return np.concatenate([none, *changed]), np.concatenate([none, *trained]), num_values


def _words(rows: np.ndarray) -> np.ndarray:
    """The same bits in as few whole numbers as can be: fewer to compare."""
    fits = rows.flags.c_contiguous and rows.shape[1] * rows.itemsize % 8 == 0
    return rows.view(np.int64) if fits else rows


def _bits_of(flat: np.ndarray) -> np.ndarray:
    """A bit for each value, set where it is not zero, from the lowest of each byte on."""
    packed = np.empty(-(-len(flat) // 8), np.uint8)
    for start in range(0, len(flat), BLOCK):
        is_kept = flat[start : start + BLOCK] != 0
        packed[start // 8 : (start + BLOCK) // 8] = np.packbits(is_kept, bitorder="little")
    return packed


def _not_zero(flat: np.ndarray) -> np.ndarray:
    """The values that are not zero, in their order.

    By their places: NumPy picks values by a mask in four times the time, where half are zero.
    """
    values = np.empty(np.count_nonzero(flat), flat.dtype)
    end = 0
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        places = (block != 0).nonzero()[0]
        begin, end = end, end + len(places)
        block.take(places, out=values[begin:end], mode="clip")  # other modes copy first
    return values


def _may_share_rows(bits: np.ndarray, old: np.ndarray) -> bool:
    """Whether a weight may have rows in common with its base: a look at some of them, evenly
    spread, since most matrices have none, and to compare all of them takes longest."""
    if bits.ndim != 2 or not len(bits):
        return True
    some = np.unique(np.linspace(0, len(bits) - 1, NUM_ROWS_SEEN).astype(np.int64))
    trained = (bits[some] != old[some]) & (bits[some] != 0)
    return not trained.any(1).all()


def restored(
    form: str, dtype: torch.dtype, shape: list[int], parts: dict[str, Tensor], base: Tensor | None
) -> Tensor:
    """The weight that `difference` was given.

    Raises:
        KeyError, ValueError: the parts do not fit together.
    """
    if form == "base":
        assert base is not None
        return base
    values = parts["values"].view(_BITS[parts["values"].element_size()]).numpy()
    if form == "whole":
        return parts["values"].reshape(shape)
    num_weights = int(np.prod(shape))
    is_kept = None
    if "bits" in parts:
        flat = np.unpackbits(parts["bits"].numpy(), count=num_weights, bitorder="little")
        is_kept = flat.view(bool).reshape(shape)
    if form == "kept":
        assert is_kept is not None
        whole = np.zeros(shape, values.dtype)
        whole[is_kept] = values
    else:
        assert base is not None
        whole = base.contiguous().view(_BITS[base.element_size()]).numpy().copy()
        rows = parts["rows"].numpy()
        if is_kept is None:
            whole[rows] = values.reshape(len(rows), shape[-1])
        else:
            whole[~is_kept] = 0
            of_rows = np.zeros((len(rows), shape[-1]), values.dtype)
            of_rows[is_kept[rows]] = values
            whole[rows] = of_rows
    return torch.from_numpy(whole).view(dtype)
