"""Stand-ins for Slurm's commands, and the environment that Slurm gives a job. Real ones are met in
tests/integration/slurm."""

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.slurm.signals import STOP_REQUESTS, Signals

Says = Callable[..., Path]


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Makes a command of Slurm that prints a text (to stderr if it fails), and keeps its words."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(command: str, text: str, code: int = 0) -> Path:
        asked = tmp_path / f"{command}.asked"
        (tmp_path / command).write_text(
            f'#!/bin/bash\necho "$@" >>{asked}\necho {shlex.quote(text)} >&{2 if code else 1}\n'
            f"exit {code}\n"
        )
        (tmp_path / command).chmod(0o755)
        return asked

    return make


@pytest.fixture
def slurm_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of job 12 on node1 of two, and the folder that its nodes share."""
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1024")
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def signals() -> Iterator[Signals]:
    """What receives signals in this process; afterwards they mean what they did before."""
    before = {number: signal.getsignal(number) for number in STOP_REQUESTS}
    yield Signals()
    for number, handler in before.items():
        signal.signal(number, handler)
