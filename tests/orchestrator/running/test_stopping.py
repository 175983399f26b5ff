"""Signals, sent to this very process."""

import os
import signal

import pytest

from orchestrator.running.stopping import STOPPING_SIGNALS, StopSignals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
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


def test_ctrl_c_interrupts_until_trials_run_and_then_stops_them_once():
    stops: list[str] = []
    with StopSignals() as signals:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with signals.calling(stops.append):
            send(signal.SIGINT)
            assert stops == ["SIGINT"]
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_signals_that_a_library_took_are_taken_again():
    with StopSignals() as signals:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signals.take()
        send(signal.SIGTERM)
        assert signals.received == "SIGTERM"
