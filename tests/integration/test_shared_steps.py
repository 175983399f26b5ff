"""Trials of a real sweep start from what another one left, and come to the same numbers."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.results.store import ResultStore
from tests.real_sweeps import Command, numbers, sparsweep, write_sweep

GRID = {"sparsities": [0.0, 0.5, 0.9]}
NUM_SHARED = 17
"""Of 120 steps, pruning begins with nothing after a tenth, and five steps later with something."""


@pytest.fixture(scope="module")
def alone(shared_ray, tmp_path_factory) -> dict[str, list[dict]]:
    """The numbers of trials that compute all of their steps."""
    folder = tmp_path_factory.mktemp("alone")
    resources = {"share_first_steps": False, "max_concurrent_trials": 2}
    spec = write_sweep(folder / "tiny.yaml", folder / "results", **GRID, resources=resources)
    code, output = sparsweep("run", spec, **shared_ray)
    assert code == 0, output
    assert Counter(shared_steps(folder / "results")) == {0: 6}
    assert not (folder / "results" / "prefixes").exists()
    return numbers(folder / "results")


def shared_steps(results: Path) -> list[int]:
    return ResultStore(str(results)).read("trials", ["shared_steps"])["shared_steps"].to_pylist()


def prefix_files(results: Path) -> list[Path]:
    return list((results / "prefixes").glob("*"))


def test_siblings_start_where_the_first_prunes(shared_ray, tmp_path, alone):
    """Two workers begin with two languages, and so with two prefixes."""
    spec = write_sweep(tmp_path / "tiny.yaml", tmp_path / "results", **GRID)
    code, output = sparsweep("plan", spec)
    assert (code, "steps to compute: 652 of 720 (90.6 %)" in output) == (0, True), output
    two = ("--set", "resources.max_concurrent_trials=2")
    code, output = sparsweep("run", spec, *two, **shared_ray)
    assert code == 0, output
    assert numbers(tmp_path / "results") == alone
    counts = Counter(shared_steps(tmp_path / "results"))
    # With four workers at a time more would compute them; with two, a slow one may.
    assert counts[0] in (2, 3)
    assert counts == {0: counts[0], NUM_SHARED: 6 - counts[0]}
    assert prefix_files(tmp_path / "results") == []


def test_sweep_that_is_killed_when_a_state_was_left_comes_to_the_same_numbers(tmp_path, alone):
    results = tmp_path / "results"
    one = {"max_concurrent_trials": 1, "checkpoint_every_s": 0.2}
    spec = write_sweep(tmp_path / "tiny.yaml", results, **GRID, resources=one)
    command = Command("run", spec)
    command.wait_until(lambda: prefix_files(results))
    for worker in command.workers():
        worker.kill()
    command.process.kill()
    command.finish()
    (left,) = prefix_files(results)
    left.write_bytes(left.read_bytes()[:-1])
    unused = results / "prefixes" / "0123456789abcdef.safetensors"
    unused.write_bytes(b"of another sweep")
    code, output = sparsweep("run", spec)
    assert code == 0, output
    assert numbers(results) == alone
    assert prefix_files(results) == []
