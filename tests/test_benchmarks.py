"""Benchmarks are run seldom: what they take from the sources has to be there nevertheless, and
what they train on can be made."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).with_name("benchmarks")
PACKAGES = ("orchestrator", "workers", "cluster", "tests")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("[a-z]*.py")), ids=lambda file: file.name)
def test_what_a_benchmark_takes_is_there(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):  # also inside functions
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                taken = take(node.module, alias.name)
                if isinstance(taken, ModuleType):
                    modules[alias.asname or alias.name] = taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            assert module is None or hasattr(module, node.attr), f"{module} has no {node.attr}"


def take(module: str, name: str) -> object:
    """As `from module import name` does."""
    loaded = importlib.import_module(module)
    if not hasattr(loaded, name):
        return importlib.import_module(f"{module}.{name}")
    return getattr(loaded, name)


def test_rows_of_the_kernels_benchmark_are_whole():
    from tests.benchmarks.kernels import random_rows

    split = random_rows(64, 24, 1000)
    assert (split.num_sequences, set(split.lengths), len(split.word_labels)) == (64, {24}, 64 * 24)


@pytest.fixture
def process_as_before(monkeypatch):
    """What a benchmark sets in its process does not reach other tests."""
    import torch

    import workers.data.batch

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
