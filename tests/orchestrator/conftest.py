"""A batch system of a test's own, which is quick, and folders of a user who has nothing yet."""

from pathlib import Path

import pytest

from cluster import BACKENDS


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
