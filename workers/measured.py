"""What a trial used of its machine: peak memory, and the names of processor and GPU."""

import contextlib
import os
import platform
import resource
import sys
from pathlib import Path

import torch

GIB = 2**30


def reset_peak_memory(device: torch.device) -> None:
    """Start the memory peaks of the process and of the GPU anew, so that they are this trial's.

    Where the system is not Linux, or does not permit it, the peak stays that of the process so far.

    Args:
        device: where the trial computes.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_gib() -> float:
    """Peak resident memory of this process since `reset_peak_memory`, in GiB."""
    # Not psutil: on Linux it tells of the present memory, not of the peak.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / GIB if sys.platform == "darwin" else peak * 1024 / GIB


def peak_gpu_memory_gib(device: torch.device) -> float | None:
    """Peak memory that torch took of the GPU since `reset_peak_memory`, in GiB; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / GIB if device.type == "cuda" else None


def name_device(device: torch.device) -> str:
    """What the GPU or the processor is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _name_cpu()


def share_of_memory(num_threads: int) -> int:
    """Bytes of this machine's memory that fall to a process, as to any other with as many cores.

    Args:
        num_threads: cores that the process computes with.
    """
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return whole * min(num_threads, num_cpus := os.cpu_count() or 1) // num_cpus


def _name_cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
