"""Numba and Triton do what the reference does, to the bit, on inputs that tell them apart.

Triton runs on a GPU where there is one, otherwise in its interpreter.
"""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from workers.kernels.packed import all_kept, num_words, pack, unpack
from workers.pruning.masked_adamw import MaskedAdamW

pytestmark = pytest.mark.usefixtures("quick_interpreter")

ROOT = Path(__file__).parents[3]
HAS_GPU = torch.cuda.is_available()
SIZES = ((1,), (0,), (7,), (31, 1), (33,), (5, 13), (1024,), (3, 1367))
"""Off the power of two, one element, none, less than a word, more than a block of any kernels."""


UNTOUCHED_PAGES = """
import ctypes
import mmap
import sys

import torch
from workers.kernels import make_kernels
from workers.kernels.interface import StepOptions, StepTensors
from workers.kernels.packed import pack

PAGE, NO_ACCESS = mmap.PAGESIZE, 0
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def tensor(value):
    numbers = torch.frombuffer(mmap.mmap(-1, 4 * PAGE), dtype=torch.float32).fill_(value)
    for page in (1, 3):
        assert protect(numbers.data_ptr() + page * PAGE, PAGE, NO_ACCESS) == 0
    return numbers


weight, grad, exp_avg, exp_avg_sq = (tensor(value) for value in (1.0, 2.0, 0.0, 0.0))
keep = torch.zeros(4, PAGE // 4, dtype=torch.bool)
keep[0, -1] = keep[2, 0] = keep[2, -1] = True
keep[2, 101:300:9] = True
step = StepTensors(
    *(weight, grad, exp_avg, exp_avg_sq, torch.zeros(())), pack(keep), 0.5, 0.5, 0.5, 1e-8, 0.0
)
norm = make_kernels(sys.argv[1], weight.device).step([step], StepOptions(max_grad_norm=1e9))
print(float(weight[0]), round(float(norm) ** 2, 3), int(keep.sum()))
"""
"""A step of a tensor whose pruned pages end the process when they are read or written. Prints a
pruned weight of another page, the square of the norm, and how many weights are kept."""


@pytest.fixture(
    params=[
        pytest.param(("numba", "cpu"), id="numba"),
        pytest.param(
            ("triton", "cpu"),
            id="triton-interpreted",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(HAS_GPU, reason="runs on the GPU, not in the interpreter"),
            ],
        ),
        pytest.param(
            ("triton", "cuda"),
            id="triton",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")],
        ),
    ]
)
def twins(request) -> Callable[..., "Twins"]:
    """Makes pairs of optimizers with equal parameters: the reference, and what is tested."""
    name, device = request.param
    if name == "triton":
        pytest.importorskip("triton", reason="needs triton")
    return lambda weights, **options: Twins(weights, name, device, **options)


class Twins:
    """Does everything to both, and compares every bit afterwards.

    The last parameter is not prunable, and has no rounded copy where the others have.
    """

    def __init__(
        self,
        weights: list[Tensor],
        kernels: str,
        device: str,
        are_rounded: bool = False,
        **options,
    ):
        self.device = device
        self.both = [(make_parameters(weights, device), name) for name in ("reference", kernels)]
        self.rounded = [
            {one: rounded(one) for one in parameters[:-1]} if are_rounded else {}
            for parameters, _ in self.both
        ]
        self.optimizers = [
            MaskedAdamW(
                [
                    {"params": parameters[:-1], "prunable": True},
                    {"params": parameters[-1:], "weight_decay": 0.0, "lr": 3e-2},
                ],
                **{"lr": 1e-2, "weight_decay": 0.1, "kernels": name, "rounded": copies} | options,
            )
            for (parameters, name), copies in zip(self.both, self.rounded, strict=True)
        ]

    def step(self, grads: list[Tensor | None], **attributes: Tensor) -> None:
        twins = zip(self.both, self.optimizers, self.rounded, strict=True)
        for (parameters, _), optimizer, copies in twins:
            for name, value in attributes.items():
                setattr(optimizer, name, value.to(self.device))
            for parameter, grad in zip(parameters, grads, strict=True):
                read = copies.get(parameter, parameter)
                read.grad = None if grad is None else grad.to(read.dtype, copy=True).to(self.device)
            optimizer.step()

    def update(self, sparsity: float, scope: str = "global") -> None:
        for optimizer in self.optimizers:
            optimizer.update_masks(sparsity, scope)

    def assert_equal(self) -> None:
        (expected, _), (computed, _) = self.both
        for index, pair in enumerate(zip(expected, computed, strict=True)):
            assert_same_bits(*pair, f"weight {index}")
            states = [
                optimizer.state[parameter]
                for optimizer, parameter in zip(self.optimizers, pair, strict=True)
            ]
            assert states[0].keys() == states[1].keys()
            for name in states[0]:
                assert_same_bits(states[0][name], states[1][name], f"{name} {index}")
        for copies in self.rounded:
            for parameter, copy_of_it in copies.items():
                assert_same_bits(rounded(parameter), copy_of_it, "rounded weight")

    @property
    def weights(self) -> list[Tensor]:
        """Of the implementation under test."""
        return [parameter.detach().cpu() for parameter in self.both[1][0]]

    @property
    def masks(self) -> list[Tensor | None]:
        return [self.optimizers[1].mask(parameter) for parameter in self.both[1][0]]


def make_parameters(weights: list[Tensor], device: str) -> list[nn.Parameter]:
    return [nn.Parameter(weight.clone().to(device)) for weight in weights]


def rounded(parameter: Tensor) -> Tensor:
    return parameter.detach().bfloat16().requires_grad_()


def assert_same_bits(expected: Tensor, computed: Tensor, what: str) -> None:
    assert expected.dtype == computed.dtype, what
    bits = torch.int16 if expected.dtype is torch.bfloat16 else torch.int32
    expected, computed = (
        value.detach().cpu().contiguous().view(bits) for value in (expected, computed)
    )
    assert torch.equal(expected, computed), (
        f"{what}: {int((expected != computed).sum())} of {computed.numel()} differ"
    )


def random_tensors(seed: int, sizes=SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator) for size in sizes]


@pytest.fixture(autouse=True)
def _memory_starts_as_nan():
    """New memory holds NaN, so that reading what was never written shows."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_steps_and_mask_updates_equal_the_reference(twins, semantics, scope):
    pair = twins(random_tensors(0), semantics=semantics)
    for step, sparsity in enumerate((0.0, 0.3, 0.6, 0.9)):
        pair.step(random_tensors(1 + step))
        pair.update(sparsity, scope)
        pair.step(random_tensors(11 + step))
    pair.assert_equal()
    pruned = sum(int((weight == 0).sum()) for weight in pair.weights[:-1])
    expected = [weight.numel() for weight in pair.weights[:-1]]
    assert pruned == (
        round(0.9 * sum(expected)) if scope == "global" else sum(round(0.9 * n) for n in expected)
    )


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_rounded_copies_follow_their_weights_and_bring_the_gradients(
    twins, semantics, max_grad_norm
):
    pair = twins(
        random_tensors(0), semantics=semantics, max_grad_norm=max_grad_norm, are_rounded=True
    )
    for step, sparsity in enumerate((0.0, 0.9, 0.5)):
        pair.step(random_tensors(1 + step))
        pair.update(sparsity)
        pair.assert_equal()
        pair.step(random_tensors(11 + step))
        pair.assert_equal()
    pair.step([None if one.numel() == 33 else one for one in random_tensors(5)])
    pair.assert_equal()


def test_weights_are_rounded_to_the_nearest_and_ties_to_even(twins):
    ties = [1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, 1e-45, math.inf, 0.0]
    weights = [torch.tensor(ties * 5), torch.ones(1)]
    pair = twins(weights, lr=0.0, are_rounded=True)
    for copies in pair.rounded:
        for copy_of_it in copies.values():
            copy_of_it.detach().fill_(7)
    pair.step([torch.ones(40), torch.ones(1)])
    pair.assert_equal()
    (found, *_) = pair.rounded[1].values()
    assert found[:4].tolist() == [1.0, 1 + 2**-6, -1.0, 1 + 2**-7]
    assert found[4:8].tolist() == [math.inf, 0.0, math.inf, 0.0]
    pair.step([torch.full((40,), math.nan), torch.ones(1)])
    assert found.isnan().all()


def test_mask_update_before_the_first_step(twins):
    pair = twins(random_tensors(0))
    pair.update(0.5)
    pair.step(random_tensors(1))
    pair.assert_equal()


@pytest.mark.parametrize("sparsity", [0.0, 1e-4, 0.5, 1 - 2**-20, 1.0])
def test_counts_are_exact_from_none_to_all(twins, sparsity):
    pair = twins(random_tensors(0))
    pair.update(sparsity)
    pair.assert_equal()
    total = sum(weight.numel() for weight in pair.weights[:-1])
    assert sum(int((~mask).sum()) for mask in pair.masks[:-1]) == round(sparsity * total)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.77])
def test_ties_go_by_position(twins, sparsity):
    pair = twins([torch.tensor([1.0, -1.0]).repeat(800), torch.full((3, 700), -1.0), torch.ones(5)])
    pair.update(sparsity)
    pair.assert_equal()
    kept = torch.cat([mask.flatten() for mask in pair.masks[:-1]]).cpu()
    assert kept.tolist() == [index >= round(sparsity * 3700) for index in range(3700)]


def test_few_values_with_many_ties(twins):
    weights = [weight.bfloat16().float() for weight in random_tensors(0)]
    pair = twins(weights)
    for sparsity in (0.25, 0.5, 0.75):
        pair.update(sparsity)
    pair.assert_equal()


def test_infinities_rank_highest_and_denormals_by_size(twins):
    odd = [math.inf, -math.inf, -0.0, 0.0, 1e-45, -3e-45, 1e-40, 1.2e-38, 3.4e38, -1.0]
    for num_pruned in range(len(odd) + 1):
        pair = twins([torch.tensor(odd), torch.ones(1)])
        pair.update(num_pruned / len(odd))
        pair.assert_equal()
        rank = [8, 9, 0, 1, 2, 3, 4, 5, 7, 6]  # positions 2 and 3 tie at zero
        assert pair.masks[0].tolist() == [place >= num_pruned for place in rank]


def test_pruned_infinity_and_nan_gradients_become_positive_zero(twins):
    pair = twins([torch.tensor([5.0, -0.1, 0.2, -4.0]), torch.ones(1)])
    pair.update(0.5)
    pair.step([torch.tensor([1.0, math.nan, -math.inf, -1.0]), torch.ones(1)])
    pair.assert_equal()
    assert pair.weights[0][1:3].tolist() == [0.0, 0.0]
    assert not torch.signbit(pair.weights[0][1:3]).any()


def test_nan_and_inf_gradients_of_kept_weights_spread_as_in_the_reference(twins):
    pair = twins([torch.tensor([5.0, 3.0, 0.2, -4.0]), torch.ones(2)])
    pair.step([torch.tensor([1.0, math.nan, -math.inf, 1e30]), torch.tensor([math.inf, 1e-45])])
    expected, computed = (parameters[0].detach().cpu() for parameters, _ in pair.both)
    assert torch.equal(expected.isnan(), computed.isnan())
    assert computed.isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_nan_weights_stop_a_mask_update_and_change_nothing(twins, semantics):
    weights = random_tensors(0)
    weights[5][1, 5] = math.nan
    pair = twins(weights, semantics=semantics)
    optimizer = pair.optimizers[1]
    if pair.device == "cpu":
        with pytest.raises(
            ValueError, match="1 are NaN; magnitudes cannot be ranked, and no mask was changed"
        ):
            optimizer.update_masks(0.5)
    else:
        assert int(optimizer.update_masks(0.5)) == 1
    for weight, found, mask in zip(weights[:-1], pair.weights[:-1], pair.masks[:-1], strict=True):
        assert_same_bits(weight, found, "weight")
        assert mask.all()


def test_infinity_is_not_taken_for_nan(twins):
    pair = twins([torch.tensor([math.inf, 1.0, -math.inf]), torch.ones(1)])
    pair.update(1 / 3)
    assert pair.masks[0].tolist() == [True, False, True]


def test_hard_never_brings_back_when_less_is_asked(twins):
    pair = twins(random_tensors(0))
    pair.update(0.7)
    before = pair.masks
    pair.step(random_tensors(1))
    pair.update(0.2)
    pair.assert_equal()
    assert all(torch.equal(*masks) for masks in zip(before[:-1], pair.masks[:-1], strict=True))


def test_shadow_comes_back_with_its_frozen_value_and_second_moment(twins):
    pair = twins(
        [torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.ones(1)],
        semantics="dense_shadow",
        weight_decay=0.0,
        lr=0.5,
    )
    pair.update(0.5)
    assert pair.weights[0].tolist() == [0.0, 0.0, 3.0, 4.0]
    for _ in range(4):  # 3 and 4 walk down by 0.5 a step, to 1 and 2
        pair.step([torch.tensor([9.0, 9.0, 1.0, 1.0]), torch.ones(1)])
    pair.update(0.5)
    pair.assert_equal()
    weight, state = pair.weights[0], pair.optimizers[1].state[pair.both[1][0][0]]
    assert weight.tolist() == pytest.approx([0.0, 2.0, 0.0, 2.0])
    assert state["exp_avg"].tolist()[1] == 0.0
    assert state["exp_avg_sq"].tolist() == pytest.approx([0.0, 0.0, 1 - 0.999**4, 1 - 0.999**4])
    pair.step([torch.ones(4), torch.ones(1)])
    pair.assert_equal()
    assert pair.weights[0][1] < 2.0


def test_shadow_all_comes_back_at_sparsity_zero(twins):
    pair = twins(random_tensors(0), semantics="dense_shadow")
    pair.update(0.8)
    pair.update(0.0)
    pair.assert_equal()
    assert all(
        torch.equal(weight, original)
        for weight, original in zip(pair.weights, random_tensors(0), strict=True)
    )


def test_parameters_without_gradient_stay_and_do_not_count_the_step(twins):
    pair = twins(random_tensors(0, ((8,), (9,), (4,))))
    pair.step([torch.ones(8), None, torch.ones(4)])
    pair.step([torch.ones(8), torch.ones(9), None])
    pair.assert_equal()
    first, second, _ = pair.both[1][0]
    assert [float(pair.optimizers[1].state[p]["step"]) for p in (first, second)] == [2.0, 1.0]


def test_learning_rate_may_change_and_be_a_tensor(twins):
    pair = twins(random_tensors(0))
    for lr in (1e-2, 5e-3, 0.0):
        for optimizer in pair.optimizers:
            optimizer.param_groups[0]["lr"] = lr
            optimizer.param_groups[1]["lr"] = torch.tensor(2 * lr, device=pair.device)
        pair.step(random_tensors(3))
        pair.assert_equal()


def test_clipping_takes_the_norm_of_kept_weights(twins):
    pair = twins([torch.tensor([5.0, 0.1, 0.2, 4.0]), torch.ones(1)], max_grad_norm=1.0)
    pair.update(0.5)
    pair.step([torch.tensor([3.0, 100.0, -100.0, 0.0]), torch.tensor([4.0])])
    pair.assert_equal()
    assert float(pair.optimizers[1].grad_norm) == 5.0
    moment = pair.optimizers[1].state[pair.both[1][0][0]]["exp_avg"]
    assert moment.tolist() == pytest.approx([0.1 * 3 / 5, 0.0, 0.0, 0.0])


def test_norm_over_many_blocks(twins):
    pair = twins(random_tensors(0, ((40, 1031), (17,), (33,))), max_grad_norm=2.0)
    pair.update(0.4)
    grads = random_tensors(5, ((40, 1031), (17,), (33,)))
    pair.step(grads)
    norms = [float(optimizer.grad_norm) for optimizer in pair.optimizers]
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)
    kept = [
        grad if mask is None else grad[mask.cpu()]
        for grad, mask in zip(grads, pair.masks, strict=True)
    ]
    assert norms[0] == pytest.approx(
        math.sqrt(sum(float(g.double().square().sum()) for g in kept)), rel=1e-6
    )
    for expected, computed in zip(pair.both[0][0], pair.both[1][0], strict=True):
        torch.testing.assert_close(expected, computed, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_gradient_scale_is_divided_out(twins, max_grad_norm):
    scaled, plain = (twins(random_tensors(0), max_grad_norm=max_grad_norm) for _ in range(2))
    grads = random_tensors(1)
    scaled.step(
        [grad * 1024 for grad in grads],
        grad_scale=torch.tensor(1024.0),
        found_inf=torch.tensor(0.0),
    )
    plain.step(grads)
    if max_grad_norm is None:  # a norm is added up in another order than the reference's
        scaled.assert_equal()
    for unscaled, expected in zip(scaled.weights, plain.weights, strict=True):
        assert_same_bits(expected, unscaled, "weight")


def test_found_inf_changes_nothing_not_even_the_step(twins):
    pair = twins(random_tensors(0))
    pair.step(random_tensors(1))
    before = copy.deepcopy(pair.optimizers[1].state_dict()["state"])
    pair.step(random_tensors(2), grad_scale=torch.tensor(2.0), found_inf=torch.tensor(1.0))
    after = pair.optimizers[1].state_dict()["state"]
    for number, state in before.items():
        for name, value in state.items():
            assert torch.equal(value, after[number][name]), name
    pair.assert_equal()


@pytest.mark.parametrize("value", [3e19, 0.1, 1e-24])
def test_norm_of_large_small_and_many_equal_gradients(twins, value):
    pair = twins([torch.ones(9, 1111), torch.ones(4)], max_grad_norm=1.0)
    pair.step([torch.full((9, 1111), value), torch.full((4,), value)])
    norms = [float(optimizer.grad_norm) for optimizer in pair.optimizers]
    assert norms == pytest.approx([float(torch.tensor(value)) * math.sqrt(10_003)] * 2, rel=2e-7)


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
@pytest.mark.parametrize("sparsity", [0.5, 0.99])
def test_what_others_wrote_to_pruned_weights_stays_in_a_step_and_goes_in_a_mask_update(
    twins, semantics, sparsity
):
    pair = twins(random_tensors(0), semantics=semantics)
    pair.step(random_tensors(1))
    pair.update(sparsity)
    for parameters, _ in pair.both:
        with torch.no_grad():
            for parameter, weight in zip(parameters, random_tensors(0), strict=True):
                parameter.copy_(weight)
    pair.step(random_tensors(2))
    pair.assert_equal()
    for weight, written, mask in zip(pair.weights, random_tensors(0), pair.masks, strict=True):
        if mask is not None:
            assert torch.equal(weight[~mask.cpu()], written[~mask.cpu()])
    pair.update(sparsity)
    for expected, computed in zip(pair.both[0][0], pair.both[1][0], strict=True):
        assert_same_bits(expected, computed, "weight")
    assert sum(int((weight == 0).sum()) for weight in pair.weights[:-1]) == round(
        sparsity * sum(weight.numel() for weight in pair.weights[:-1])
    )


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["numba", "triton"])
def test_what_is_pruned_is_neither_read_nor_written(kernels):
    """Of four pages of each tensor the second and the fourth cannot be touched."""
    if kernels == "triton":
        pytest.importorskip("triton", reason="needs triton")
    command = [sys.executable, "-c", UNTOUCHED_PAGES, kernels]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1.0 104.0 26\n"), done.stderr


def test_more_tensors_than_one_program_prepares(twins):
    weights = [torch.full((2,), float(index)) for index in range(260)]
    pair = twins(weights)
    pair.step([torch.full((2,), 1.0 + index) for index in range(260)])
    pair.assert_equal()


def test_many_chunks_with_ties_across_them(twins, monkeypatch):
    """Triton's chunks are made small for this test: as many of the usual size take minutes."""
    tl = pytest.importorskip("triton.language", reason="needs triton")
    from workers.kernels import triton_masks, triton_step

    if not HAS_GPU:  # on one, kernels are compiled with what they were
        monkeypatch.setattr(triton_masks, "CHUNK", tl.constexpr(1024))
        monkeypatch.setattr(triton_step, "MAX_PROGRAMS", tl.constexpr(4))
    sizes = ((270, 1001), (3,), (5,))
    pair = twins(
        [weight.bfloat16().float() for weight in random_tensors(0, sizes)], max_grad_norm=1e9
    )
    pair.update(0.5)
    pair.step(
        random_tensors(1, sizes)
    )  # not clipped, so equal although norms are added up in other orders
    pair.assert_equal()
    norms = [float(optimizer.grad_norm) for optimizer in pair.optimizers]
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)


def test_non_finite_norm_spreads_to_every_weight(twins):
    pair = twins(random_tensors(0, ((8,), (9,))), max_grad_norm=1.0)
    pair.step([torch.full((8,), math.inf), torch.ones(9)])
    assert not math.isfinite(float(pair.optimizers[1].grad_norm))
    assert all(weight.isnan().all() for weight in pair.weights)


def test_no_gradients_at_all_is_a_step_of_nothing(twins):
    pair = twins(random_tensors(0), max_grad_norm=1.0)
    pair.step([None] * len(SIZES))
    assert float(pair.optimizers[1].grad_norm) == 0.0
    assert all(
        torch.equal(weight, original)
        for weight, original in zip(pair.weights, random_tensors(0), strict=True)
    )


def test_unaligned_parameters_are_slower_and_not_wrong(twins):
    pair = twins(random_tensors(0))
    for parameters, _ in pair.both:
        storage = torch.empty(parameters[-2].numel() + 1, device=pair.device)
        storage[1:] = parameters[-2].detach().flatten()
        parameters[-2].data = storage[1:].view(parameters[-2].shape)
    pair.step(random_tensors(1))
    pair.update(0.5)
    pair.step(random_tensors(2))
    pair.assert_equal()


def test_moved_storage_is_noticed(twins):
    pair = twins(random_tensors(0))
    pair.step(random_tensors(1))
    for parameters, _ in pair.both:
        for parameter in parameters:
            parameter.data = parameter.data.clone()
    pair.step(random_tensors(2))
    pair.update(0.5)
    pair.assert_equal()


@pytest.mark.parametrize("num_weights", [0, 1, 31, 32, 33, 64, 1000])
def test_packed_masks_hold_one_bit_a_weight(num_weights):
    keep = torch.rand(num_weights, generator=torch.Generator().manual_seed(0)) > 0.5
    words = pack(keep)
    assert words.dtype == torch.int32
    assert len(words) == num_words(num_weights) == math.ceil(num_weights / 32)
    assert torch.equal(unpack(words, keep.shape), keep)
    assert torch.equal(all_kept(keep), pack(torch.ones_like(keep)))


def test_bits_are_counted_from_the_least_significant():
    keep = torch.zeros(5, 7, dtype=torch.bool)
    keep[0, 0] = keep[0, 3] = keep[4, 3] = keep[4, 4] = True
    assert pack(keep).tolist() == [-(2**31) + 0b1001, 1]
