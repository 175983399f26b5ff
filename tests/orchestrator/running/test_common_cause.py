"""When failures are no longer those of single trials."""

import pytest

from orchestrator.running.common_cause import CommonCause
from orchestrator.running.messages import Failed


def failed(message: str) -> Failed:
    return Failed(kind="storage", message=message, traceback=None)


OFFLINE = failed("couldn't connect to the hub for sw after 3 tries")


def test_as_many_trials_as_workers_that_fail_alike_have_a_common_cause():
    cause = CommonCause(num_trials=10, num_workers=4, languages=["sw", "yo"])
    words = ["for sw after 3 tries", "for yo after 12 tries", "for sw after 4 tries"]
    for number, end in enumerate(words):
        assert not cause.is_met(f"t{number}", failed(f"couldn't connect to the hub {end}"), {})
    assert not cause.is_met("t0", OFFLINE, {}), "the same trial again"
    assert cause.is_met("t4", OFFLINE, {})
    assert cause.found == (
        "4 trials failed alike and none succeeded; mend the cause first: storage: "
        "couldn't connect to the hub for sw after 3 tries"
    )
    assert cause.is_met("t5", failed("something else"), {}), "it stays met"


@pytest.mark.parametrize("message", ["bad row in line 3", "loss is inf"])
def test_failures_of_several_kinds_have_none(message):
    cause = CommonCause(num_trials=10, num_workers=1, languages=[])
    assert not any(cause.is_met(f"t{number}", OFFLINE, {}) for number in range(2))
    assert not any(cause.is_met(f"u{number}", failed(message), {}) for number in range(2))


def test_a_success_shows_that_the_cause_is_not_common():
    cause = CommonCause(num_trials=10, num_workers=1, languages=[])
    cause.succeeded()
    assert not any(cause.is_met(f"t{number}", OFFLINE, {}) for number in range(10))
    assert not cause.is_possible


def test_of_two_trials_nothing_can_be_told():
    assert not CommonCause(num_trials=2, num_workers=1, languages=[]).is_possible


def test_one_sick_gpu_is_no_common_cause_while_trials_elsewhere_get_on():
    cause = CommonCause(num_trials=10, num_workers=2, languages=[])
    assert not any(cause.is_met(f"t{number}", OFFLINE, {"healthy": 500}) for number in range(5))
    assert cause.is_met("healthy", OFFLINE, {"healthy": 600}), "now it failed, too"
