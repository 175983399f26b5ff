"""The GPU of a process: opened, checked and tried before a trial uses it; and what its errors mean.

A fault of a GPU says nothing about the trial that met it, so it is never held against the trial:
such errors have the kind `device`, see `orchestrator.running.outcomes`.
"""

import gc
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import cache
from subprocess import CalledProcessError

import torch

from workers.kernels import AUTO
from workers.kernels.one_step import try_step
from workers.trial import TrialError, first_line

CONTEXT_BYTES = 512 * 2**20
"""What a process takes of a GPU beside what torch counts: CUDA's context and cuBLAS. Roughly."""

TRITON_NEEDS = (8, 0)
"""Compute capability, also of bfloat16. Triton says that it does not support GPUs below."""

ROOM_WITHIN_S = 60.0
"""How long a worker waits for memory that a dead one may still hold."""

STILL_S = 10.0
"""Where no memory came free for so long, nothing is about to."""

LOOK_EVERY_S = 0.5

_OUT_OF_MEMORY = re.compile(
    # cuBLAS says of a GPU that is full that it is not initialised: its handle takes memory.
    "out of memory|can't allocate memory|CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    "|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_DEVICE_FAULT = re.compile(
    r"CUDA (error|driver|unknown error|call failed)|CU(BLAS|SOLVER|SPARSE)_STATUS_|CUDNN_STATUS_"
    r"|cuDNN error|Triton Error \[|HIP error|NVIDIA driver|NVML|No CUDA GPUs|re-initialize CUDA"
    # A recording that failed leaves the process in its midst.
    r"|outside graph capture"
)
_IN_USE = re.compile("busy or unavailable")
"""CUDA's word where a GPU is for one process at a time, and another has it."""

SHARE_OF_PROCESSORS = "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"

log = logging.getLogger(__name__)


@cache  # an error is not kept
def open_gpu(kernels: str = AUTO, share: float = 1.0) -> torch.device:
    """Make the first visible GPU ready to compute reproducibly; only the first call of a process
    does something.

    Args:
        kernels: those that will compute here; a step of one element is tried, since what Triton
            lacks (a compiler, Python's headers) shows no earlier.
        share: of the GPU's memory that the process may fill, above 0 to 1.

    Returns:
        The GPU.

    Raises:
        TrialError: kind `device`, when it cannot be used.
    """
    refuse_overrides(os.environ)
    try:
        torch.cuda.init()
    except Exception as error:  # whatever it is, there is no GPU for us
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise TrialError(
            "device",
            f"resources.gpus_per_trial: the trial was given a GPU, but torch {torch.__version__} "
            f"sees none ({first_line(error)}; CUDA_VISIBLE_DEVICES: {visible}); look at the "
            "node's driver and at which torch is installed, or set resources.gpus_per_trial=0",
        ) from error
    device = torch.device("cuda", 0)
    refuse_architecture(device, kernels)
    # Both are torch's own defaults, which a site's start-up file may have changed.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    # Sums in bfloat16 would depend on how cuBLAS cuts a product.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    try:
        wait_for_room(device, share)
        if share < 1:
            torch.cuda.set_per_process_memory_fraction(_share_for_torch(device, share), device)
        torch.zeros(1, device=device).add_(1)
        try_step(kernels, device)
        torch.cuda.synchronize(device)
    except Exception as error:  # also of a compiler, which Triton runs
        raise describe_failed_step(error, device) from error
    return device


def wait_for_room(device: torch.device, share: float = 1.0) -> None:
    """Wait until a GPU has room for a trial: what a process held that has just died comes free a
    while later only. Where that does not happen, go on all the same.

    Args:
        device: the GPU; CUDA is initialised.
        share: of its memory that this process may fill. Half of a GPU is enough for any: one that
            also drives a screen is never empty.

    Raises:
        RuntimeError: CUDA fails, for another reason than that the GPU is full or in use.
    """
    needed = int(torch.cuda.get_device_properties(device).total_memory * min(share, 0.5))
    started = changed = time.monotonic()
    last = None
    while (free := _free_bytes(device)) < needed - CONTEXT_BYTES:
        now = time.monotonic()
        if free != last:
            last, changed = free, now
        if now - started >= ROOM_WITHIN_S or now - changed >= STILL_S:
            message = "%s: %.1f GiB are free, others hold the rest of the %.1f GiB that are ours"
            log.warning(message, device, free / 2**30, needed / 2**30)
            return
        time.sleep(LOOK_EVERY_S)


def give_back_memory(device: torch.device) -> None:
    """After a trial, where others share the GPU: free what the process holds and no longer needs.

    Args:
        device: where the trial computed.
    """
    if device.type == "cuda" and torch.cuda.get_per_process_memory_fraction(device) < 1:
        gc.collect()  # a model's modules refer to each other
        torch.cuda.empty_cache()


def refuse_architecture(device: torch.device, kernels: str) -> None:
    """A GPU for which there is no machine code would fail every trial with words that do not help.

    Args:
        device: the GPU; CUDA is initialised.
        kernels: those that will compute there.

    Raises:
        TrialError: kind `device`, when torch or Triton cannot serve it.
    """
    if torch.version.hip:  # AMD's have other names
        return
    capability, name = torch.cuda.get_device_capability(device), torch.cuda.get_device_name(device)
    number = f"compute capability {capability[0]}.{capability[1]}"
    architectures = torch.cuda.get_arch_list()
    if not _is_served(capability, architectures):
        raise TrialError(
            "device",
            f"{name} has {number}, and torch {torch.__version__} has code for "
            f"{', '.join(architectures)}; install a torch built for this GPU, or use other GPUs or "
            "resources.gpus_per_trial=0",
        )
    if kernels in (AUTO, "triton") and capability < TRITON_NEEDS:
        raise TrialError(
            "device",
            f"pruning.kernels: {name} has {number}, and Triton needs 8.0; set "
            "pruning.kernels=reference, or use other GPUs",
        )


def refuse_precision(device: torch.device, precision: str) -> None:
    """Below 8.0 torch emulates bfloat16, many times as slow, without a word.

    Args:
        device: where the trial computes.
        precision: of its training.

    Raises:
        TrialError: kind `device`, when that GPU does not have the precision.
    """
    if device.type != "cuda" or precision != "bfloat16" or torch.version.hip:
        return
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < TRITON_NEEDS:
        raise TrialError(
            "device",
            f"training.precision: {torch.cuda.get_device_name(device)} has compute capability "
            f"{major}.{minor}, and bfloat16 needs 8.0; set training.precision=float32, or use "
            "other GPUs",
        )


def name_fault(error: Exception, hint: str) -> TrialError | None:
    """What an error inside a trial is, if it is known to be one of memory or of the device.

    Args:
        error: caught.
        hint: what to do when memory is missing.

    Returns:
        An error of kind `out_of_memory` or `device` to raise in its place; None: it is another one.
    """
    known = (MemoryError, torch.OutOfMemoryError)
    is_runtime = isinstance(error, RuntimeError)
    if isinstance(error, known) or (is_runtime and _OUT_OF_MEMORY.search(str(error))):
        return TrialError("out_of_memory", f"{first_line(error)}; {hint}")
    named = (torch.AcceleratorError, torch.cuda.DeferredCudaCallError)
    if isinstance(error, named) or (is_runtime and _DEVICE_FAULT.search(str(error))):
        return TrialError(
            "device",
            f"the GPU failed: {first_line(error)}; nvidia-smi and the kernel's log (Xid) of the "
            "node say more",
        )
    return None


def describe_failed_step(error: Exception, device: torch.device) -> TrialError:
    """Why a GPU could be opened and cannot compute, and what to do.

    Args:
        error: of the first things that were computed there.
        device: the GPU.
    """
    text, remedy = str(error), "run `sparsweep doctor` on the node, and look at its nvidia-smi"
    other = "or set pruning.kernels=reference"
    if "C compiler" in text:
        remedy = f"Triton needs a C compiler: install gcc on the node, {other}"
    elif isinstance(error, CalledProcessError):  # the compiler's words went to standard error
        remedy = f"Triton needs Python.h: install Python's headers (python3-dev) there, {other}"
    elif "libcuda" in text or "ldconfig" in text:
        remedy = f"Triton needs the driver's libcuda.so.1 where ldconfig finds it, {other}"
    elif _OUT_OF_MEMORY.search(text):
        remedy = "something else fills the GPU: see nvidia-smi on the node"
    return TrialError("device", f"{device} cannot compute: {first_line(error)}; {remedy}")


def refuse_overrides(environ: Mapping[str, str]) -> None:
    """TF32 keeps 10 bits of 23, and some variables turn it on past all that a program sets. With a
    share of a GPU's processors cuBLAS computes products in other parts, to other bits.

    Args:
        environ: variables of this process.

    Raises:
        TrialError: kind `device`, when one of them does.
    """
    for name in ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"):
        if environ.get(name, "") not in ("", "0"):
            raise TrialError(
                "device",
                f"{name}={environ[name]}: products would be computed in TF32, which changes the "
                "numbers of trials; unset it on the node (a container's image may set it)",
            )
    share = environ.get(SHARE_OF_PROCESSORS, "")
    if share not in ("", "100", "100.0"):
        raise TrialError(
            "device",
            f"{SHARE_OF_PROCESSORS}={share}: a share of the GPU's processors changes the numbers "
            "of trials; unset it on the node (Slurm sets it where a job asks for --gres=mps)",
        )


def _is_served(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether there is machine code of the same major version, not newer, or code to translate."""
    if not architectures:  # torch does not know
        return True
    for architecture in architectures:
        matched = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", architecture)
        if matched is None:
            continue
        built_for = int(matched[2]), int(matched[3])
        is_same_major = built_for[0] == capability[0] or matched[1] == "compute"
        if is_same_major and built_for <= capability:
            return True
    return False


def _free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nobody holds, our own CUDA context taken off; none where there is not
    even room for that."""
    try:
        return torch.cuda.mem_get_info(device)[0]
    except RuntimeError as error:
        if _OUT_OF_MEMORY.search(str(error)) or _IN_USE.search(str(error)):
            return 0
        raise


def _share_for_torch(device: torch.device, share: float) -> float:
    """Of the GPU's memory, so that as many processes as fit beside each other really do."""
    of_context = CONTEXT_BYTES / torch.cuda.get_device_properties(device).total_memory
    return max(share - of_context, share / 2)
