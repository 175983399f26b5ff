"""Which trials share their first steps, and how many."""

from dataclasses import replace

import pytest

from tests.factories import PRUNING, make_trial_spec
from workers.pruning.prefix import num_unpruned_steps, prefix_id
from workers.trial import PruningSpec, TrialSpec

BASE = make_trial_spec(pruning=replace(PRUNING, begin=0.1, end=0.7, update_every_steps=10))
BEST = replace(BASE, evaluation=replace(BASE.evaluation, selection="best_epoch"))
SCORED = replace(PRUNING, saliency="movement")


def pruned(**changes) -> TrialSpec:
    sparsity = changes.pop("sparsity", BASE.target_sparsity)
    pruning = replace(BASE.pruning, **changes)
    return replace(BASE, target_sparsity=sparsity, pruning=pruning)


@pytest.mark.parametrize(
    ("changes", "num_steps"),
    [
        ({}, 110),
        ({"update_every_steps": 50}, 150),
        ({"update_every_steps": 1000}, 700),
        ({"update_every_steps": None, "num_updates": 20}, 130),
        ({"update_every_steps": None, "num_updates": 1}, 700),
        ({"update_every_steps": None, "num_updates": 1000}, 101),
        ({"initial_sparsity": 0.1}, 100),
        ({"begin": 0.0}, 10),
        ({"end": 0.1}, 100),
        ({"sparsity_schedule": "one_shot"}, 100),
        ({"sparsity_schedule": "constant"}, 0),
    ],
)
def test_steps_before_the_first_update_that_prunes(changes, num_steps):
    assert num_unpruned_steps(pruned(**changes), 1000) == num_steps


def test_dense_trial_prunes_never():
    assert num_unpruned_steps(BASE.dense_counterpart(), 1000) == 1000


@pytest.mark.parametrize(
    "other",
    [
        BASE.dense_counterpart(),
        pruned(sparsity=0.9),
        pruned(begin=0.3, end=0.9, update_every_steps=1),
        pruned(update_every_steps=None, num_updates=20),
        pruned(scope="layer", granularity="n_of_m", n_of_m=(2, 4)),
        pruned(saliency="random"),
        pruned(semantics="dense_shadow"),
        pruned(embedding_sparsity=0.5),
        pruned(include=("query",)),
        pruned(prune_head=True),
        replace(BASE, robustness=None),
        replace(BASE, evaluation=replace(BASE.evaluation, splits=("test",))),
    ],
)
def test_trials_that_differ_in_what_is_pruned_share(other):
    assert prefix_id(other) == prefix_id(BASE)


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, seed=1),
        replace(BASE, languages=("yo",)),
        replace(BASE, training=replace(BASE.training, lr=1e-3)),
        replace(BASE, model=replace(BASE.model, name="another")),
        BEST,
        # They need scores from the first step on.
        pruned(saliency="movement"),
    ],
)
def test_others_share_nothing(other):
    assert prefix_id(other) != prefix_id(BASE)


def test_embeddings_of_which_all_rows_are_trained_are_apart():
    blocks = {"granularity": "block", "block_shape": (4, 1)}
    rows = pruned(embedding_sparsity=0.5, **blocks)
    assert prefix_id(rows) == prefix_id(pruned(embedding_sparsity=0.9, sparsity=0.9, **blocks))
    assert prefix_id(rows) != prefix_id(BASE)
    assert prefix_id(pruned(**blocks)) == prefix_id(BASE)
    assert prefix_id(pruned(saliency="movement")) != prefix_id(
        pruned(saliency="movement", embedding_sparsity=0.5)
    )


def test_scores_by_gradient_are_shared_where_they_come_together_alike():
    def scored(sparsity: float, **changes: object) -> TrialSpec:
        pruning: PruningSpec = replace(SCORED, **changes)  # type: ignore[arg-type]
        return replace(BASE, target_sparsity=sparsity, pruning=pruning)

    assert prefix_id(scored(0.5)) == prefix_id(scored(0.9))
    assert prefix_id(scored(0.5)) != prefix_id(scored(0.5, update_every_steps=7))
    assert prefix_id(scored(0.5)) != prefix_id(scored(0.5, saliency="gradient_times_weight"))


def test_prefixes_of_scores_by_gradient_have_the_names_that_they_had():
    assert prefix_id(replace(BASE, pruning=SCORED)) == "0f15f3637f95f5d8"


def test_dense_trial_that_chooses_its_epoch_after_pruning_shares_the_steps_before():
    after = replace(BEST, evaluation=replace(BEST.evaluation, select_after=0.7))
    assert prefix_id(after.dense_counterpart()) == prefix_id(after) is not None


def test_dense_trial_that_chooses_its_epoch_among_all_shares_nothing():
    assert prefix_id(BEST.dense_counterpart()) is None
    assert prefix_id(BEST) == prefix_id(replace(BEST, target_sparsity=0.9))
