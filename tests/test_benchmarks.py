"""What benchmarks train on can be made: they run rarely, and types of tests are not checked."""

import pytest
import torch

import workers.data.batch
from tests.benchmarks.kernels import random_rows


def test_rows_of_the_kernels_benchmark_are_whole():
    split = random_rows(64, 24, 1000)
    assert (split.num_sequences, set(split.lengths), len(split.word_labels)) == (64, {24}, 64 * 24)


@pytest.fixture
def process_as_before(monkeypatch):
    """What a benchmark sets in its process does not reach other tests."""
    monkeypatch.setattr(workers.data.batch, "ROWS_OF_PART", workers.data.batch.ROWS_OF_PART)
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
@pytest.mark.usefixtures("process_as_before")
def test_the_smallest_work_of_the_peers_benchmark_trains():
    from tests.benchmarks.peers import WARM_UP, Clock, make_work, train_ours

    work, clock = make_work(WARM_UP), Clock()
    train_ours(work, clock)
    assert set(work.split.lengths) == {16}
    assert work.split.num_sequences % work.spec.training.batch_size == 0
    assert len(clock.step_s) == WARM_UP.num_steps
