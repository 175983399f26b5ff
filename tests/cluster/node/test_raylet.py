"""A node of a Ray cluster: its ports, its offer, and how it leaves."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from cluster.contract import DRAIN_FILE
from cluster.node import raylet
from cluster.node.processes import command_line, descendants
from cluster.node.raylet import (
    FIRST_PORT,
    LAST_PORT,
    Offer,
    Raylet,
    find_ports,
    has_trials,
    is_reachable,
    own_address,
    usable_offer,
)
from tests import mps_control


def test_jobs_look_for_ports_in_different_places():
    first, second = find_ports(1000, num_cpus=4), find_ports(1001, num_cpus=4)
    assert first == find_ports(1000, num_cpus=4)
    assert abs(first.first - second.first) >= first.number


def test_ports_that_somebody_has_are_left_out():
    wanted = find_ports(7, num_cpus=2)
    with socket.socket() as busy:
        busy.bind(("", wanted.first + 3))
        busy.listen()
        found = find_ports(7, num_cpus=2)
    assert not found.first <= wanted.first + 3 < found.first + found.number


@pytest.mark.parametrize("job_number", [0, 1, 12345, 2**31])
@pytest.mark.parametrize("num_cpus", [1, 128])
def test_ports_stay_below_those_of_outgoing_connections_and_are_enough(job_number, num_cpus):
    found = find_ports(job_number, num_cpus)
    assert found.first >= FIRST_PORT
    assert found.first + found.number - 1 <= LAST_PORT
    numbers = [int(option.rpartition("=")[2]) for option in found.options()]
    assert len(set(numbers)) == len(numbers)
    assert found.gcs not in numbers
    assert numbers[-1] - numbers[-2] + 1 > num_cpus  # a worker for every core, and some to spare


def test_no_free_ports_is_said(monkeypatch):
    monkeypatch.setattr(raylet, "FIRST_PORT", LAST_PORT - 10)
    with pytest.raises(OSError, match="no 44 free ones in a row for Ray; use another node"):
        find_ports(1, num_cpus=1)


def test_own_address_is_one_that_other_nodes_can_use():
    assert not own_address().startswith("127.")
    assert not own_address("localhost").startswith("127.")
    assert not own_address("no-such-host.invalid").startswith("127.")


def test_offer_is_what_the_batch_system_counts(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    offer = usable_offer(cpus=7, memory_bytes=2**30)
    assert (offer.cpus, offer.gpus, offer.memory_bytes) == (7, 2, 2**30)
    assert usable_offer(gpus=1, memory_bytes=2**30).gpus == 1
    for nothing in ("", "NoDevFiles", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert usable_offer(memory_bytes=2**60).gpus == 0
    assert usable_offer(memory_bytes=2**60).memory_bytes < 2**60


def test_reachable_is_where_somebody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert is_reachable(address)
    assert not is_reachable(address)


def _sleeper(title: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["bash", "-c", f"exec -a '{title}' sleep 60"])


def test_workers_are_known_by_the_title_that_ray_gives_them():
    for title, expected in (
        ("ray::TrialTrainable.train", True),
        ("ray::IDLE", False),
        ("Trainable", False),
    ):
        process = _sleeper(title)
        try:
            until = time.monotonic() + 10
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(title.encode()):
                assert time.monotonic() < until
            assert has_trials(os.getpid()) is expected, title
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_leaving_tells_the_trials_and_waits_until_they_are_gone(tmp_path):
    environment = os.environ | {DRAIN_FILE: str(tmp_path / "leaving")}
    trial = _sleeper("ray::TrialTrainable.train")
    words = [sys.executable, "-P", "-m", "cluster.node.leave", str(os.getpid())]
    leaver = subprocess.Popen(words, env=environment)
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "leaving").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            leaver.wait(timeout=1)
    finally:
        trial.kill()
        trial.wait()
    assert leaver.wait(timeout=30) == 0


RAY = """#!/bin/sh
env >{log}
exec sleep 600
"""


@pytest.mark.parametrize("starts", [True, False])
def test_workers_of_a_node_share_gpus_by_a_server_that_ends_after_them(
    tmp_path, monkeypatch, starts
):
    """Ray is replaced by a program that writes its variables."""
    log = mps_control.install(tmp_path, monkeypatch, start="" if starts else "exit 1")
    mps_control.install_nvidia_smi(tmp_path, "GPU-aa", "GPU-bb", "GPU-cc")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    (tmp_path / "ray").write_text(RAY.format(log=tmp_path / "environment"))
    (tmp_path / "ray").chmod(0o755)
    real = subprocess.Popen

    def popen(words, **options):
        is_ray = "ray.scripts.scripts" in words
        return real([str(tmp_path / "ray")] if is_ray else words, **options)

    monkeypatch.setattr("cluster.node.raylet.subprocess.Popen", popen)
    offer, ports = Offer(cpus=1, gpus=2, memory_bytes=2**31), find_ports(os.getpid(), num_cpus=1)
    node = Raylet("127.0.0.1:1", "127.0.0.1", ports, offer, "/tmp", is_head=False, with_mps=True)
    until = time.monotonic() + 60
    while "CUDA_VISIBLE_DEVICES=" not in (seen := _text(tmp_path / "environment")):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert ("CUDA_VISIBLE_DEVICES=GPU-cc,GPU-bb\n" in seen) == starts
    assert (f"CUDA_MPS_PIPE_DIRECTORY={node.temp_dir}/mps/pipe\n" in seen) == starts
    assert node.without_mps.startswith("" if starts else "mps: nvidia-cuda-mps-control did not ")
    assert bool(node.without_mps) != starts
    node.close()
    if starts:
        assert mps_control.told(log)[1:] == [f"quit in {node.temp_dir}/mps/pipe", "ended"]
    assert not node.temp_dir.exists()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_term_for_all_processes_of_a_job_does_not_reach_ray(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    ports = find_ports(os.getpid(), num_cpus=1)
    address = f"127.0.0.1:{ports.gcs}"
    offer = Offer(cpus=1, gpus=0, memory_bytes=2**31)
    started = Raylet(
        address,
        "127.0.0.1",
        ports,
        offer,
        tempfile.gettempdir(),
        is_head=True,
        log=tmp_path / "log",
    )
    try:
        until = time.monotonic() + 60
        while not _has_workers(started):
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        processes = [psutil.Process(started.process.pid), *descendants(started.process.pid)]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        time.sleep(2)  # Ray ends in less
        assert all(process.is_running() for process in processes)
        assert started.is_running()
        assert is_reachable(address)
    finally:
        started.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert not started.temp_dir.exists()
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "we still hear it"


def _has_workers(node: Raylet) -> bool:
    return any("ray::" in " ".join(command_line(child)) for child in descendants(node.process.pid))


def test_leaving_without_knowing_the_file_is_refused():
    environment = {name: value for name, value in os.environ.items() if name != DRAIN_FILE}
    words = [sys.executable, "-P", "-m", "cluster.node.leave"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "SPARSWEEP_DRAIN_FILE is not set; set it to the same path" in ended.stderr
