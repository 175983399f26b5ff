"""What a process measures of itself and of its machine."""

import os

import numpy as np
import pytest
import torch

from workers.measured import (
    name_device,
    peak_gpu_memory_gib,
    peak_memory_gib,
    reset_peak_memory,
    share_of_memory,
)

CPU = torch.device("cpu")


@pytest.mark.slow
def test_the_peak_is_that_since_it_was_reset():
    reset_peak_memory(CPU)
    before = peak_memory_gib()
    held = np.ones(2**27, np.int8)  # 128 MiB, written to, so that it is there
    assert peak_memory_gib() >= before + 0.12
    del held
    assert peak_memory_gib() >= before + 0.12, "a peak stays"


def test_a_cpu_has_a_name_and_no_memory_of_a_gpu():
    assert name_device(CPU).strip()
    assert peak_gpu_memory_gib(CPU) is None


def test_memory_falls_to_processes_as_cores_do():
    num_cpus = os.cpu_count()
    whole = share_of_memory(num_cpus)
    assert share_of_memory(10 * num_cpus) == whole > 2**28
    assert share_of_memory(1) == whole // num_cpus
