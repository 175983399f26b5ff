"""What is done to every weight: the AdamW step with masks, and the search for what to prune.

One definition, three implementations: `reference` (plain PyTorch, the meaning), `numba` (CPUs) and
`triton` (GPUs). `interface` says what each of them takes and does, `packed` how masks lie in
memory.
"""

import importlib.util
import os

import torch

from workers.kernels.interface import Kernels

AUTO = "auto"
NAMES = ("reference", "triton", "numba")


def make_kernels(name: str, device: torch.device) -> Kernels:
    """The implementation called `name`, for weights on `device`.

    Args:
        name: auto (triton on GPUs, numba on CPUs, reference on anything else), or one of `NAMES`.
            What is asked for by name is given or refused, never replaced.
        device: where the weights are.

    Returns:
        A new one; those for GPUs keep tables on the device for their tensors.

    Raises:
        ValueError: there is no such implementation, it is not installed, or it cannot compute on
            that device.
    """
    if name == AUTO:
        name = {"cuda": "triton", "cpu": "numba"}.get(device.type, "reference")
    if name == "reference":
        from workers.kernels.reference import ReferenceKernels

        return ReferenceKernels()
    if name == "numba":
        if device.type != "cpu":
            raise ValueError(
                f"kernels: numba computes on CPUs and the weights are on {device}; "
                "use auto or triton"
            )
        from workers.kernels.numba_cpu import NumbaKernels

        return NumbaKernels()
    if name == "triton":
        if importlib.util.find_spec("triton") is None:
            raise ValueError(
                "kernels: triton is not installed; install it (torch for CUDA does) "
                "or use reference"
            )
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise ValueError(
                f"kernels: triton computes on GPUs and the weights are on {device}; "
                "use auto, numba or reference"
            )
        from workers.kernels.triton_gpu import TritonKernels

        return TritonKernels(device)
    raise ValueError(f"kernels: {name!r} is unknown; there are {AUTO}, {', '.join(NAMES)}")
