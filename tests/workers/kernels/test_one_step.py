"""Whether kernels can run here, found out with one weight."""

import pytest
import torch

from workers.kernels.one_step import try_kernels, try_step
from workers.kernels.reference import ReferenceKernels

pytestmark = pytest.mark.usefixtures("quick_interpreter")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["triton", "reference"])
def test_kernels_that_work_are_equal_to_the_reference(name):
    try_kernels(name, DEVICE)
    try_step(name, DEVICE)


def test_kernels_that_compute_something_else_are_named(monkeypatch):
    class Lazy(ReferenceKernels):
        def step(self, tensors, options):
            return None

    monkeypatch.setattr("workers.kernels.triton_gpu.TritonKernels", lambda device: Lazy())
    with pytest.raises(RuntimeError, match=r"triton computes \[0.75\] where reference computes"):
        try_kernels("triton", DEVICE)


def test_kernels_that_cannot_be_made_are_refused_as_in_a_trial():
    with pytest.raises(ValueError, match="'cuda' is unknown"):
        try_kernels("cuda", DEVICE)
