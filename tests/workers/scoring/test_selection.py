"""Which model is scored: the last one, or that of the best epoch."""

from dataclasses import replace

import pytest

from tests.factories import PRUNING
from tests.workers.trials import (
    checkpoint_at,
    evaluation_of,
    finish,
    numbers,
    small_trial,
    training_of,
    undisturbed,
)
from workers.result import TrialResult
from workers.run import run_trial
from workers.scoring.selection import mean_f1
from workers.trial import TrialSpec


def best_of(result: TrialResult) -> list[float | None]:
    return [
        s.f1
        for s in result.scores
        if (s.split, s.subset, s.entity_type) == ("validation", "all", "micro")
    ]


def with_best_epoch(spec: TrialSpec) -> TrialSpec:
    """A learning rate that makes some epochs worse than those before."""
    return evaluation_of(
        training_of(spec, num_steps=None, num_epochs=7, lr=4e-3), selection="best_epoch"
    )


def test_best_epoch_is_the_one_with_the_best_validation(device):
    spec = with_best_epoch(small_trial(target_sparsity=0.0, pruning=None))
    best = undisturbed(spec, device)
    last = undisturbed(evaluation_of(spec, selection="last"), device)
    assert best.selected_step % 4 == 0, "100 sentences in batches of 32 are 4 steps an epoch"
    assert (last.selected_step, last.num_steps) == (28, 28)
    scores = [
        # With a constant rate, a trial of fewer epochs is the beginning of a longer one.
        best_of(undisturbed(constant_rate(spec, num_epochs), device))[0]
        for num_epochs in (1, 4, 7)
    ]
    constant = undisturbed(evaluation_of(constant_rate(spec, 7), selection="best_epoch"), device)
    assert best_of(constant)[0] >= max(score or 0.0 for score in scores)
    assert best.curve == last.curve, "looking at validation changes nothing about training"


def constant_rate(spec: TrialSpec, num_epochs: int) -> TrialSpec:
    spec = training_of(spec, num_epochs=num_epochs, lr_schedule="constant")
    return evaluation_of(spec, selection="last")


def test_model_of_the_best_epoch_is_that_of_a_trial_that_ends_there(device):
    spec = constant_rate(with_best_epoch(small_trial(target_sparsity=0.0, pruning=None)), 7)
    best = undisturbed(evaluation_of(spec, selection="best_epoch"), device)
    there = undisturbed(training_of(spec, num_epochs=best.selected_step // 4), device)
    assert best.scores == there.scores
    assert best.predictions == there.predictions


def test_epochs_before_the_target_is_reached_are_no_candidates(device):
    spec = with_best_epoch(
        small_trial(pruning=replace(PRUNING, begin=0.1, end=0.6, update_every_steps=3))
    )
    result = finish(run_trial(spec, device))
    assert result.selected_step > 0.6 * result.num_steps
    assert result.achieved_sparsity == 0.5


def candidates(spec: TrialSpec, device) -> list[int]:
    """The steps at which a trial scores its model on validation while it trains."""
    scored: dict[int, None] = {}
    for progress in run_trial(spec, device):
        if progress.phase == "evaluating":
            scored[progress.step] = None
    return list(scored)


def test_a_dense_trial_chooses_among_the_epochs_of_the_sparse_one(device):
    """Epochs of 4 steps, 28 in all: pruning ends with step 17, in the fifth epoch."""
    pruning = replace(PRUNING, begin=0.1, end=0.6, update_every_steps=3)
    sparse = evaluation_of(with_best_epoch(small_trial(pruning=pruning)), select_after=0.6)
    assert candidates(sparse, device) == [20, 24, 28]
    dense = sparse.dense_counterpart()
    assert candidates(dense, device) == [20, 24, 28]
    assert candidates(evaluation_of(dense, select_after=None), device) == [4, 8, 12, 16, 20, 24, 28]
    later = [evaluation_of(spec, select_after=20 / 28) for spec in (sparse, dense)]
    assert [candidates(spec, device) for spec in later] == [[24, 28]] * 2


def test_pruning_to_the_last_step_leaves_the_last_model_only(device):
    spec = with_best_epoch(small_trial(pruning=replace(PRUNING, end=1.0, update_every_steps=3)))
    result = finish(run_trial(spec, device))
    assert result.selected_step == result.num_steps
    assert result.achieved_sparsity == 0.5


@pytest.mark.parametrize("stopped_in", ["training", "evaluating"])
def test_best_epoch_survives_a_stop(device, tmp_path, stopped_in):
    spec = with_best_epoch(small_trial(target_sparsity=0.0, pruning=None))
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    assert any(progress.step == 16 and progress.phase == stopped_in for progress in interrupted)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(undisturbed(spec, device))


@pytest.mark.parametrize(
    ("f1", "expected"), [([0.5, 1.0], 0.75), ([None, 0.5], 0.5), ([None], 0.0)]
)
def test_languages_without_an_f1_do_not_count(f1, expected):
    assert mean_f1(f1) == expected
