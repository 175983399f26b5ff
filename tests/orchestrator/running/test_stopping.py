"""Signals, sent to this very process."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from orchestrator.running.stopping import STOPPING_SIGNALS, StopSignals, StopSwitch


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_early_signals_are_remembered_and_handed_over(number):
    before = [signal.getsignal(each) for each in STOPPING_SIGNALS]
    stops: list[str] = []
    with StopSignals() as signals:
        send(number)
        send(signal.SIGTERM)
        assert signals.received == number.name
        with signals.calling(stops.append):
            assert stops == [number.name]
    assert [signal.getsignal(each) for each in STOPPING_SIGNALS] == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals, signals.calling(lambda name: None):
            send(signal.SIGHUP)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_after_a_hangup_nothing_is_written_to_the_terminal_that_is_gone():
    script = (
        "import os, signal\n"
        "from orchestrator.running.stopping import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    os.write(1, b'ready')\n"
        "    while signals.received is None: signal.pause()\n"
        "    print('saved', flush=True)\n"
        "os._exit(7)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    assert os.read(ours, 5) == b"ready"
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 7


def test_ctrl_c_interrupts_before_ray_starts_and_is_remembered_if_that_is_dropped(
    monkeypatch,
):
    class Finalized:
        def __del__(self):
            send(signal.SIGINT)

    dropped: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: dropped.append(what.exc_type))
    stops: list[str] = []
    with StopSignals() as signals:
        Finalized()
        with signals.calling(stops.append):
            assert stops == ["SIGINT"]
    assert dropped == [KeyboardInterrupt]


def test_ctrl_c_interrupts_until_trials_run_and_then_stops_them_once(monkeypatch):
    monkeypatch.setattr("orchestrator.running.stopping.ECHO_S", 0.0)
    stops: list[str] = []
    with StopSignals() as signals, pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
    with StopSignals() as signals:
        with signals.calling(stops.append):
            send(signal.SIGINT)
            assert stops == ["SIGINT"]
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_ctrl_c_that_comes_to_the_process_and_to_its_group_is_one():
    stops: list[str] = []
    with StopSignals() as signals, signals.calling(stops.append):
        send(signal.SIGINT)
        send(signal.SIGINT)
    assert stops == ["SIGINT"]


def test_signals_that_a_library_took_are_taken_again():
    with StopSignals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.take()
        send(signal.SIGTERM)
        assert signals.received == "SIGTERM"


def test_a_switch_stops_once_and_tells_who_listens():
    told: list[str] = []
    switch = StopSwitch()
    assert (switch.is_on, switch.reason, switch.seconds_on) == (False, None, 0.0)
    with switch.telling(told.append):
        switch.stop("SIGTERM")
        switch.stop("SIGINT")
    assert told == ["SIGTERM"]
    assert (switch.is_on, switch.reason) == (True, "SIGTERM")
    assert switch.seconds_on >= 0


def test_who_listens_late_is_told_at_once_and_who_has_left_is_not_told():
    late: list[str] = []
    early: list[str] = []
    switch = StopSwitch()
    with switch.telling(early.append):
        pass
    switch.stop("time limit")
    with switch.telling(late.append):
        assert late == ["time limit"]
    assert early == []
