"""Processes of this machine: those below one, their words, and how they are ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.node.processes import command_line, descendants, kill

HIDES = """
import os, subprocess, time
from cluster.local.job import job_id_of
from cluster.node.processes import command_line, descendants
os.setgroups([]), os.setgid(65534), os.setuid(65534)
child = subprocess.Popen(["sleep", "60"])
until = time.monotonic() + 30  # its folder in /proc becomes ours a moment after it has started
while not descendants(os.getpid()) and time.monotonic() < until:
    time.sleep(0.02)
print([command_line(process) for process in descendants(os.getpid())], job_id_of(1))
child.kill()
child.wait()
"""


@pytest.fixture
def family():
    """A shell that has started a shell that has started a sleep."""
    script = "sh -c 'sleep 60 & wait' & wait"
    shell = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    until = time.monotonic() + 30
    # Between a fork and what it becomes, the last one is a shell, too.
    while not any(command_line(each)[:1] == ["sleep"] for each in descendants(shell.pid)):
        assert time.monotonic() < until
        time.sleep(0.02)
    below = descendants(shell.pid)
    yield shell
    for process in below:
        kill(process)
    shell.kill()
    shell.wait()


def test_processes_below_one_come_parents_first(family):
    words = [command_line(process)[0] for process in descendants(family.pid)]
    assert words == ["sh", "sleep"]


def test_what_has_ended_has_no_words_nor_descendants_and_cannot_be_killed(family):
    ended = psutil.Process(family.pid)
    family.kill()
    family.wait()
    assert descendants(ended.pid) == []
    assert command_line(ended) == []
    kill(ended)


def test_killed_process_is_the_one_that_was_seen(family):
    inner, sleep = descendants(family.pid)
    kill(sleep)
    psutil.wait_procs([sleep, inner], timeout=30)
    assert not sleep.is_running()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a /proc of its own")
def test_processes_of_other_users_may_be_hidden():
    # A /proc of its own, in which a user sees nothing of the others' processes.
    script = f"mount -o remount,hidepid=1 /proc && {sys.executable} -B -c '{HIDES}'; exit"
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
    shown = subprocess.run([*words, "sh", "-c", script], capture_output=True, text=True, timeout=60)
    if "unshare" in shown.stderr or "mount" in shown.stderr:
        pytest.skip(f"no namespaces here: {shown.stderr.strip()}")
    assert shown.stdout == "[['sleep', '60']] None\n", shown.stderr
    assert "hidepid" not in Path("/proc/mounts").read_text()
