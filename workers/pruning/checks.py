"""What `MaskedAdamW` refuses, and what it says: options, parameters, gradients, scores, states.

Kernels are given addresses of memory, so what does not fit must not come to them. A check raises or
does nothing.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from workers.kernels.interface import Semantics
from workers.kernels.packed import WORD_BITS, num_words

MASK = "mask"
"""Name of the packed mask in a parameter's state."""

SEMANTICS: tuple[Semantics, ...] = ("hard", "dense_shadow")


def check_optimizer_options(max_grad_norm: float | None, semantics: str) -> None:
    """Check the options that hold for all groups.

    Raises:
        ValueError: the norm is not above 0, or there are no such semantics.
    """
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(
            f"max_grad_norm: {max_grad_norm} is not above 0; give a norm, or None for no clipping"
        )
    if semantics not in SEMANTICS:
        raise ValueError(
            f"semantics: {semantics!r} is unknown; there are {' and '.join(SEMANTICS)}"
        )


def check_group_options(group: dict[str, Any], semantics: Semantics) -> None:
    """Check the options of one parameter group, which has them all.

    Raises:
        ValueError: one is out of its range, or the group's semantics are not the optimizer's.
    """
    lr, eps, weight_decay = group["lr"], group["eps"], group["weight_decay"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(
            f"lr: a tensor of {lr.numel()} elements; give a float or a tensor of 1 element"
        )
    if not isinstance(lr, Tensor) and not lr >= 0:
        raise ValueError(f"lr: {lr} is below 0; give a learning rate from 0 on")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(
            f"betas: {group['betas']} are not both in [0, 1); give two rates like (0.9, 0.999)"
        )
    if not eps > 0:
        raise ValueError(
            f"eps: {eps} is not above 0, and a weight whose moments are 0 would become 0 / 0; "
            "give a small number like 1e-8"
        )
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay: {weight_decay} is below 0; give 0 for no decay, or more")
    if group["semantics"] != semantics:
        raise ValueError(
            f"semantics: {group['semantics']} in one group and {semantics} in the optimizer; "
            "give it once"
        )


def check_parameter(parameter: Tensor, device: torch.device) -> None:
    """Check that the kernels can work on a parameter, which all others share `device` with.

    Raises:
        ValueError: it is sparse, not float32, not contiguous, or on another device.
    """
    if parameter.layout != torch.strided:
        raise ValueError(
            f"{_named(parameter)} is {parameter.layout}; MaskedAdamW needs dense parameters, call "
            "to_dense()"
        )
    if parameter.dtype != torch.float32:
        raise ValueError(
            f"{_named(parameter)} is {parameter.dtype}; MaskedAdamW needs float32, also under "
            "autocast (which casts as it computes): call model.float() before the optimizer is made"
        )
    if not parameter.is_contiguous():
        raise ValueError(
            f"{_named(parameter)} has strides {parameter.stride()}; make it contiguous before the "
            "optimizer is made"
        )
    if parameter.device != device:
        raise ValueError(
            f"{_named(parameter)} is on {parameter.device}, others are on {device}; use one "
            "optimizer a device"
        )


def check_rounded(parameter: Tensor, rounded: Tensor) -> None:
    """Check that a parameter's rounded copy lies beside it, and that no gradient comes to both.

    Raises:
        ValueError: it is not bfloat16, not contiguous, of another shape or on another device, or
            the parameter has a gradient of its own.
    """
    if rounded.dtype != torch.bfloat16 or not _lies_beside(rounded, parameter):
        raise ValueError(
            f"rounded: the copy of {_named(parameter)} on {parameter.device} is {_kind(rounded)}; "
            "give bfloat16 of the same shape on the same device"
        )
    if not rounded.is_contiguous():
        raise ValueError(
            f"rounded: the copy of {_named(parameter)} has strides {rounded.stride()}; "
            "make it contiguous"
        )
    if parameter.grad is not None:
        raise ValueError(
            f"{_named(parameter)} has a gradient, and a rounded copy that gradients should come "
            "to; give no copies of parameters that are read themselves"
        )


def check_gradient(parameter: Tensor, grad: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Check that a gradient lies in memory as its parameter does.

    Raises:
        ValueError: it is sparse, of another type, not contiguous, or of another shape.
    """
    if grad.layout != torch.strided:
        raise ValueError(
            f"the gradient of {_named(parameter)} is {grad.layout}; use dense gradients "
            "(nn.Embedding with sparse=False)"
        )
    if grad.dtype != dtype:
        raise ValueError(
            f"the gradient of {_named(parameter)} is {grad.dtype}; MaskedAdamW needs "
            f"{str(dtype).removeprefix('torch.')}, compute it anew with the parameter in it"
        )
    if grad.shape != parameter.shape:
        raise ValueError(
            f"the gradient of {_named(parameter)} has shape {tuple(grad.shape)}; compute it anew"
        )
    if not grad.is_contiguous():
        raise ValueError(
            f"the gradient of {_named(parameter)} has strides {grad.stride()}; make it contiguous"
        )


def check_unchanged(parameter: Tensor, moment: Tensor) -> None:
    """Check that a parameter is still what its moments were made for.

    Raises:
        ValueError: it has another shape or is on another device.
    """
    if moment.shape != parameter.shape or moment.device != parameter.device:
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} on {parameter.device} had shape "
            f"{tuple(moment.shape)} on {moment.device} before; make a new optimizer for it"
        )


def check_prunable(parameters: Iterable[Tensor], prunable: Iterable[Tensor]) -> None:
    """Check that parameters are among the `prunable` ones, each once.

    Raises:
        ValueError: one is not, or is given twice.
    """
    allowed = {id(parameter) for parameter in prunable}
    for parameter in parameters:
        if id(parameter) not in allowed:
            raise ValueError(
                f"a parameter of shape {tuple(parameter.shape)} is in no group with prunable=True, "
                "or given twice; make its group prunable, and give it once"
            )
        allowed.remove(id(parameter))


def check_hard(semantics: Semantics, what: str) -> None:
    """Check that something other than magnitudes may decide what is pruned.

    Raises:
        ValueError: the semantics are others than hard.
    """
    if semantics != "hard":
        raise ValueError(
            f"{what}: given under semantics {semantics}, where pruned weights compete by their "
            "frozen magnitudes; prune by magnitude, or use hard"
        )


def check_count(num_pruned: int, num_weights: int) -> None:
    """Check how many weights of a group are to be pruned.

    Raises:
        ValueError: it is not from 0 to all.
    """
    if not 0 <= num_pruned <= num_weights:
        raise ValueError(
            f"groups: {num_pruned} of {num_weights} weights cannot be pruned; "
            "give a number from 0 to all"
        )


def check_score(parameter: Tensor, score: Tensor | None) -> None:
    """Check the scores of a parameter's weights.

    Raises:
        ValueError: there are none, or they are not float32 of its shape on its device.
    """
    if score is None:
        raise ValueError(
            f"scores: a parameter of shape {tuple(parameter.shape)} has none; "
            "give all of them or no scores"
        )
    if score.dtype != torch.float32 or not _lies_beside(score, parameter):
        raise ValueError(
            f"scores: that of a parameter of shape {tuple(parameter.shape)} on {parameter.device} "
            f"is {_kind(score)}; give float32 of the same shape on the same device"
        )


def check_mask(parameter: Tensor, keep: Tensor) -> None:
    """Check a mask that is not packed.

    Raises:
        ValueError: it is not bool of the parameter's shape on its device.
    """
    if keep.dtype != torch.bool or not _lies_beside(keep, parameter):
        raise ValueError(
            f"the mask of a parameter of shape {tuple(parameter.shape)} is {_kind(keep)}; "
            f"give bool of the same shape on {parameter.device}"
        )


def refuse_nan(num_nan: Tensor, what: str) -> None:
    """Refuse NaN on a CPU, where looking at the count is free; on a GPU looking waits for it.

    Args:
        num_nan: how many of the ranked values are NaN; int64, 0-dimensional.
        what: weights or scores.

    Raises:
        ValueError: there are any.
    """
    if num_nan.device.type == "cpu" and num_nan > 0:
        ranked = {"weights": "magnitudes cannot be ranked"}.get(what, "they cannot be ranked")
        raise ValueError(f"{what}: {int(num_nan)} are NaN; {ranked}, and no mask was changed")


def check_saved_semantics(state_dict: dict[str, Any], semantics: Semantics) -> None:
    """Check that a state was saved under the same semantics.

    Raises:
        ValueError: it was not.
    """
    for group in state_dict["param_groups"]:
        if group.get("semantics") != semantics:
            raise ValueError(
                f"state_dict: its semantics are {group.get('semantics')}, this optimizer's are "
                f"{semantics}; load a state that MaskedAdamW saved under the same semantics"
            )


def check_saved_state(parameter: Tensor, is_prunable: bool, state: dict[str, Any]) -> None:
    """Check what was saved of one parameter; nothing at all is fine, too.

    Raises:
        ValueError: a moment, the step or the mask does not fit.
    """
    if not state:
        return
    what = f"state_dict: for a parameter of shape {tuple(parameter.shape)}"
    for moment in ("exp_avg", "exp_avg_sq"):
        shape = tuple(state[moment].shape) if moment in state else None
        if shape != tuple(parameter.shape):
            raise ValueError(f"{what} {moment} has shape {shape}; load the state of the same model")
    step = state.get("step")
    if not isinstance(step, Tensor) or step.numel() != 1 or not _is_count(float(step)):
        raise ValueError(
            f"{what} step is {step}; it must be a whole number from 0 in a tensor of 1 element"
        )
    if MASK in state:
        _check_saved_mask(what, parameter.numel(), is_prunable, state[MASK])


def _check_saved_mask(what: str, num_weights: int, is_prunable: bool, mask: Tensor) -> None:
    if not is_prunable:
        raise ValueError(
            f"{what} there is a mask, but its group is not prunable; "
            "load the state of the same model"
        )
    expected = (num_words(num_weights),)
    if mask.dtype != torch.int32 or tuple(mask.shape) != expected:
        raise ValueError(
            f"{what} mask is {mask.dtype} of shape {tuple(mask.shape)}; expected int32 of shape "
            f"{expected}, load the state of the same model"
        )
    rest = num_weights % WORD_BITS
    if rest and int(mask[-1]) & -(1 << rest):
        raise ValueError(
            f"{what} mask has bits beyond its {num_weights} weights; it is damaged, "
            "load another copy"
        )


def _is_count(value: float) -> bool:
    return 0 <= value < math.inf and value % 1 == 0


def _lies_beside(tensor: Tensor, parameter: Tensor) -> bool:
    return tensor.shape == parameter.shape and tensor.device == parameter.device


def _named(parameter: Tensor) -> str:
    return f"a parameter of shape {tuple(parameter.shape)}"


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
