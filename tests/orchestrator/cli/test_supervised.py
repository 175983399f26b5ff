"""A command in a process below another, which tells how it ended, whatever ended it."""

import os
import pty
import signal
import subprocess
import sys
import time

import psutil
import pytest

from orchestrator.cli.supervised import stopped_lines, tell_why

SUPERVISED = """
import os, signal, subprocess, sys, time
from orchestrator.cli import supervised
from workers.visits import visiting
supervised.ANSWERS_WITHIN_S = 2
def command(heard):
    {}
words = ["run", "my sweep.yaml"]
is_debugging, is_sweep = "--debug" in sys.argv, "--reads" not in sys.argv
sys.exit(supervised.supervised(command, words, is_debugging, is_sweep))
"""
GO_ON = "all that was finished is kept. Go on with:\n  sparsweep run 'my sweep.yaml'\n"
OF_RAY = (
    "[2026-11-26 07:39:07,877 W 3860 3951] retryable_grpc_client.cc:85: GCS has been unavailable\n"
    "[2026-11-26 07:39:07,878 E 3860 3951] rpc_client.h:204: No GCS within 60 seconds. It is gone."
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' prctl")


def start(does: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISED.format(does), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(does: str, *words: str) -> tuple[int, str, str]:
    process = start(does, *words)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_a_job_that_stopped_names_the_command_that_sends_it_again():
    words = ["run", "/etc/sparsweep/sweep.json", "--as-job", "--expect-plan", "4f2a"]
    (line,) = stopped_lines("SIGTERM", words)
    assert line.endswith("Go on, where it was submitted, with: sparsweep resume")


def test_exit_codes_and_messages_go_through():
    assert run("print('found'); print('wrong', file=sys.stderr); return 3") == (
        3,
        "found\n",
        "wrong\n",
    )


def test_what_native_code_writes_is_shown_where_it_is_asked_for():
    does = "os.write(2, b'of C++'); return 0"
    assert run(does) == (0, "", "")
    assert run(does, "--debug") == (0, "", "of C++")


@pytest.mark.parametrize(
    ("does", "code", "reason"),
    [
        (
            f"os.write(2, {OF_RAY.encode()!r}); os._exit(1)",
            75,
            "the driver ended with exit code 1; Ray: No GCS within 60 seconds",
        ),
        ("os.abort()", 75, "the driver was ended by SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 75, "the driver was ended by SIGKILL"),
        (
            "from orchestrator.running.stopping import end_at_once; end_at_once('Ray is gone')",
            75,
            "Ray is gone",
        ),
    ],
)
def test_whatever_ends_a_command_is_told_in_a_line_with_how_to_go_on(does, code, reason):
    assert run(does) == (code, f"Stopped ({reason}); {GO_ON}", "")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGHUP", 75), ("SIGINT", 130)])
def test_a_signal_reaches_the_command_and_is_the_reason_where_it_ends_it(name, code):
    does = f"signal.signal(signal.{name}, signal.SIG_DFL); print(flush=True); time.sleep(60)"
    process = start(does)
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, f"Stopped ({name}); {GO_ON}", "")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", -15), ("SIGHUP", -1), ("SIGINT", 130)])
def test_a_command_that_runs_no_trials_ends_of_a_signal_as_any_program(name, code):
    does = f"signal.signal(signal.{name}, signal.SIG_DFL); print(flush=True); time.sleep(60)"
    process = start(does, "--reads")
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")


@pytest.mark.slow
def test_who_waits_may_be_stopped_and_goes_on_to_wait():
    does = (
        "signal.signal(signal.SIGTERM, lambda *_: (heard(), print('TERM', flush=True)))\n"
        "    print('begun', flush=True)\n"
        "    until = time.monotonic() + 5\n"
        "    while time.monotonic() < until: time.sleep(0.1)\n"
        "    return 3"
    )
    process = start(does)
    assert process.stdout.readline() == "begun\n"
    for number in (signal.SIGTERM, None):
        if number is not None:
            process.send_signal(number)
            assert process.stdout.readline() == "TERM\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)  # longer than between two looks
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (3, "", "")


@pytest.mark.slow
def test_a_terminal_sends_a_signal_once():
    count = (
        "came = []; signal.signal(signal.SIGINT, lambda *_: came.append(1));"
        "print('ready', flush=True); time.sleep(1); print(len(came), 'came', flush=True); return 0"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SUPERVISED.format(count)])
    while b"ready" not in os.read(terminal, 100):
        pass
    os.write(terminal, b"\x03")
    said = b""
    while b"came" not in said:
        said += os.read(terminal, 100)
    assert b"1 came" in said
    os.waitpid(pid, 0)


DEAF = """
    from orchestrator.running.stopping import STOPPING_SIGNALS, StopSignals
    with StopSignals(heard) as signals:
        {}
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)  # as a call that does not return
        print("deaf", flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_command_that_does_not_hear_is_ended_soon(name, code):
    with start(DEAF.format("pass")) as process:
        assert process.stdout.readline() == "deaf\n"
        sent_s = time.monotonic()
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, f"Stopped ({name}); {GO_ON}", "")
    assert 4 < time.monotonic() - sent_s < 30


@pytest.mark.slow
def test_a_command_that_heard_one_signal_and_not_the_next_is_ended_soon():
    hear_one = (
        "print('hears', flush=True)\n        while signals.received is None: time.sleep(0.01)"
    )
    with start(DEAF.format(hear_one)) as process:
        assert process.stdout.readline() == "hears\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "deaf\n"
        time.sleep(1.5)  # an echo of the first within a second would count as heard
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (75, f"Stopped (SIGTERM); {GO_ON}", "")


@pytest.fixture
def silent(tmp_path):
    """A place that never answers who opens it."""
    os.mkfifo(tmp_path / "mnt")
    return tmp_path / "mnt"


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--reads",)])
def test_a_place_that_does_not_answer_is_told_in_a_line(silent, words):
    assert run(f"with visiting({str(silent)!r}): open({str(silent)!r})", *words) == (
        75,
        "",
        f"sparsweep: {silent}: does not answer within 2 s; see whether it is mounted and its "
        "server runs, or give another place; what was finished is kept\n",
    )


@pytest.mark.slow
def test_a_place_that_answers_slowly_is_waited_for(silent):
    slow = "with visiting('/mnt/slow'):\n        for _ in range(5): time.sleep(1)\n    return 0"
    assert run(slow) == (0, "", "")
    stopped = "subprocess.Popen(['sh', '-c', f'sleep 4; kill -CONT {os.getpid()}'])"
    stopped += "; os.kill(os.getpid(), signal.SIGSTOP)"
    assert run(f"with visiting('/mnt/slow'): {stopped}\n    return 0") == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGHUP", 75), ("SIGINT", 130)])
def test_a_signal_ends_a_command_that_waits_for_a_place(silent, name, code):
    does = f"""
    from orchestrator.running.stopping import StopSignals
    with StopSignals(heard) as signals, visiting({str(silent)!r}):
        print("waits", flush=True)
        while True:  # as what goes on trying does
            time.sleep(0.1)
"""
    with start(does) as process:
        assert process.stdout.readline() == "waits\n"
        sent_s = time.monotonic()
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    if name != "SIGINT":  # which ends it as it does any other program
        assert (out, err) == (f"Stopped ({name}); {GO_ON}", "")
    assert time.monotonic() - sent_s < 15


@pytest.mark.slow
def test_a_command_that_waits_for_a_place_and_hears_nothing_is_ended_at_once():
    does = """
    from orchestrator.running.stopping import STOPPING_SIGNALS
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)  # as a call that does not return
    with visiting("/mnt/nfs"):
        print("deaf", flush=True)
        time.sleep(60)
"""
    with start(does, "--reads") as process:
        assert process.stdout.readline() == "deaf\n"
        sent_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")
    assert time.monotonic() - sent_s < 4


def test_what_ends_a_command_that_runs_no_trials_is_told_without_how_to_go_on():
    assert run("os.abort()", "--reads") == (
        134,
        "",
        "sparsweep: the command was ended by SIGABRT\n",
    )


def test_what_a_crashed_command_started_ends_with_it():
    does = (
        "sleep = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "print(sleep.pid, flush=True); os.abort()"
    )
    code, out, _ = run(does)
    assert code == 75
    assert not psutil.pid_exists(int(out.splitlines()[0]))


@pytest.mark.slow
def test_a_command_does_not_outlive_who_waits_for_it():
    process = start("print(os.getpid(), flush=True); time.sleep(60)")
    command = psutil.Process(int(process.stdout.readline()))
    process.kill()
    command.wait(timeout=30)
    process.communicate()


def test_pages_of_ray_are_told_in_one_line():
    assert tell_why("", 1) == "the driver ended with exit code 1"
    long = "[2026-11-26 07:39:07,878 C 3860 3951] core_worker.cc:719:  Check failed: " + "x" * 1000
    assert len(tell_why(f"{long}\n*** StackTrace Information ***\n", -6)) < 300
