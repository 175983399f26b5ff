"""Nodes of a Slurm job: what they offer, how an elastic worker finds its head, and what it does
without one."""

import argparse
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.contract import DONE, STOPPED
from cluster.node.machine import usable_memory_bytes
from cluster.slurm import nodes, shared_files
from cluster.slurm.job import parse
from cluster.slurm.nodes import find_head, free_ports, offer, run_node, run_worker
from cluster.slurm.signals import STOP_REQUESTS

NO_JOB = "slurm_load_jobs error: Invalid job id specified"
RUNNING = "JobId=12 JobName=sw-tiny-0123abcd JobState=RUNNING"


@pytest.fixture
def head(slurm_job: Path) -> Iterator[dict[str, str]]:
    """A head that listens, as its file in the job's folder says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        fields = {"address": address, "token": "secret"}
        (slurm_job / shared_files.ADDRESS).write_text(json.dumps(fields))
        yield fields


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks for something looks all the time."""
    monkeypatch.setattr(nodes, "LOOKS_FOR_HEAD_EVERY_S", 0.02)
    monkeypatch.setattr(nodes, "LOOKS_EVERY_S", 0.02)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a head, and Slurm is asked at every look."""
    monkeypatch.setattr(nodes, "HEAD_PATIENCE_S", 0.1)
    monkeypatch.setattr(nodes, "ASKS_EVERY_S", 0.0)


def args_of(folder: Path, role: str, *more: str) -> argparse.Namespace:
    words = [role, "--folder", str(folder), "--temp-root", "/tmp", "--stop-before-s", "180"]
    return parse([*words, *more])


# What a node offers


def test_offer_is_what_slurm_counts(slurm_job, monkeypatch):
    assert (offer().cpus, offer().memory_bytes) == (3, 2**30)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "5")
    assert offer().cpus == 5
    for whole_node in ("0", ""):
        monkeypatch.setenv("SLURM_MEM_PER_NODE", whole_node)
        assert offer().memory_bytes == usable_memory_bytes()


def test_ports_of_two_jobs_on_a_node_differ(slurm_job, monkeypatch):
    first = free_ports(offer())
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    second = free_ports(offer())
    assert abs(first.first - second.first) >= first.number


# Where the head is


def test_head_is_found_where_its_file_says_and_somebody_listens(slurm_job, head, signals):
    assert find_head(slurm_job, signals) == head


def test_head_that_does_not_answer_is_not_waited_for_for_ever(
    slurm_job, signals, says, monkeypatch
):
    monkeypatch.setattr(nodes, "HEAD_PATIENCE_S", 0.1)
    gone = {"address": "127.0.0.1:9", "token": "secret"}
    (slurm_job / shared_files.ADDRESS).write_text(json.dumps(gone))
    assert find_head(slurm_job, signals) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"address": 1}', b"\xff"])
def test_damaged_file_of_the_head_is_no_head(slurm_job, signals, monkeypatch, content):
    monkeypatch.setattr(nodes, "HEAD_PATIENCE_S", 0.1)
    (slurm_job / shared_files.ADDRESS).write_bytes(content)
    assert find_head(slurm_job, signals) is None


def test_head_that_comes_later_is_found(slurm_job, signals):
    with socket.create_server(("127.0.0.1", 0)) as server:
        fields = {"address": f"127.0.0.1:{server.getsockname()[1]}", "token": "secret"}
        write = (slurm_job / shared_files.ADDRESS).write_text
        threading.Timer(0.1, write, [json.dumps(fields)]).start()
        assert find_head(slurm_job, signals) == fields


def test_nobody_looks_for_a_head_when_the_sweep_is_over_or_the_job_is_to_stop(
    slurm_job, head, signals
):
    (slurm_job / shared_files.OVER).touch()
    assert find_head(slurm_job, signals) is None
    (slurm_job / shared_files.OVER).unlink()
    signals.stop(STOP_REQUESTS[signal.SIGUSR2])
    assert find_head(slurm_job, signals) is None


def test_head_whose_job_is_over_is_not_waited_for(slurm_job, signals, says, monkeypatch):
    monkeypatch.setattr(nodes, "ASKS_EVERY_S", 0.0)
    says("scontrol", NO_JOB, code=1)
    (slurm_job / shared_files.HEAD).write_text("11")
    started = time.monotonic()
    assert find_head(slurm_job, signals) is None
    assert time.monotonic() - started < nodes.HEAD_PATIENCE_S / 2


# What a worker does without a head


def test_worker_asks_for_a_gpu_again_later_while_the_heads_job_is_live(
    slurm_job, signals, says, impatient, capsys
):
    asked = says("scontrol", RUNNING)
    (slurm_job / shared_files.HEAD).write_text("11")
    assert run_worker(args_of(slurm_job, "worker")) == STOPPED
    assert asked.read_text().splitlines()[-2:] == [
        "requeue 12",
        f"update JobId=12 StartTime=now+{nodes.RETRY_AFTER_S}",
    ]
    assert "no head within 0.1 s; asks again in 300 s" in capsys.readouterr().out


def test_worker_ends_when_the_heads_job_is_over(slurm_job, signals, says, impatient, capsys):
    asked = says("scontrol", NO_JOB, code=1)
    (slurm_job / shared_files.HEAD).write_text("11")
    assert run_worker(args_of(slurm_job, "worker")) == DONE
    assert "requeue" not in asked.read_text()
    assert "the head's job is over, and so is this one" in capsys.readouterr().out


def test_worker_whose_folder_is_gone_ends(slurm_job, signals, impatient):
    assert run_worker(args_of(slurm_job / "gone", "worker")) == DONE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "is_requeued"),
    [
        (signal.SIGUSR2, STOPPED, True),
        (signal.SIGTERM, STOPPED, True),
        (signal.SIGUSR1, DONE, False),
    ],
)
def test_worker_that_is_told_to_stop_comes_back_unless_it_was_cancelled(
    slurm_job, signals, says, number, code, is_requeued
):
    asked = says("scontrol", RUNNING)
    threading.Timer(0.3, os.kill, [os.getpid(), number]).start()
    assert run_worker(args_of(slurm_job, "worker")) == code
    assert asked.exists() is is_requeued
    assert not is_requeued or asked.read_text().splitlines()[-1] == "requeue 12"


def test_node_of_a_block_does_not_wait_for_ever_for_the_head(
    slurm_job, signals, impatient, monkeypatch, capsys
):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert run_node(args_of(slurm_job, "node", "--head-name", "node2")) == 1
    assert "node1: no head at 127.0.0.1:9 within 0.1 s" in capsys.readouterr().out
