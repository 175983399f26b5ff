"""Benchmarks are run seldom: what they take from the sources has to be there nevertheless, and
what they train on can be made."""

import ast
import csv
import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.spec.sweep_spec import load_sweep_spec

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

    split = random_rows(64, 24, 1000, shortest=8)
    assert (split.num_sequences, split.lengths.min(), split.lengths.max()) == (64, 8, 24)


SMI = """#!/bin/sh
echo "$@" >> {folder}/asked
echo '580.65.06, 1980, 1980, 2619, 700.00, Disabled, Default'
"""


def test_the_state_of_a_gpu_stands_beside_its_figures(tmp_path, monkeypatch):
    from tests.benchmarks.measurement import Measurement, gpu_state, write_csv

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    (tmp_path / "nvidia-smi").write_text(SMI.format(folder=tmp_path))
    (tmp_path / "nvidia-smi").chmod(0o755)
    state = gpu_state()
    assert (state["driver"], state["clock_mhz"], state["mig"]) == ("580.65.06", "1980", "Disabled")
    assert state["mps"] in ("True", "False")
    assert "--id=3 --query-gpu=driver_version,clocks.sm," in (tmp_path / "asked").read_text()
    file = tmp_path / "bench-gpu.csv"
    write_csv(file, [("steps", Measurement(what="a step", values=(1.0,), unit="s"))])
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert (row["what"], row["driver"], row["compute_mode"]) == ("a step", "580.65.06", "Default")


def test_without_a_gpu_its_state_is_empty(monkeypatch, tmp_path):
    from tests.benchmarks.measurement import gpu_state

    monkeypatch.setenv("PATH", str(tmp_path))
    assert set(gpu_state().values()) == {""}


@pytest.mark.slow
@pytest.mark.usefixtures("process_as_before")
@pytest.mark.parametrize("name", ["steps", "thresholds", "updates", "training"])
def test_the_smallest_work_of_the_kernels_benchmarks_is_done(monkeypatch, name):
    from tests.benchmarks import kernels

    shapes = [(64, 32), (32, 64)]
    monkeypatch.setattr(kernels, "SHAPES", shapes)
    monkeypatch.setattr(kernels, "NUM_WEIGHTS", sum(rows * columns for rows, columns in shapes))
    monkeypatch.setattr(kernels, "REPEATS", 1)
    monkeypatch.setattr(kernels, "NUM_TRAINING_STEPS", 11)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    monkeypatch.setattr(kernels, "MBERT", {"vocab_size": 100, "intermediate_size": 32, **sizes})
    measured = list(getattr(kernels, name)())
    assert len(measured) >= 3
    assert all(one.median >= 0 for one in measured)


@pytest.mark.slow
def test_the_smallest_work_of_the_benchmark_of_sharing_a_gpu_is_done(monkeypatch):
    import torch

    from tests.benchmarks import __main__ as benchmarks

    tiny = ("languages=[ka]", "sparsities=[0.5]", "seeds=[0,1]", "training.num_steps=2")
    assert benchmarks.trials_an_hour(*tiny, "resources.gpus_per_trial=0") > 0
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(benchmarks, "trials_an_hour", lambda *words: asked.append(words) or 1.0)
    assert len(list(benchmarks.sharing())) == 3
    for words in asked:
        load_sweep_spec("smoke", list(words))
    assert asked[2][-1] == "resources.gpus_per_trial=0.25"


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
