"""What a tracker is given of a trial, by hand."""

from dataclasses import replace

import pytest

from orchestrator.trackers.runs import read_runs
from tests.factories import STARTED_AT, make_circumstances, make_trial_result, make_trial_spec
from tests.orchestrator.trackers.conftest import commit_two_languages


def run_of(store, spec=None):
    trial_id = (spec or make_trial_spec()).trial_id()
    (run,) = [run for run in read_runs(store) if run.trial_id == trial_id]
    return run


def test_every_trial_that_ended_is_a_run_under_the_name_of_its_place(store):
    assert [(run.name, run.is_completed, run.facts["sweep"]) for run in read_runs(store)] == [
        ("sw sparsity 0 seed 0", True, "demo"),
        ("sw sparsity 0.5 seed 0", True, "demo"),
        ("sw sparsity 0.5 seed 1", False, "demo"),
    ]


def test_settings_are_those_that_apply_and_lists_are_words(store):
    settings = run_of(store).settings
    assert settings["regime"] == "monolingual"
    assert (settings["target_sparsity"], settings["seed"]) == (0.5, 0)
    assert settings["training_lr"] == 2e-5
    assert settings["pruning_prune_head"] is False
    assert settings["evaluation_splits"] == "validation, test"
    assert "training_num_epochs" not in settings  # null
    assert not [name for name in settings if "fingerprint" in name]
    dense = run_of(store, make_trial_spec(target_sparsity=0.0)).settings
    assert not [name for name in dense if name.startswith("pruning")]


def test_a_curve_has_its_steps_spread_over_the_time_of_the_trial(store):
    first, last = run_of(store).curve
    assert (first.step, last.step) == (10, 20)
    assert first.values == {
        "train/loss": 1.5,
        "train/lr": 2e-5,
        "train/sparsity": 0.25,
        "train/grad_norm": 3.0,
    }
    start = STARTED_AT.timestamp() + 0.25  # after loading
    assert last.time_s == pytest.approx(STARTED_AT.timestamp() + 90.5)
    assert first.time_s == pytest.approx((start + last.time_s) / 2)


def test_numbers_are_named_for_split_and_for_what_is_unusual(store):
    numbers = run_of(store).numbers
    assert (numbers["test/f1"], numbers["validation/f1"]) == (0.5, 0.25)
    assert numbers["test/precision"] == 0.5
    assert {name for name in numbers if name.startswith("test/f1")} == {
        *("test/f1", "test/f1-PER", "test/f1-ORG", "test/f1-LOC"),
        *(f"test/f1-{subset}" for subset in ("seen", "unseen")),
        *(f"test/f1-{s}-{kind}" for s in ("seen", "unseen") for kind in ("PER", "ORG", "LOC")),
    }
    assert "test/recall-PER" not in numbers
    assert (numbers["achieved_sparsity"], numbers["train_s"]) == (0.5, 2.0)
    assert "peak_gpu_memory_gib" not in numbers  # null


def test_of_several_languages_the_mean_of_those_trained_on_and_each(store):
    numbers = run_of(store, commit_two_languages(store)).numbers
    f1s = {name: value for name, value in numbers.items() if name.startswith("test/f1")}
    expected = {"test/f1": 0.375, "test/f1/sw": 0.5, "test/f1/yo": 0.25, "test/f1/ka": 0.125}
    assert f1s == expected
    assert numbers["within_language/f1"] == 0.5  # of two draws, on one of the languages
    assert numbers["within_language/f1/sw"] == 0.5


def test_a_failed_trial_has_settings_and_says_why(store):
    run = run_of(store, make_trial_spec(seed=1))
    assert (run.curve, run.numbers, run.last_step) == ([], {}, 0)
    assert run.settings["seed"] == 1
    assert run.facts["error_message"] == "no words"


def test_the_digest_is_the_same_until_rows_change(store):
    spec = make_trial_spec(seed=1)
    before = {run.trial_id: run.digest for run in read_runs(store)}
    assert {run.trial_id: run.digest for run in read_runs(store)} == before
    assert len(set(before.values())) == 3
    store.commit_completed(spec, make_trial_result(), **make_circumstances())
    after = {run.trial_id: run.digest for run in read_runs(store)}
    assert [one for one in after if after[one] != before[one]] == [spec.trial_id()]


def test_scores_by_another_rule_are_added_under_its_name(store):
    spec = make_trial_spec()
    lenient = replace(spec, evaluation=replace(spec.evaluation, matching="lenient"))
    before = run_of(store)
    scores = make_trial_result(f1=0.75).scores
    store.add_scores(store.file_keys()[spec.trial_id()], lenient, scores, [])
    after = run_of(store)
    assert (after.numbers["test/f1"], after.numbers["test/f1-lenient"]) == (0.5, 0.75)
    assert after.numbers["test/f1-PER-lenient"] == 0.75
    assert after.digest != before.digest
