"""Parameters, gradients and optimizers for the tests of MaskedAdamW."""

import importlib.util
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from workers.pruning.masked_adamw import MaskedAdamW

HAS_GPU = torch.cuda.is_available()
SHAPES = ((40, 33), (7,), (64, 9))

BOTH = pytest.mark.parametrize("kernels", ["reference", "numba"])
EACH = pytest.mark.parametrize(
    "kernels",
    [
        pytest.param(("reference", "cpu"), id="reference"),
        pytest.param(("numba", "cpu"), id="numba"),
        pytest.param(
            ("triton", "cpu"),
            id="triton-interpreted",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    HAS_GPU or not importlib.util.find_spec("triton"),
                    reason="needs triton, and no GPU to run on instead",
                ),
            ],
        ),
        pytest.param(
            ("triton", "cuda"),
            id="triton",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")],
        ),
    ],
)


def parameters(seed: int = 0, shapes=SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def on(device: str, tensors: list) -> list:
    """Parameters stay parameters."""
    moved = [tensor.detach().clone().to(device) for tensor in tensors]
    return [
        nn.Parameter(tensor) if original.requires_grad else tensor
        for tensor, original in zip(moved, tensors, strict=True)
    ]


def all_equal(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> bool:
    """Whether all tensors are, in their order."""
    return all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def give_gradients(seed: int, *models: list[nn.Parameter], scale: float = 1.0) -> None:
    for ours in models:
        for parameter, value in zip(
            ours, parameters(seed, [tuple(p.shape) for p in ours]), strict=True
        ):
            parameter.grad = (value.detach() * scale).to(parameter.device)


def groups_of(ours: list[nn.Parameter], **first) -> list[dict]:
    return [
        {"params": ours[:1], **first},
        {"params": ours[1:], "weight_decay": 0.0, "lr": 2e-2, "betas": (0.8, 0.9)},
    ]


def masked(ours: list[nn.Parameter], **options) -> MaskedAdamW:
    return MaskedAdamW(
        groups_of(ours, prunable=True), **{"lr": 1e-2, "weight_decay": 0.1} | options
    )
