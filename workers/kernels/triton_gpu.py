"""The kernels in Triton: for GPUs, and interpreted for CPU tensors, to be tested without a GPU.

Nothing here waits for the device: what the host must know it knows from shapes, and what only the
device knows (masks, norms, thresholds, NaN) is read there. Results are those of `reference` bit for
bit, but for what `triton_step` says of the gradient norm and of powers of the betas; and Triton
before 3.6 takes denormals for 0 in square roots and divisions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.kernels.interface import RankGroup, Semantics, StepOptions, StepTensors
from workers.kernels.triton_launch import Launcher
from workers.kernels.triton_masks import MaskUpdate
from workers.kernels.triton_step import Step


class TritonKernels:
    """See `workers.kernels.interface.Kernels`.

    A step can be captured in a CUDA graph after one step outside of it; a replay does what that
    step did, with the same tensors. What it may see change is their values, and lr if that is a
    tensor on the device.

    Args:
        device: where all tensors are.
    """

    name = "triton"

    def __init__(self, device: torch.device):
        self._launcher = Launcher(device)
        self._step, self._mask_update = Step(self._launcher), MaskUpdate(self._launcher)

    @property
    def num_launches(self) -> int:
        """Kernels launched so far."""
        return self._launcher.num_launches

    def step(self, tensors: Sequence[StepTensors], options: StepOptions) -> Tensor | None:
        """See `Kernels.step`.

        Raises:
            ValueError: lr is a tensor that the device cannot read.
            RuntimeError: a CUDA graph is captured, and tensors or options differ from the last
                step's.
        """
        with self._launcher.on_device():
            return self._step(tensors, options)

    def update_masks(self, groups: Sequence[RankGroup], semantics: Semantics) -> Tensor:
        """See `Kernels.update_masks`.

        Raises:
            RuntimeError: a CUDA graph is captured, and tensors or numbers differ from the last
                update's.
        """
        with self._launcher.on_device():
            return self._mask_update(groups, semantics)
