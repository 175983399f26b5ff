"""When a worker counts as hanging."""

import pytest

from orchestrator.running.hangs import LOADS_S, SILENT_S, Silence


def quiet(silence: Silence, from_s: float, to_s: float) -> float | None:
    """When it is too long, looked at each second."""
    times = (from_s + number for number in range(1, int(to_s - from_s) + 1))
    return next((time_s for time_s in times if silence.is_too_long(time_s)), None)


@pytest.mark.parametrize(("is_loading", "limit_s"), [(True, LOADS_S), (False, SILENT_S)])
def test_a_worker_may_be_silent_for_long_while_it_loads(is_loading, limit_s):
    silence = Silence(0.0)
    silence.heard(1.0, is_loading)
    assert quiet(silence, 1.0, limit_s) is None
    assert quiet(silence, limit_s, 2 * limit_s) == limit_s + 2


def test_one_that_never_said_anything_loads():
    assert quiet(Silence(0.0), 0.0, 2 * LOADS_S) == LOADS_S + 1


def test_slow_steps_allow_for_longer_silence_and_the_end_of_loading_does_not():
    silence = Silence(0.0)
    assert quiet(silence, 0.0, 500.0) is None
    silence.heard(500.0, is_loading=False)
    assert quiet(silence, 500.0, 600.0) is None
    silence.heard(600.0, is_loading=False)  # a step took 100 seconds
    assert quiet(silence, 600.0, 3000.0) == 600.0 + 20 * 100.0 + 1


def test_time_in_which_nobody_looked_does_not_count():
    silence = Silence(0.0)
    silence.heard(1.0, is_loading=False)
    assert not silence.is_too_long(100_000.0), "the machine slept"
    assert quiet(silence, 100_000.0, 100_500.0) is None
