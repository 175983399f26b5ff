"""What the head's pod does before it is stopped."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.kubernetes import stop_driver

DRIVER = """
import signal, sys, time
def stop(*_):
    time.sleep(0.5)  # as if trials saved their checkpoints
    print("stopped cleanly", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
time.sleep(60)
"""


def test_driver_is_told_to_stop_and_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "sparsweep"
    script.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, script, "run", "sweep.json"], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n"
        # Other drivers of this machine are none of this test's business: only a folder with the one
        # is looked at.
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / str(driver.pid)).symlink_to(f"/proc/{driver.pid}")
        assert stop_driver.driver_pids(proc) == [driver.pid]

        started = time.monotonic()
        assert stop_driver.stop_drivers(proc, poll_s=0.05) == 0

        assert time.monotonic() - started > 0.4
        assert driver.stdout.read() == "stopped cleanly\n"
        assert driver.wait() == 75


@pytest.mark.parametrize(
    ("words", "is_driver"),
    [
        (
            ["/opt/venv/bin/python", "/opt/venv/bin/sparsweep", "run", "/etc/sparsweep/sweep.json"],
            True,
        ),
        (["/opt/venv/bin/sparsweep", "run", "x"], True),
        (["/bin/bash", "-c", "sparsweep run x"], False),
        (["python", "sparsweep", "status", "run"], False),
        (["ray::run"], False),
        ([], False),
    ],
)
def test_drivers_are_known_by_their_command(
    tmp_path: Path, words: list[str], is_driver: bool
) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (tmp_path / "43").mkdir()  # has ended meanwhile
    (tmp_path / "self").mkdir()

    assert stop_driver.driver_pids(tmp_path) == ([42] if is_driver else [])


def test_without_a_driver_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    assert stop_driver.stop_drivers(tmp_path) == 0
