"""A trained weight as its difference to the one that it was trained from, exact to the bit.

Floats are compared as whole numbers, so -0 is not 0, and NaN is itself. The forms that a weight may
have, and their parts, are described in `workers.model.kept_model`.
"""

import numpy as np
import torch
from torch import Tensor

NUM_ROWS_SEEN = 64
"""Rows that are looked at before all are compared."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes: equal ones are equal bits, whatever floats these are."""


def difference(value: Tensor, base: Tensor | None) -> tuple[str, dict[str, Tensor]]:
    """The form of a weight that takes least room, and the tensors that it consists of."""
    bits = value.view(_BITS[value.element_size()]).numpy()
    if base is not None and (base.shape, base.dtype) != (value.shape, value.dtype):
        base = None
    is_kept = bits != 0
    size, width = value.element_size(), value.shape[-1] if value.ndim else 1
    num_kept = int(np.count_nonzero(is_kept))
    room = {"whole": value.numel() * size, "kept": -(-value.numel() // 8) + num_kept * size}
    rows: dict[str, np.ndarray] = {}
    old = None if base is None else base.detach().cpu().contiguous().view(_BITS[size]).numpy()
    if old is not None and _may_share_rows(bits, old):
        differs = bits != old
        if value.ndim != 2:
            if not differs.any():
                return "base", {}
        else:
            rows["rows"] = differs.any(1).nonzero()[0]
            if not len(rows["rows"]):
                return "base", {}
            room["rows"] = len(rows["rows"]) * (4 + width * size)
            if num_kept < value.numel():
                rows["kept_rows"] = (differs & is_kept).any(1).nonzero()[0]
                num_values = int(np.count_nonzero(is_kept[rows["kept_rows"]]))
                room["kept_rows"] = (
                    -(-value.numel() // 8) + 4 * len(rows["kept_rows"]) + num_values * size
                )
    form = min(room, key=lambda form: room[form])
    parts: dict[str, np.ndarray] = {}
    if form in ("kept", "kept_rows"):
        parts["bits"] = np.packbits(is_kept.reshape(-1), bitorder="little")
    if form in rows:
        parts["rows"] = rows[form].astype(np.int32)
        bits, is_kept = bits[rows[form]], is_kept[rows[form]]
    parts["values"] = bits[is_kept] if "bits" in parts else bits.reshape(-1)
    tensors = {part: torch.from_numpy(array) for part, array in parts.items()}
    tensors["values"] = tensors["values"].view(value.dtype)
    return form, tensors


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
