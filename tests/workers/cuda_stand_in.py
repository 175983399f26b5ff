"""A stand-in for torch.cuda on a machine without a GPU, which refuses what the real one refuses.

Before CUDA is initialised torch's allocator knows no device, so its statistics cannot be reset; and
initialising finds out what is wrong with driver and device. Tensors are not computed: under torch's
fake mode they only have a shape and a device.
"""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

GIB = 2**30
H100 = {"name": "NVIDIA H100 80GB HBM3", "capability": (9, 0)}
T4 = {"name": "Tesla T4", "capability": (7, 5)}
V100 = {"name": "Tesla V100-SXM2-32GB", "capability": (7, 0)}
WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
"""Architectures of torch's wheels for CUDA 13."""


_DEVICE_GUARDS = "_ZN3c104impl26device_guard_impl_registryE"
"""In libc10: a pointer for each type of device to what makes a device the current one."""
_CUDA, _META = 1, 14  # places in it: c10/core/DeviceType.h


@contextlib.contextmanager
def fake_tensors() -> Iterator[FakeTensorMode]:
    """Tensors on `cuda` that are not computed, also where torch is built without CUDA, or finds no
    driver.

    Such a torch cannot make `cuda` the current device, which some operations do before they look at
    their tensors. It is lent that of the device `meta`, which does nothing.
    """
    torch._C._ensureCUDADeviceGuardSet()  # does so where torch is built with CUDA
    library = ctypes.CDLL(str(Path(torch.__path__[0]) / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(library, _DEVICE_GUARDS)
    own, count_devices = guards[_CUDA], getattr(torch._C, "_cuda_getDeviceCount", lambda: 0)
    with pytest.MonkeyPatch.context() as patch:
        if count_devices() == 0:
            guards[_CUDA] = guards[_META]
            # The fake mode would make a tensor on the device first.
            patch.setattr("torch._subclasses.fake_tensor.init_gpu_context", lambda device: None)
        try:
            with FakeTensorMode() as mode:
                yield mode
        finally:
            guards[_CUDA] = own


class CudaStandIn:
    """One GPU.

    Args:
        name: of the GPU.
        capability: compute capability.
        architectures: that torch has code for.
        memory_gib: of the GPU.
        free_gib: of it that are free, one look after another; the last one stays. An error is
            raised.
        refuses: what initialising raises, if it does.
    """

    def __init__(
        self,
        name: str,
        capability: tuple[int, int],
        architectures: list[str] = WHEEL,
        memory_gib: int = 80,
        free_gib: Sequence[float | Exception] = (1000,),
        refuses: Exception | None = None,
    ):
        self.name, self.capability, self.architectures = name, capability, architectures
        self.memory_bytes, self.refuses = memory_gib * GIB, refuses
        self.free_gib = list(free_gib)
        self.share = 1.0
        self.is_initialized = False
        self.calls: list[tuple[Any, ...]] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it in the place of the functions of torch.cuda that trials call."""
        functions = {
            "init": self.init,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_arch_list": lambda: self.architectures,
            "get_device_capability": lambda device=None: self._ask(self.capability),
            "get_device_name": lambda device=None: self._ask(self.name),
            "get_device_properties": lambda device=None: self._ask(
                SimpleNamespace(name=self.name, total_memory=self.memory_bytes)
            ),
            "reset_peak_memory_stats": self.reset_peak_memory_stats,
            "max_memory_allocated": lambda device=None: self._ask(GIB),
            "set_per_process_memory_fraction": self.set_fraction,
            "get_per_process_memory_fraction": lambda device=None: self._ask(self.share),
            "mem_get_info": lambda device=None: self._ask(self.mem_get_info()),
            "empty_cache": lambda: self.calls.append(("empty_cache",)),
            "synchronize": lambda device=None: self._ask(self.calls.append(("synchronize",))),
        }
        for name, function in functions.items():
            patch.setattr(torch.cuda, name, function)

    def init(self) -> None:
        """As torch.cuda.init."""
        if self.refuses is not None:
            raise self.refuses
        self.is_initialized = True

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """As the real one, this does not initialise CUDA."""
        if not self.is_initialized:
            raise RuntimeError("Invalid device argument 0: did you call init?")

    def set_fraction(self, fraction: float, device: Any = None) -> None:
        """As torch.cuda.set_per_process_memory_fraction."""
        self.init()
        self.share = fraction
        self.calls.append(("fraction", fraction, device))

    def mem_get_info(self) -> tuple[int, int]:
        """As torch.cuda.mem_get_info, which makes the context of the process first."""
        free = self.free_gib.pop(0) if len(self.free_gib) > 1 else self.free_gib[0]
        if isinstance(free, Exception):
            raise free
        return int(min(free * GIB, self.memory_bytes)), self.memory_bytes

    def _ask(self, answer: Any) -> Any:
        """These initialise CUDA when they are called."""
        self.init()
        return answer
