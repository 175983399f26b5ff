"""What Triton's kernels are to a GPU: launches, and machine code, compiled here without one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="needs triton, which is for Linux")

from workers.kernels import triton_masks, triton_step
from workers.kernels.interface import MaskTensors, RankGroup, StepOptions, StepTensors
from workers.kernels.packed import all_kept
from workers.kernels.triton_gpu import TritonKernels

pytestmark = pytest.mark.usefixtures("quick_interpreter")

ROOT = Path(__file__).resolve().parents[3]
ARCHITECTURES = ("80", "90", "100")  # A100, H100, B200
STEP_KERNELS = ("add_squares", "prepare", "adamw", "adamw, found_inf", "adamw, rounded")
MASK_KERNELS = (
    "count_digits",
    "count_digits, shadow",
    "count_ties",
    "share_ties",
    "write_masks",
    "write_masks, shadow",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Machine = Callable[[str], dict[str, int]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> dict[str, dict[str, dict[str, int]]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-m", "tests.workers.kernels.compile_triton", *ARCHITECTURES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=ARCHITECTURES, ids=lambda number: f"sm_{number}")
def machine(request, compiled) -> Machine:
    """A kernel's name to what was counted in its code for one architecture."""
    return lambda name: compiled[request.param][name]


@pytest.mark.parametrize("name", STEP_KERNELS + MASK_KERNELS)
def test_nothing_is_kept_outside_of_registers(machine, name):
    assert machine(name)["spills"] == 0
    assert machine(name)["stack_bytes"] == 0
    # 64 let 4 programs run at once on a multiprocessor, 80 let 3: enough for mask updates that read
    # two tensors.
    is_update_of_two = name in MASK_KERNELS and name.endswith("shadow")
    assert machine(name)["registers"] <= (80 if is_update_of_two else 64)


@pytest.mark.parametrize("name", ["adamw", "adamw, found_inf"])
def test_the_step_moves_128_bits_at_once_and_only_where_a_weight_is_kept(machine, name):
    assert machine(name)["loads_of_128_bits"] == 4  # weight, gradient and both moments
    assert machine(name)["stores_of_128_bits"] == 3
    assert machine(name)["on_condition_of_128_bits"] == 4 + 3
    assert machine(name)["registers"] <= 40  # of which 6 programs fit on a multiprocessor


def test_with_rounded_weights_it_moves_64_bits_of_them_and_of_their_gradients(machine):
    counts = machine("adamw, rounded")
    assert counts["loads_of_128_bits"] == 4 + 3  # of tensors without them, and of those with them
    assert counts["stores_of_128_bits"] == 3 + 3
    assert counts["on_condition_of_128_bits"] == 4 + 3 + 3 + 3
    assert (counts["loads_of_64_bits"], counts["stores_of_64_bits"]) == (1, 1)
    assert counts["registers"] <= 48  # of which 5 programs fit on a multiprocessor


def test_the_norm_loads_128_bits_at_once_and_only_where_a_weight_is_kept(machine):
    for kind in ("loads_of_128_bits", "on_condition_of_128_bits"):
        assert machine("add_squares")[kind] == triton_step.CHUNK_BLOCKS.value


@pytest.mark.parametrize("name", STEP_KERNELS)
def test_every_operation_of_the_step_is_rounded_as_the_reference_rounds_it(machine, name):
    counts = machine(name)
    assert (counts["fused_products"], counts["flushed_denormals"], counts["approximations"]) == (
        0,
        0,
        0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_tensors", [1, 5])
def test_launches_do_not_grow_with_the_number_of_tensors(num_tensors):
    kernels = TritonKernels(DEVICE)
    tensors = [step_tensors(33 * (1 + index)) for index in range(num_tensors)]
    assert launches(kernels, lambda: step(kernels, tensors, max_grad_norm=None)) == 2
    assert launches(kernels, lambda: step(kernels, tensors, max_grad_norm=1.0)) == 3
    masked = [
        MaskTensors(own.weight, own.exp_avg, own.exp_avg_sq, all_kept(own.weight))
        for own in tensors
    ]
    for groups in ([RankGroup(tuple(masked), 3)], [RankGroup((own,), 3) for own in masked]):
        num_launches = launches(kernels, lambda groups=groups: kernels.update_masks(groups, "hard"))
        assert num_launches == triton_masks.NUM_DIGITS.value + 3


def test_nothing_is_launched_for_nothing():
    kernels = TritonKernels(DEVICE)
    assert step(kernels, [], max_grad_norm=None) is None
    assert step(kernels, [], max_grad_norm=1.0) == 0
    assert kernels.update_masks([], "hard") == 0
    assert kernels.num_launches == 0


def test_an_lr_that_the_device_cannot_read_is_refused():
    tensors = [step_tensors(3, lr=torch.tensor(1e-3, device="meta"))]
    with pytest.raises(
        ValueError,
        match=r"lr: a tensor of torch.float32 on meta.* give a float, or a tensor of float",
    ):
        step(TritonKernels(DEVICE), tensors, max_grad_norm=None)


def step_tensors(size: int, lr: float | torch.Tensor = 1e-3) -> StepTensors:
    weight, grad, exp_avg, exp_avg_sq = torch.ones((4, size), device=DEVICE).unbind()
    steps = torch.zeros((), device=DEVICE)
    return StepTensors(weight, grad, exp_avg, exp_avg_sq, steps, None, lr, 0.9, 0.999, 1e-8, 0.01)


def step(
    kernels: TritonKernels, tensors: list[StepTensors], max_grad_norm: float | None
) -> torch.Tensor | None:
    return kernels.step(tensors, StepOptions(max_grad_norm=max_grad_norm))


def launches(kernels: TritonKernels, do: Callable[[], object]) -> int:
    before = kernels.num_launches
    do()
    return kernels.num_launches - before
