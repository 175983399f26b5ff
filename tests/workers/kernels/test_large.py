"""Tensors of any size: the same tests on a few thousand weights, in Triton's interpreter, and on a
GPU on more than 2^31 bytes and more than 2^31 weights, where offsets of 32 bits would overflow."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workers.pruning.masked_adamw import MaskedAdamW

HAS_GPU = torch.cuda.is_available()
TAIL = 1000
BYTES_A_WEIGHT = 32
"""Of a GPU's memory, in this test: weight, gradient, two moments, a copy, and room to compare."""

pytestmark = pytest.mark.usefixtures("quick_interpreter")


def sizes(small: int, *large: int) -> list[Any]:
    """Numbers of weights: a small one where there is no GPU, large ones where there is."""
    without = [pytest.mark.slow, pytest.mark.skipif(HAS_GPU, reason="has a GPU")]
    needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")]
    return [
        pytest.param(small, marks=without),
        *(pytest.param(number, marks=needs_gpu) for number in large),
    ]


@pytest.fixture
def place() -> torch.device:
    """The GPU, or where kernels are interpreted."""
    pytest.importorskip("triton", reason="needs triton")
    return torch.device("cuda" if HAS_GPU else "cpu")


def random(num_weights: int, place: torch.device, seed: int) -> Tensor:
    return torch.rand(num_weights, device=place, generator=generator(place, seed)).sub_(0.5)


def generator(place: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(place).manual_seed(seed)


@pytest.mark.parametrize("num_weights", sizes(5000, 2**29 + 40, 2**31 + 64))
def test_steps_and_masks_are_exact_to_the_last_weight(place, num_weights):
    if HAS_GPU and torch.cuda.mem_get_info()[0] < BYTES_A_WEIGHT * num_weights:
        pytest.skip(f"needs {BYTES_A_WEIGHT * num_weights / 2**30:.0f} GiB of a GPU")
    weight = nn.Parameter(random(num_weights, place, 0))
    weight.grad = random(num_weights, place, 1)
    tail = nn.Parameter(weight.detach()[-TAIL:].clone())
    tail.grad = weight.grad[-TAIL:].clone()
    optimizer = MaskedAdamW([weight], prunable=True, kernels="triton")
    optimizer.step()
    MaskedAdamW([tail], prunable=True, kernels="reference").step()
    assert torch.equal(weight[-TAIL:], tail)

    before = weight.detach().abs()
    optimizer.update_masks(0.5)
    optimizer.step()
    is_pruned = weight == 0
    assert int(is_pruned.sum()) == round(0.5 * num_weights)
    largest_pruned = float(before.masked_fill(~is_pruned, 0.0).max())
    smallest_kept = float(before.masked_fill_(is_pruned, math.inf).min())
    assert largest_pruned <= smallest_kept
    assert bool(is_pruned[-TAIL:].any()) != bool(is_pruned[-TAIL:].all())


@pytest.mark.parametrize("num_weights", sizes(4000, 177_000_000))
def test_the_norm_is_that_of_float64(place, num_weights):
    """Both the model's encoder and its embeddings, in many tensors."""
    cuts = [num_weights // 7, num_weights // 3, num_weights - num_weights // 7 - num_weights // 3]
    weights = [nn.Parameter(random(size, place, size)) for size in cuts]
    for weight in weights:
        weight.grad = random(weight.numel(), place, weight.numel() + 1)
    exact = math.sqrt(sum(float(weight.grad.double().square().sum()) for weight in weights))
    optimizer = MaskedAdamW(weights, prunable=True, max_grad_norm=1.0, kernels="triton")
    optimizer.step()
    assert float(optimizer.grad_norm) == pytest.approx(exact, rel=2**-23)


@pytest.mark.parametrize("num_weights", sizes(3000, 85_000_000))
def test_pruning_by_scores_equals_the_reference(place, num_weights):
    both = []
    for kernels in ("triton", "reference"):
        weights = [nn.Parameter(random(num_weights // 3, place, seed)) for seed in range(3)]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer = MaskedAdamW(weights, prunable=True, kernels=kernels)
        optimizer.step()
        scores = {weight: weight.detach() * weight.grad for weight in weights}
        optimizer.prune([(weights, num_weights // 2)], scores)
        both.append(weights)
    assert all(torch.equal(one, other) for one, other in zip(*both, strict=True))
    assert sum(int((weight == 0).sum()) for weight in both[0]) == num_weights // 2
