"""How a GPU is opened, what is refused by name, and what its errors mean; without a GPU."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from tests.workers.cuda_stand_in import H100, T4, V100, CudaStandIn, fake_tensors
from workers.devices import (
    describe_failed_step,
    give_back_memory,
    name_fault,
    open_gpu,
    refuse_overrides,
    refuse_precision,
)
from workers.measured import name_device, peak_gpu_memory_gib, reset_peak_memory
from workers.trial import TrialError

GPU = torch.device("cuda", 0)


@pytest.fixture
def install(monkeypatch) -> Iterator[Callable[..., CudaStandIn]]:
    """Install a GPU that is not there; kernels of Triton cannot run on it."""

    def install(**changes) -> CudaStandIn:
        stand_in = CudaStandIn(**H100 | changes)
        stand_in.install(monkeypatch)
        return stand_in

    for name in ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"):
        monkeypatch.delenv(name, raising=False)
    matmul = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    reduced = matmul.allow_bf16_reduced_precision_reduction
    open_gpu.cache_clear()
    with fake_tensors():
        yield install
    open_gpu.cache_clear()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    matmul.allow_bf16_reduced_precision_reduction = reduced


def test_cuda_is_initialised_before_the_peak_is_reset(install):
    stand_in = install()
    with pytest.raises(RuntimeError, match="did you call init"):
        reset_peak_memory(GPU)
    device = open_gpu("reference")
    reset_peak_memory(device)
    assert (device, peak_gpu_memory_gib(device)) == (GPU, 1.0)
    assert name_device(device) == "NVIDIA H100 80GB HBM3"
    assert stand_in.calls == [("synchronize",)], "an error shows here and not in the trial"


def test_a_gpu_is_opened_once_and_an_error_is_met_again(install):
    stand_in = install(refuses=RuntimeError("busy"))
    for _ in range(2):
        with pytest.raises(TrialError, match="busy"):
            open_gpu("reference")
    stand_in.refuses = None
    assert open_gpu("reference") == open_gpu("reference") == GPU
    assert stand_in.calls == [("synchronize",)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The NVIDIA driver on your system is too old (found version 12020)."),
        RuntimeError("No CUDA GPUs are available"),
        AssertionError("Torch not compiled with CUDA enabled"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_a_fault_of_the_device_with_the_reason(install, error):
    install(refuses=error)
    with pytest.raises(TrialError) as caught:
        open_gpu("reference")
    assert caught.value.kind == "device"
    assert f"sees none ({error}; CUDA_VISIBLE_DEVICES: " in str(caught.value)
    assert str(caught.value).endswith("or set resources.gpus_per_trial=0")


def test_products_are_computed_in_the_precision_of_the_trial(install):
    install()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    open_gpu("reference")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


@pytest.mark.parametrize("share", ["25", "99.5", "half"])
def test_a_share_of_the_processors_is_refused(share):
    """Processes that share a GPU by MPS have all of them; else products have other bits."""
    name = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"
    with pytest.raises(TrialError, match=f"{name}={share}: .* changes the numbers .*; unset it o"):
        refuse_overrides({name: share})
    for whole in ("", "100"):
        refuse_overrides({name: whole})


@pytest.mark.parametrize("name", ["NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"])
def test_a_variable_that_turns_on_tf32_is_refused(install, monkeypatch, name):
    install()
    monkeypatch.setenv(name, "1")
    with pytest.raises(TrialError, match=f"{name}=1: .* TF32, .* unset it") as caught:
        open_gpu("reference")
    assert caught.value.kind == "device"
    monkeypatch.setenv(name, "0")
    assert open_gpu("reference") == GPU


def test_memory_of_a_fraction_is_bound_and_leaves_room_for_cuda(install):
    stand_in = install()
    open_gpu("reference", 0.25)
    (bound,) = [call for call in stand_in.calls if call[0] == "fraction"]
    assert bound == ("fraction", 0.25 - 0.5 / 80, GPU)
    small = install(memory_gib=2)
    open_gpu("reference", 0.1)
    assert small.calls[0] == ("fraction", 0.05, GPU), "at least half of the share"


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The waits so far, which take no time."""
    waits: list[float] = []
    monkeypatch.setattr("workers.devices.time.sleep", waits.append)
    monkeypatch.setattr("workers.devices.time.monotonic", lambda: sum(waits))
    return waits


FULL = RuntimeError("CUDA error: out of memory")
BUSY = torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable")


@pytest.mark.parametrize(
    ("free_gib", "share", "waits_s"),
    [
        ([80], 1.0, 0),
        ([40], 1.0, 0),  # half is enough: others may drive a screen
        ([19.9], 0.25, 0),  # our own context is there already
        ([3, 3, 3, 79], 1.0, 1.5),  # a worker that has just died
        ([FULL, BUSY, 21], 0.25, 1.0),
    ],
)
def test_a_worker_waits_for_memory_that_a_dead_one_holds(
    install, slept, caplog, free_gib, share, waits_s
):
    caplog.set_level("WARNING")
    install(free_gib=free_gib)
    assert open_gpu("reference", share) == GPU
    assert (sum(slept), caplog.text) == (waits_s, "")


def test_a_worker_does_not_wait_for_ever(install, slept, caplog):
    install(free_gib=[3])
    open_gpu("reference")
    assert sum(slept) == 10, "nothing changes"
    assert "cuda:0: 3.0 GiB are free, others hold the rest of the 40.0 GiB that" in caplog.text
    slept.clear()
    open_gpu.cache_clear()
    install(free_gib=[1 + number % 2 for number in range(1000)])
    open_gpu("reference")
    assert sum(slept) == 60


def test_a_fault_is_not_waited_for(install, slept):
    install(free_gib=[torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")])
    with pytest.raises(TrialError, match="cuda:0 cannot compute: CUDA error: uncorrectable") as it:
        open_gpu("reference")
    assert (it.value.kind, slept) == ("device", [])


@pytest.mark.parametrize(("share", "is_given_back"), [(1.0, False), (0.25, True)])
def test_memory_is_given_back_after_a_trial_where_a_gpu_is_shared(install, share, is_given_back):
    stand_in = install()
    open_gpu("reference", share)
    give_back_memory(GPU)
    give_back_memory(torch.device("cpu"))
    assert (("empty_cache",) in stand_in.calls) == is_given_back


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("expandable_segments:True", None)),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, ("max_split_size_mb:64", None)),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, (None, "backend:native")),
    ],
)
def test_torch_is_told_to_grow_its_memory_before_it_is_imported(given, expected):
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    program = f"""
import os, sys, workers
print("torch" in sys.modules, tuple(os.environ.get(name) for name in {names}))
"""
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment | given, capture_output=True, text=True)
    assert done.stdout.strip() == f"False {expected}", done.stderr


def test_a_gpu_that_torch_has_no_code_for_is_refused(install):
    install(**V100)
    message = "V100.* has compute capability 7.0, and torch .* has code for sm_75, .*sm_120; "
    with pytest.raises(TrialError, match=message) as caught:
        open_gpu("reference")
    assert caught.value.kind == "device"


@pytest.mark.parametrize(
    ("capability", "architectures", "is_served"),
    [
        ((8, 9), ["sm_80", "sm_86"], True),  # an older one of the same major version
        ((8, 0), ["sm_86", "sm_90"], False),
        ((9, 0), ["sm_80"], False),
        ((9, 0), ["sm_80", "compute_80"], True),  # code to translate
        ((10, 3), ["sm_100"], True),
        ((12, 1), ["sm_90a", "sm_120f"], True),
        ((7, 5), ["compute_80"], False),
        ((9, 0), [], True),  # torch does not say
    ],
)
def test_code_serves_what_the_driver_can_load(install, capability, architectures, is_served):
    install(capability=capability, architectures=architectures)
    if is_served:
        assert open_gpu("reference") == GPU
    else:
        with pytest.raises(TrialError, match="has code for"):
            open_gpu("reference")


@pytest.mark.parametrize("kernels", ["auto", "triton"])
def test_triton_is_refused_below_8_and_reference_is_not(install, kernels):
    install(**T4)
    with pytest.raises(TrialError, match=r"Tesla T4 .* 7.5, .*pruning.kernels=reference") as caught:
        open_gpu(kernels)
    assert caught.value.kind == "device"
    assert open_gpu("reference") == GPU


def test_bfloat16_is_refused_where_it_is_emulated(install):
    install(**T4)
    with pytest.raises(TrialError, match=r"T4 .* 7.5, .* set training.precision=float32"):
        refuse_precision(GPU, "bfloat16")
    refuse_precision(GPU, "float32")
    refuse_precision(torch.device("cpu"), "bfloat16")
    install(**H100)
    refuse_precision(GPU, "bfloat16")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), "out_of_memory"),
        (torch.AcceleratorError("CUDA error: out of memory"), "out_of_memory"),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `c`"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when"), "out_of_memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
        ),
        (MemoryError(), "out_of_memory"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), "device"),
        (RuntimeError("CUDA error: unspecified launch failure\nmore"), "device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when"), "device"),
        (RuntimeError("Offset increment outside graph capture encountered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was met"), "device"),
        (torch.cuda.DeferredCudaCallError("CUDA call failed lazily"), "device"),
        (RuntimeError("expected a tensor"), None),
        (ValueError("CUDA error in a name"), None),
        (TrialError("bad_data", "CUDA error"), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_have_the_kind_of_their_cause(error, kind):
    fault = name_fault(error, "lower it")
    assert (fault and fault.kind) == kind
    if fault is not None:
        assert "\n" not in str(fault)
        assert str(fault).endswith("; lower it") == (kind == "out_of_memory")


@pytest.mark.parametrize(("with_gcc", "remedy"), [(False, "install gcc"), (True, "Python.h")])
def test_what_triton_lacks_to_compile_is_named(monkeypatch, tmp_path, with_gcc, remedy):
    build = pytest.importorskip("triton.runtime.build")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if with_gcc:  # one that does not find the headers
        (tmp_path / "gcc").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "gcc").chmod(0o755)
    with pytest.raises(Exception, match=r"C compiler|returned non-zero") as caught:
        build._build("driver", "driver.c", str(tmp_path), [], [], [], [])
    assert remedy in str(describe_failed_step(caught.value, GPU))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("Failed to find C compiler. Please specify via CC"), "install gcc"),
        (subprocess.CalledProcessError(1, ["/usr/bin/gcc", "main.c"]), "Python.h"),
        (AssertionError("libcuda.so cannot found!\nPlease make sure"), "libcuda.so.1"),
        (RuntimeError("CUDA error: out of memory"), "something else fills the GPU"),
        (RuntimeError("CUDA error: no kernel image is available"), "sparsweep doctor"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_hinders_the_first_step_is_a_fault_of_the_device_with_the_remedy(error, remedy):
    fault = describe_failed_step(error, GPU)
    assert fault.kind == "device"
    assert remedy in str(fault)
    assert "\n" not in str(fault)
