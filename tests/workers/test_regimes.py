"""Several languages in one trial, the best epoch, paired trials, perturbed test sets and stored
predictions."""

from dataclasses import replace

import numpy as np
import pytest

from tests.factories import PRUNING
from tests.workers.test_run import checkpoint_at, finish, numbers, run_steps, small_trial
from workers.data.align import EncodedSplit, join
from workers.data.batch import draw_sequences, training_order
from workers.data.corpus import load_sentences
from workers.result import TrialResult
from workers.run import run_trial
from workers.scoring.selection import mean_f1
from workers.trial import DonorPool, RobustnessSpec, TrialSpec


def training_of(spec: TrialSpec, **changes) -> TrialSpec:
    return replace(spec, training=replace(spec.training, **changes))


def evaluation_of(spec: TrialSpec, **changes) -> TrialSpec:
    return replace(spec, evaluation=replace(spec.evaluation, **changes))


def two_languages(**changes) -> TrialSpec:
    """Bengali and Georgian, 23 steps."""
    spec = small_trial(regime="multilingual", languages=("bn", "ka"), **changes)
    return training_of(spec, sampling="proportional")


def pool(language: str, perturbation: str, *donors: str) -> DonorPool:
    return DonorPool(
        language=language,
        perturbation=perturbation,
        donors=donors,
        reason=None if donors else "it is alone",
    )


def robustness(*pools: DonorPool, **changes) -> RobustnessSpec:
    names = tuple(dict.fromkeys(one.perturbation for one in pools))
    spec = RobustnessSpec(perturbations=names, draws=1, seed=0, donor_fingerprint=None, pools=pools)
    return replace(spec, **changes)


# Several languages


def split_of(*lengths: int, first_id: int = 10) -> EncodedSplit:
    ids = np.concatenate(
        [np.full(length, first_id + i) for i, length in enumerate(lengths)]
    ).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedSplit(
        ids, ids.astype(np.int64), offsets, np.arange(len(lengths)), 1, 99, 2, (len(lengths),)
    )


def test_joined_splits_keep_their_sequences_in_order():
    joined = join([split_of(3, 5), split_of(4, first_id=50)])
    assert joined.lengths.tolist() == [3, 5, 4]
    assert joined.input_ids[joined.offsets[2] : joined.offsets[3]].tolist() == [50] * 4
    assert joined.sentence_of_sequence.tolist() == [0, 1, 2]
    assert (joined.num_sentences, joined.parts, joined.num_unstarted_entities) == (3, (2, 1), 2)
    assert joined.num_subwords_of_sentences.tolist() == [1, 3, 2]  # two special ids each


def counts_by_part(drawn: np.ndarray, parts: tuple[int, ...]) -> list[int]:
    edges = np.concatenate([[0], np.cumsum(parts)])
    return np.histogram(drawn, edges)[0].tolist()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1, [900, 100]),
        (2, [750, 250]),
        (1e9, [500, 500]),
    ],  # of 900 and 100: 30 to 10 at temperature 2
)
def test_temperature_moves_sentences_from_large_to_small_languages(temperature, expected):
    drawn = draw_sequences((900, 100), temperature, np.random.default_rng(0))
    assert counts_by_part(drawn, (900, 100)) == expected
    repeats = np.bincount(drawn, minlength=1000)[900:]
    assert repeats.max() - repeats.min() <= 1, "each comes once before any comes twice"


def test_shares_that_are_no_whole_numbers_still_fill_the_epoch():
    drawn = draw_sequences((7, 5, 3), 3, np.random.default_rng(1))
    assert len(drawn) == 15
    assert np.bincount(drawn, minlength=15).max() <= 2


def test_proportional_epochs_have_every_sequence_once_and_temperature_changes_them():
    lengths = np.arange(1, 101)
    plain = np.concatenate(training_order(lengths, 8, seed=3, epoch=0, parts=(90, 10)))
    assert sorted(plain) == list(range(100))
    warm = np.concatenate(
        training_order(lengths, 8, seed=3, epoch=0, parts=(90, 10), temperature=2)
    )
    assert counts_by_part(warm, (90, 10)) == [75, 25]
    again = np.concatenate(
        training_order(lengths, 8, seed=3, epoch=0, parts=(90, 10), temperature=2)
    )
    assert warm.tolist() == again.tolist()
    other = np.concatenate(
        training_order(lengths, 8, seed=3, epoch=1, parts=(90, 10), temperature=2)
    )
    assert warm.tolist() != other.tolist()


def test_multilingual_trial_trains_on_all_and_is_scored_on_each(device):
    result = finish(run_trial(two_languages(), device))
    assert result.num_train_sentences == 200
    assert {(score.language, score.split) for score in result.scores} == {
        (language, split) for language in ("bn", "ka") for split in ("validation", "test")
    }
    assert {one.sentences.language for one in result.predictions} == {"bn", "ka"}
    assert result.achieved_sparsity == 0.5


def test_multilingual_trial_goes_on_to_the_same_bits(device, tmp_path):
    spec = training_of(two_languages(), sampling="temperature", sampling_temperature=3.0)
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    run_steps(interrupted, 9)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))
    proportional = finish(run_trial(two_languages(), device))
    assert proportional.curve != resumed.curve


# Paired trials


@pytest.mark.parametrize(
    "changes",
    [
        {"saliency": "random"},
        {"saliency": "movement"},
        {"embedding_sparsity": 0.5, "scope": "erk"},
        {"granularity": "block", "block_shape": (4, 4)},
    ],
)
def test_trials_of_a_seed_share_weights_and_data_until_they_are_pruned(device, changes):
    late = replace(
        PRUNING, begin=0.5, end=0.8, update_every_steps=4, **changes
    )  # 12 of 23 steps are dense
    dense = finish(run_trial(small_trial(target_sparsity=0.0, pruning=None), device))
    sparse = finish(run_trial(small_trial(pruning=late), device))
    assert sparse.curve[0].loss == dense.curve[0].loss, (
        "the first ten steps are the same to the bit"
    )
    assert sparse.curve[-1].loss != dense.curve[-1].loss
    assert sparse.achieved_sparsity == pytest.approx(0.5, abs=1e-3)


def test_movement_that_was_interrupted_goes_on_to_the_same_bits(device, tmp_path):
    spec = small_trial(pruning=replace(PRUNING, saliency="movement", update_every_steps=4))
    interrupted = run_trial(spec, device, checkpoint_at(tmp_path, spec, every_s=1e9))
    run_steps(interrupted, 7)
    interrupted.close()
    resumed = finish(run_trial(spec, device, checkpoint_at(tmp_path, spec)))
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


def test_embeddings_have_their_own_count(device):
    spec = small_trial(pruning=replace(PRUNING, embedding_sparsity=0.25), target_sparsity=0.5)
    result = finish(run_trial(spec, device))
    assert (result.achieved_sparsity, result.achieved_embedding_sparsity) == (0.5, 0.25)
    assert finish(run_trial(small_trial(), device)).achieved_embedding_sparsity is None


# The best epoch


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
    best = finish(run_trial(spec, device))
    scores = []
    running = run_trial(evaluation_of(spec, selection="last"), device)
    last = finish(running)
    assert best.selected_step % 4 == 0, "100 sentences in batches of 32 are 4 steps an epoch"
    assert (last.selected_step, last.num_steps) == (28, 28)
    scores = [
        # With a constant rate, a trial of fewer epochs is the beginning of a longer one.
        best_of(finish(run_trial(constant_rate(spec, num_epochs), device)))[0]
        for num_epochs in (1, 4, 7)
    ]
    constant = finish(
        run_trial(evaluation_of(constant_rate(spec, 7), selection="best_epoch"), device)
    )
    assert best_of(constant)[0] >= max(score or 0.0 for score in scores)
    assert best.curve == last.curve, "looking at validation changes nothing about training"


def constant_rate(spec: TrialSpec, num_epochs: int) -> TrialSpec:
    spec = training_of(spec, num_epochs=num_epochs, lr_schedule="constant")
    return evaluation_of(spec, selection="last")


def test_model_of_the_best_epoch_is_that_of_a_trial_that_ends_there(device):
    spec = constant_rate(with_best_epoch(small_trial(target_sparsity=0.0, pruning=None)), 7)
    best = finish(run_trial(evaluation_of(spec, selection="best_epoch"), device))
    there = finish(run_trial(training_of(spec, num_epochs=best.selected_step // 4), device))
    assert best.scores == there.scores
    assert best.predictions == there.predictions


def test_epochs_before_the_target_is_reached_are_no_candidates(device):
    spec = with_best_epoch(
        small_trial(pruning=replace(PRUNING, begin=0.1, end=0.6, update_every_steps=3))
    )
    result = finish(run_trial(spec, device))
    assert result.selected_step > 0.6 * result.num_steps
    assert result.achieved_sparsity == 0.5


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
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


@pytest.mark.parametrize(
    ("f1", "expected"), [([0.5, 1.0], 0.75), ([None, 0.5], 0.5), ([None], 0.0)]
)
def test_languages_without_an_f1_do_not_count(f1, expected):
    assert mean_f1(f1) == expected


# Perturbed test sets and predictions


def test_predictions_add_up_to_the_scores(device):
    result = finish(run_trial(small_trial(), device))
    (one,) = result.predictions
    (overall,) = (
        s for s in result.scores if (s.split, s.subset, s.entity_type) == ("test", "all", "micro")
    )
    sums = (sum(one.support), sum(one.num_predicted), sum(one.num_correct))
    assert sums == (overall.support, overall.num_predicted, overall.num_correct)
    sentences = load_sentences(small_trial().corpus, "ka", "test")
    assert one.sentences.tokens == sentences.tokens
    assert [len(tags) for tags in one.predicted] == [len(tokens) for tokens in sentences.tokens]
    assert all(
        count >= len(tokens)
        for count, tokens in zip(one.sentences.num_subwords, sentences.tokens, strict=True)
    )


def test_seen_and_unseen_sentences_are_all_sentences(device):
    scores = finish(run_trial(small_trial(), device)).scores
    by_subset = {s.subset: s for s in scores if (s.split, s.entity_type) == ("test", "micro")}
    assert by_subset["all"].num_sentences == 100
    for name in ("num_sentences", "support", "num_correct"):
        assert getattr(by_subset["seen"], name) + getattr(by_subset["unseen"], name) == getattr(
            by_subset["all"], name
        )


def test_all_trials_meet_the_same_perturbed_sentences_and_empty_pools_say_so(device):
    pools = (
        pool("ka", "within_language", "ka"),
        pool("ka", "within_script"),
        pool("ka", "within_family", "en"),
    )
    spec = evaluation_of(
        small_trial(robustness=robustness(*pools, draws=2)), predictions=("test", "perturbed")
    )
    first = finish(run_trial(spec, device))
    second = finish(run_trial(replace(spec, seed=1, target_sparsity=0.75), device))
    ids = [one.sentences.set_id for one in first.predictions]
    assert ids == [one.sentences.set_id for one in second.predictions]
    assert len(set(ids)) == 1 + 2 * 2, (
        "test as published, and two draws of each perturbation that applies"
    )
    (alone,) = (s for s in first.robustness if s.perturbation == "within_script")
    assert (alone.status, alone.reason, alone.f1, alone.support) == (
        "not_applicable",
        "it is alone",
        None,
        None,
    )
    scored = [s for s in first.robustness if s.status == "scored" and s.entity_type == "micro"]
    assert {(s.perturbation, s.draw) for s in scored} == {
        (name, draw) for name in ("within_language", "within_family") for draw in (0, 1)
    }
    assert all(0 < s.num_replaced <= s.support for s in scored)
    tokens = {one.sentences.perturbation: one.sentences.tokens for one in first.predictions}
    assert tokens["none"] != tokens["within_family"]


def test_nothing_is_stored_where_nothing_is_asked_for(device):
    assert finish(run_trial(evaluation_of(small_trial(), predictions=()), device)).predictions == ()
