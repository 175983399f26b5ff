"""NVIDIA's MPS for one job: started, told where, and ended whatever ends the job. A stand-in takes
the place of NVIDIA's program; nothing here has met a GPU."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node import mps
from cluster.node.mps import LOGS, PIPES, VISIBLE, Mps, NoMpsError, does_answer, shared_environment
from tests.mps_control import install, install_nvidia_smi, is_running, told, wait_until_ended


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place with a short path, as that of a job; pytest's own is too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="m-", dir="/tmp") as place:
        yield Path(place) / "mps"


def test_a_server_has_pipes_of_its_own_and_is_told_to_quit(tmp_path, monkeypatch, folder):
    log = install(tmp_path, monkeypatch)
    # A share of its processors would change numbers; somebody's own pipes are not ours.
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", ", a third")
    monkeypatch.setenv(PIPES, "/tmp/nvidia-mps")
    server = Mps(folder, os.environ)
    assert server.environment == {PIPES: f"{folder}/pipe", LOGS: f"{folder}/log"}
    for place in (folder, folder / "pipe", folder / "log"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert does_answer(os.environ | server.environment)
    assert told(log) == [f"-f in {folder}/pipe, logs in {folder}/log, sees all"]
    server.close()
    assert told(log)[1:] == [f"quit in {folder}/pipe", "ended"]
    assert not does_answer(os.environ | server.environment)
    assert not is_running(tmp_path)


@pytest.mark.slow
def test_a_server_that_does_not_quit_is_killed(tmp_path, monkeypatch, folder):
    install(tmp_path, monkeypatch, quits="exit 0", start="sleep 600 &")
    server = Mps(folder, os.environ)
    assert is_running(tmp_path)
    started_s = time.monotonic()
    server.close()
    assert mps.QUITS_WITHIN_S <= time.monotonic() - started_s < mps.QUITS_WITHIN_S + 20
    assert not is_running(tmp_path)


OWNER = """
import os, sys, time
from pathlib import Path
from cluster.node.mps import Mps
server = Mps(Path(sys.argv[1]), os.environ)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_it_ends_with_a_process_that_is_killed(tmp_path, monkeypatch, folder):
    log = install(tmp_path, monkeypatch)
    words = [sys.executable, "-c", OWNER, str(folder)]
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "ready\n"
        assert told(log)[-1].startswith("-f in ")
    finally:
        owner.kill()
        owner.communicate()
    wait_until_ended(log)
    assert told(log)[-2:] == [f"quit in {folder}/pipe", "ended"]


@pytest.mark.slow
def test_signals_for_all_processes_of_a_job_do_not_end_it(tmp_path, monkeypatch, folder):
    """Slurm sends some to each of them; trials compute on while they save."""
    install(tmp_path, monkeypatch)
    server = Mps(folder, os.environ)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT):
        server._keeper.send_signal(number)
    time.sleep(0.2)
    assert server._keeper.poll() is None
    assert does_answer(os.environ | server.environment)
    server.close()


@pytest.mark.parametrize(
    ("given", "seen"), [("1,0", "GPU-bb,GPU-aa"), ("GPU-aa", "GPU-aa"), ("1,-1,0", "GPU-bb")]
)
def test_gpus_are_named_by_what_no_server_numbers_anew(tmp_path, monkeypatch, given, seen):
    install_nvidia_smi(tmp_path, "GPU-aa", "GPU-bb")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert shared_environment(Path("/tmp/m"), {VISIBLE: given})[VISIBLE] == seen


@pytest.mark.parametrize(
    ("visible", "uuids", "mig", "why"),
    [
        ("", ["GPU-aa"], "[N/A]", "no GPU is given to this node; ask for one"),
        ("NoDevFiles", ["GPU-aa"], "[N/A]", "no GPU is given to this node; ask for one"),
        ("MIG-aa", ["GPU-aa"], "[N/A]", r"divided already \(MIG\); take whole ones"),
        ("0", ["GPU-aa"], "Enabled", r"divided already \(MIG\); take whole ones"),
        ("0,1", ["GPU-aa"], "[N/A]", r"nvidia-smi does not name the GPUs 0, 1 \(CUDA_VIS"),
    ],
)
def test_gpus_that_cannot_be_shared_are_said_with_what_to_do(
    tmp_path, monkeypatch, folder, visible, uuids, mig, why
):
    log = install(tmp_path, monkeypatch)
    install_nvidia_smi(tmp_path, *uuids, mig=mig)
    environ = os.environ | {VISIBLE: visible}
    with pytest.raises(NoMpsError, match=f"^mps: .*{why}.*; until then trials .* same numbers$"):
        Mps(folder, environ)
    assert told(log) == []
    assert not folder.exists()


def test_what_runs_the_server_may_fail_as_well(tmp_path, monkeypatch, folder):
    log = install(tmp_path, monkeypatch)
    folder.touch()
    with pytest.raises(NoMpsError, match="^mps: FileExistsError: .*/mps'; until then"):
        Mps(folder, os.environ)
    assert told(log) == []


def test_a_path_that_is_too_long_for_sockets_is_said(tmp_path):
    with pytest.raises(NoMpsError, match="more than 64 bytes, .* set TMPDIR or temp_root to a sho"):
        shared_environment(tmp_path / ("x" * 64), {})


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (None, r"nvidia-cuda-mps-control cannot be run \(.*No such file.*NVIDIA's driver"),
        (
            "echo first; echo An instance runs >&2; exit 1",
            r"did not start \(An instance runs\); see .*/log",
        ),
        ("exit 0", r"did not start \(it says nothing\); see .*/log"),
    ],
)
def test_a_server_that_does_not_start_is_one_line(tmp_path, monkeypatch, folder, start, why):
    if start is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        install(tmp_path, monkeypatch, start=start)
    with pytest.raises(NoMpsError, match=f"^mps: .*{why}") as caught:
        Mps(folder, os.environ)
    assert "\n" not in str(caught.value)
    assert not is_running(tmp_path)


# In a container


def stay(folder, monkeypatch):
    said = []
    monkeypatch.setattr(mps, "_tell_container", said.append)
    assert mps.main(["--stay", str(folder)]) == 0
    return said


def test_a_server_of_a_container_stays_and_sees_all_that_is_there(tmp_path, monkeypatch, folder):
    log = install(tmp_path, monkeypatch)
    monkeypatch.setenv(VISIBLE, "0")
    assert stay(folder, monkeypatch) == []
    assert told(log) == [f"-d in {folder}/pipe, logs in {folder}/log, sees all"]
    assert does_answer({"PATH": os.environ["PATH"], PIPES: f"{folder}/pipe"})


def test_a_container_without_it_goes_on(tmp_path, monkeypatch, folder):
    install(tmp_path, monkeypatch, start="echo No devices >&2; exit 1")
    assert "did not start (No devices); see " in stay(folder, monkeypatch)[0]
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "cannot be run" in stay(folder, monkeypatch)[0]
    (folder.parent / "file").touch()
    assert "file/mps" in stay(folder.parent / "file" / "mps", monkeypatch)[0]
