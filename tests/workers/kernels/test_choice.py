"""Which kernels compute: those for the device, or those that are asked for."""

import importlib.util
import sys

import pytest
import torch

from tests.workers.pruning.optimizers import parameters
from workers.kernels import NAMES, make_kernels
from workers.pruning.masked_adamw import MaskedAdamW


def test_automatic_choice_follows_the_device_and_is_told():
    assert make_kernels("auto", torch.device("cpu")).name == "numba"
    assert make_kernels("auto", torch.device("meta")).name == "reference"
    assert MaskedAdamW(parameters(), kernels="reference").kernels.name == "reference"


def test_kernels_for_another_device_are_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(
        ValueError, match="kernels: numba computes on CPUs and the weights are on meta; use auto"
    ):
        make_kernels("numba", torch.device("meta"))
    if importlib.util.find_spec("triton"):
        with pytest.raises(
            ValueError,
            match="kernels: triton computes on GPUs and the weights are on cpu; use auto",
        ):
            make_kernels("triton", torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "triton", None)  # as where it is not installed
    with pytest.raises(ValueError, match="kernels: triton is not installed; install it"):
        make_kernels("triton", torch.device("cuda"))
    assert set(NAMES) == {"reference", "triton", "numba"}
