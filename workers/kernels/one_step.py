"""One step and one mask update of one weight: whether the kernels can run on a device at all.

Triton compiles with the machine's own compiler, which shows only when a kernel is launched.
"""

import torch
from torch import Tensor

from workers.kernels import AUTO, make_kernels
from workers.kernels.interface import (
    Kernels,
    MaskTensors,
    RankGroup,
    Semantics,
    StepOptions,
    StepTensors,
)
from workers.kernels.packed import all_kept

SEMANTICS: tuple[Semantics, ...] = ("hard", "dense_shadow")


def try_step(name: str, device: torch.device) -> None:
    """Do one step, without looking at what comes out; reference, which compiles nothing, is not
    tried.

    Args:
        name: of the kernels, as in `make_kernels`.
        device: where to.

    Raises:
        Exception: whatever hinders them.
    """
    if name in (AUTO, "triton"):
        _step(make_kernels(name, device), _weight(device))


def try_kernels(name: str, device: torch.device) -> None:
    """Run every kernel and compare with the reference on the CPU, bit by bit.

    Args:
        name: of the kernels, as in `make_kernels`.
        device: where to.

    Raises:
        RuntimeError: something else comes out.
        Exception: whatever hinders them.
    """
    for semantics in SEMANTICS:
        found, wanted = (
            _step_and_prune(make_kernels(kernels, place), place, semantics)
            for kernels, place in ((name, device), ("reference", torch.device("cpu")))
        )
        for one, other in zip(found, wanted, strict=True):
            if not torch.equal(one.cpu(), other):
                raise RuntimeError(
                    f"kernels: {name} computes {one.tolist()} where reference computes "
                    f"{other.tolist()} ({semantics})"
                )


def _weight(device: torch.device) -> MaskTensors:
    weight = torch.full((1,), 0.75, device=device)
    return MaskTensors(weight, torch.zeros_like(weight), torch.zeros_like(weight), all_kept(weight))


def _step(kernels: Kernels, own: MaskTensors, rounded: Tensor | None = None) -> None:
    read = own.weight if rounded is None else rounded
    step = StepTensors(
        own.weight,
        grad=torch.full_like(read, -0.5),
        exp_avg=own.exp_avg,
        exp_avg_sq=own.exp_avg_sq,
        step=torch.zeros((), device=own.weight.device),
        mask=own.mask,
        lr=0.125,
        beta1=0.5,
        beta2=0.75,
        eps=1e-8,
        weight_decay=0.5,
        rounded=rounded,
    )
    kernels.step([step], StepOptions(max_grad_norm=1.0))


def _step_and_prune(
    kernels: Kernels, device: torch.device, semantics: Semantics
) -> tuple[Tensor, ...]:
    """A dense step, one with a rounded copy, one that is pruned, and all that they left."""
    own = _weight(device)
    _step(kernels, own)
    stepped, rounded = own.weight.clone(), own.weight.bfloat16()
    _step(kernels, own, rounded)
    kernels.update_masks([RankGroup((own,), num_pruned=1)], semantics)
    _step(kernels, own)
    return stepped, rounded.float(), own.weight, own.exp_avg, own.exp_avg_sq, own.mask
