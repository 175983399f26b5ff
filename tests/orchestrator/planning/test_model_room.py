"""The room that kept models take, from the shape of the encoder and the sparsity."""

from dataclasses import replace

import pytest

from orchestrator.planning.model_room import describe_model_room, model_bytes
from orchestrator.planning.plan import PlannedTrial
from tests.factories import PRUNING, make_trial_spec
from workers.model.size import size_of
from workers.trial import ModelSpec, TrialSpec

MBERT = ModelSpec(
    name="google-bert/bert-base-multilingual-cased",
    revision=None,
    init="pretrained",
    fingerprint=None,
)
DENSE_BYTES = 4 * size_of(MBERT).num_parameters


def trial(sparsity: float, embeddings: float | None = None, **changes) -> TrialSpec:
    spec = make_trial_spec(
        target_sparsity=sparsity,
        pruning=replace(PRUNING, embedding_sparsity=embeddings) if sparsity else None,
        model=MBERT,
        **changes,
    )
    return replace(spec, training=replace(spec.training, weight_decay=0.0))


@pytest.mark.parametrize(
    ("sparsity", "embeddings", "most"),
    [(0.0, None, 0.6), (0.7, None, 0.35), (0.9, None, 0.20), (0.9, 0.9, 0.12), (0.98, None, 0.14)],
)
def test_a_model_takes_a_part_of_a_dense_copy(sparsity, embeddings, most):
    taken = model_bytes(trial(sparsity, embeddings), size_of(MBERT), 20_000) / DENSE_BYTES
    assert 0.5 * most < taken < most


def test_more_sentences_and_less_sparsity_take_more():
    size = size_of(MBERT)
    sizes = [
        *(model_bytes(trial(0.9), size, number) for number in (100, 5_000, 20_000, 10**7)),
        model_bytes(trial(0.5), size, 10**7),
    ]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < DENSE_BYTES


def test_decay_and_random_weights_leave_no_row_as_it_was():
    size, spec = size_of(MBERT), trial(0.9)
    decayed = replace(spec, training=replace(spec.training, weight_decay=0.01))
    random = replace(spec, model=replace(MBERT, init="random"))
    assert (
        model_bytes(decayed, size, 100)
        == model_bytes(random, size, 100)
        > 4 * size.num_embedding_weights
        > model_bytes(spec, size, 100)
    )


def test_the_line_says_what_dense_copies_would_take():
    spec = trial(0.9)
    planned = [PlannedTrial(spec, spec.trial_id(), 1.0, num_train_sentences=20_000)] * 20
    assert describe_model_room(planned) == [
        "models: at most about 2.3 GiB for 20 kept models; dense copies would take 13.2 GiB"
    ]
    assert describe_model_room([]) == []
    unknown = replace(spec, model=replace(MBERT, name="somebody/an-encoder"))
    assert describe_model_room([PlannedTrial(unknown, unknown.trial_id(), 1.0)]) == []
