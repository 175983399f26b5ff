"""What only a GPU can show: no waiting, captured graphs, real sizes, whole trials. `make test-gpu`
runs these.

Equality with the reference, input by input, is in test_kernels, which uses the GPU where there is
one.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.benchmarks.kernels import NUM_WEIGHTS, make_weights
from tests.factories import PRUNING
from tests.workers.trials import finish, small_trial, waits_are
from workers.pruning.masked_adamw import MaskedAdamW
from workers.run import prepare_process, run_trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    with waits_are("error"):
        yield


def small_weights() -> list[nn.Parameter]:
    generator = torch.Generator("cuda").manual_seed(0)
    shapes = ((513, 129), (77,), (1000, 3), (4096, 64))
    weights = [
        nn.Parameter(torch.randn(shape, generator=generator, device="cuda")) for shape in shapes
    ]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator, device="cuda")
    return weights


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_neither_steps_nor_mask_updates_wait_for_the_gpu(scope, semantics, waiting_is_an_error):
    weights = small_weights()
    optimizer = MaskedAdamW(weights, prunable=True, max_grad_norm=1.0, semantics=semantics)
    optimizer.found_inf = torch.zeros((), device="cuda")
    optimizer.grad_scale = torch.ones((), device="cuda")
    for step in range(4):
        for weight in weights:  # gradients move, as after zero_grad(set_to_none=True)
            weight.grad = weight.grad.clone()
        optimizer.param_groups[0]["lr"] = 1e-3 / (1 + step)
        optimizer.step()
        optimizer.update_masks(0.2 * (1 + step), scope)


def test_pruning_by_scores_does_not_wait_and_equals_the_reference(waiting_is_an_error):
    both = small_weights(), small_weights()
    for weights, kernels in zip(both, ("triton", "reference"), strict=True):
        optimizer = MaskedAdamW(weights, prunable=True, kernels=kernels)
        if kernels == "reference":  # which may look at the device
            torch.cuda.set_sync_debug_mode("default")
        optimizer.step()
        scores = {weight: weight.detach() * weight.grad for weight in weights}
        optimizer.prune([(weights, sum(weight.numel() for weight in weights) // 2)], scores)
    assert all(torch.equal(one, other) for one, other in zip(*both, strict=True))


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_a_captured_step_does_what_an_eager_one_does(semantics):
    captured, eager = small_weights(), small_weights()
    lrs = [torch.full((), 1e-2, device="cuda") for _ in range(2)]
    optimizers = [
        MaskedAdamW(weights, prunable=True, lr=lr, max_grad_norm=1.0, semantics=semantics)
        for weights, lr in zip((captured, eager), lrs, strict=True)
    ]
    for optimizer in optimizers:
        optimizer.update_masks(0.6)
        optimizer.step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizers[0].step()
    for step in range(5):
        for weights, lr in zip((captured, eager), lrs, strict=True):
            lr.fill_(1e-2 / (1 + step))
            for weight in weights:
                weight.grad.mul_(-1.5)
        graph.replay()
        optimizers[1].step()
    assert all(torch.equal(one, other) for one, other in zip(captured, eager, strict=True))


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_a_captured_mask_update_does_what_an_eager_one_does(semantics):
    captured, eager = small_weights(), small_weights()
    optimizers = [
        MaskedAdamW(weights, prunable=True, semantics=semantics) for weights in (captured, eager)
    ]
    for optimizer in optimizers:
        optimizer.step()
        optimizer.update_masks(0.5)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizers[0].update_masks(0.5)
    for _ in range(3):
        for weights in (captured, eager):
            for weight in weights:
                weight.data.mul_(-1.5)
        graph.replay()
        optimizers[1].update_masks(0.5)
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(captured, eager, strict=True))


def test_weights_at_odd_addresses_are_computed_as_others():
    storage = [torch.randn(4097, device="cuda") for _ in range(2)]
    odd, even = nn.Parameter(storage[0][1:]), nn.Parameter(storage[0][1:].clone())
    assert odd.data_ptr() % 16 != 0
    for weight in (odd, even):
        weight.grad = storage[1][:4096].clone()
        optimizer = MaskedAdamW([weight], prunable=True, max_grad_norm=1.0)
        optimizer.step()
        optimizer.update_masks(0.5)
        optimizer.step()
    assert torch.equal(odd, even)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_a_capture_with_moved_gradients_is_refused():
    weights = small_weights()
    optimizer = MaskedAdamW(weights, prunable=True)
    optimizer.step()
    for weight in weights:
        weight.grad = weight.grad.clone()
    torch.cuda.synchronize()
    with (
        pytest.raises(RuntimeError, match="set_to_none=False"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        optimizer.step()


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_the_size_of_multilingual_bert_equals_the_reference(semantics):
    both = [make_weights(), make_weights()]
    optimizers = [
        MaskedAdamW(weights, prunable=True, kernels=name, semantics=semantics)
        for weights, name in zip(both, ("reference", "triton"), strict=True)
    ]
    for optimizer in optimizers:
        optimizer.step()
        for sparsity in (0.5, 0.9):
            optimizer.update_masks(sparsity)
            optimizer.step()
    for one, other in zip(*both, strict=True):
        assert torch.equal(one, other)
        masks = [
            optimizer.state[p]["mask"]
            for optimizer, p in zip(optimizers, (one, other), strict=True)
        ]
        assert torch.equal(*masks)
    assert sum(int((weight == 0).sum()) for weight in both[1]) == round(0.9 * NUM_WEIGHTS)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_whole_trial(precision):
    device = prepare_process(num_threads=1, use_gpu=True)
    try:
        spec = small_trial(target_sparsity=0.9)
        spec = replace(spec, training=replace(spec.training, precision=precision))
        result = finish(run_trial(spec, device))
        assert (result.kernels, result.device) == ("triton", "cuda")
        assert result.achieved_sparsity == round(0.9 * result.num_prunable) / result.num_prunable
        assert result.curve[-1].loss < result.curve[0].loss
        again = finish(run_trial(spec, device))
        assert again.curve == result.curve
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "changes",
    [
        {"saliency": "movement"},
        {"saliency": "gradient_times_weight", "scope": "erk"},
        {"saliency": "random", "embedding_sparsity": 0.5},
        {"granularity": "n_of_m", "n_of_m": (2, 4), "scope": "layer"},
        {"granularity": "block", "block_shape": (4, 4), "sparsity_schedule": "linear"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_a_whole_trial_of_every_axis(changes):
    device = prepare_process(num_threads=1, use_gpu=True)
    try:
        spec = small_trial(pruning=replace(PRUNING, update_every_steps=4, **changes))
        result = finish(run_trial(spec, device))
        assert result.achieved_sparsity == pytest.approx(0.5, abs=1e-3)
        assert finish(run_trial(spec, device)).curve == result.curve
    finally:
        torch.use_deterministic_algorithms(False)
