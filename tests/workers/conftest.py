"""What tests of workers share: a process that computes as a worker does."""

from collections.abc import Iterator

import pytest
import torch

from workers.run import prepare_process


@pytest.fixture(scope="module")
def device() -> Iterator[torch.device]:
    """Where trials compute, one thread on a CPU."""
    yield prepare_process(num_threads=1)
    torch.use_deterministic_algorithms(False)
