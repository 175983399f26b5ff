"""What the head's pod does before it is stopped."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
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


@pytest.mark.slow
def test_driver_is_told_to_stop_and_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "sparsweep"
    script.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, script, "run", "sweep.json"], stdout=subprocess.PIPE, text=True
    )
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n"
        # Other drivers of this machine are none of this test's business.
        processes = [psutil.Process(driver.pid), psutil.Process()]

        started = time.monotonic()
        assert stop_driver.stop_drivers(lambda: processes, poll_s=0.05) == 0

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
def test_drivers_are_known_by_their_command(words: list[str], is_driver: bool) -> None:
    assert stop_driver.is_driver(words) is is_driver


def test_without_a_driver_there_is_nothing_to_wait_for() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(ended.pid)
    ended.wait()
    assert stop_driver.stop_drivers(lambda: [process, psutil.Process()]) == 0
