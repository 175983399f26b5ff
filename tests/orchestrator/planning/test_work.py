"""What a run has to do, of what the results hold."""

from orchestrator.planning.plan import PlannedTrial
from orchestrator.planning.work import Work
from tests.factories import make_trial_spec

PLANNED = [PlannedTrial(make_trial_spec(seed=seed), f"t{seed}", 1.0) for seed in range(4)]
STATUSES = {"t0": "completed", "t2": "failed", "of another sweep": "completed"}


def ids(trials) -> list[str]:
    return [trial.trial_id for trial in trials]


def test_each_trial_is_left_completed_or_failed():
    work = Work.of(PLANNED, STATUSES)
    assert (ids(work.left), ids(work.completed), ids(work.failed)) == (["t1", "t3"], ["t0"], ["t2"])
    assert ids(work.planned) == ["t0", "t1", "t2", "t3"]


def test_failed_trials_are_left_when_they_are_to_be_tried_again():
    work = Work.of(PLANNED, STATUSES, retry_failed=True)
    assert (ids(work.left), ids(work.completed), ids(work.failed)) == (
        ["t1", "t2", "t3"],
        ["t0"],
        [],
    )


def test_without_results_everything_is_left():
    assert ids(Work.of(PLANNED, {}).left) == ids(PLANNED)


def test_completed_trials_that_are_run_again_are_left_as_they_are_to_be_run():
    again = PlannedTrial(make_trial_spec(seed=0, robustness=None), "t0", 2.0)
    work = Work.of(PLANNED, STATUSES, run_again=[again])
    assert (ids(work.left), ids(work.completed)) == (["t0", "t1", "t3"], [])
    assert work.left[0] is again
