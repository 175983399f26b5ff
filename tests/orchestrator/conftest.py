"""A batch system of a test's own, which is quick, folders of a user who has nothing yet, and the
recipe of stored results."""

from pathlib import Path

import pytest

from cluster import BACKENDS
from orchestrator.planning import standing
from orchestrator.results import rows
from workers import trial


@pytest.fixture
def toy_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The queue of the batch system in `toybox`, which is known to sparsweep by one line.

    A job is a file whose content is its state.
    """
    monkeypatch.setitem(BACKENDS, "toy", "tests.orchestrator.toybox")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    queue = tmp_path / "queue"
    queue.mkdir()
    return queue


@pytest.fixture
def recipe_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's trials have the ids of recipe 2, of which tests/golden has results."""
    for module in (trial, rows, standing):
        monkeypatch.setattr(module, "RECIPE_VERSION", 2)
