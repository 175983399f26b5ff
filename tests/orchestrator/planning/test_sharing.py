"""Steps that need not be computed, counted before a sweep runs."""

from dataclasses import replace

import pytest

from orchestrator.planning.plan import PlannedTrial, make_plan
from orchestrator.planning.sharing import Sharing, find_sharing
from orchestrator.spec.sweep_spec import load_sweep_spec
from tests.factories import PRUNING, make_trial_spec
from workers.pruning.prefix import SharedPrefix, prefix_id

SPEC = make_trial_spec(pruning=replace(PRUNING, begin=0.1, end=0.7, update_every_steps=10))


def planned(sparsity: float, num_steps: int = 100, **changes) -> PlannedTrial:
    spec = SPEC if sparsity else SPEC.dense_counterpart()
    spec = replace(spec, target_sparsity=sparsity, **changes)
    return PlannedTrial(spec, spec.trial_id(), 1.0, num_steps=num_steps)


def test_all_but_the_first_are_spared_the_steps_before_the_first_one_prunes():
    trials = [planned(0.0), planned(0.5), planned(0.9), planned(0.5, seed=1)]
    sharing = find_sharing(trials)
    shared = SharedPrefix(prefix_id(SPEC), 20)
    assert sharing.prefixes == {trial.trial_id: shared for trial in trials[:3]}
    assert (sharing.num_steps, sharing.num_shared) == (400, 40)
    assert sharing.shares == {trial.trial_id: pytest.approx(0.2 * 2 / 3) for trial in trials[:3]}
    assert sharing.lines() == [
        "steps to compute: 360 of 400 (90.0 %), since trials that differ only in what is pruned "
        "share the steps before"
    ]


def test_the_earliest_to_prune_decides():
    early = planned(0.9, pruning=replace(SPEC.pruning, begin=0.0))
    sharing = find_sharing([planned(0.5), early])
    assert {prefix.num_steps for prefix in sharing.prefixes.values()} == {10}


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [planned(0.5)],
        [planned(0.5), planned(0.5, seed=1)],
        [planned(0.0), planned(0.5, pruning=replace(SPEC.pruning, sparsity_schedule="constant"))],
        [planned(0.5, num_steps=0), planned(0.9, num_steps=0)],
    ],
)
def test_nothing_is_shared(trials):
    sharing = find_sharing(trials)
    assert (sharing.num_shared, sharing.prefixes, sharing.lines()) == (0, {}, [])


def test_sweep_that_does_not_want_it_shares_nothing():
    sharing = find_sharing([planned(0.0), planned(0.5)], is_wanted=False)
    assert sharing == Sharing(num_steps=200)


def test_nothing_is_left():
    assert find_sharing([]) == Sharing()


def test_paper_mono_computes_nine_steps_of_ten():
    """By hand: of 3,000 steps 318 come before the first of 100 updates that prunes. A language and
    seed has 15 trials, of which one computes them, and 14 start there."""
    sharing = find_sharing(make_plan(load_sweep_spec("paper-mono")))
    assert (sharing.num_steps, sharing.num_shared) == (1_800 * 3_000, 120 * 14 * 318)
