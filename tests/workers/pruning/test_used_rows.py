"""Training only the embedding rows that are used comes to the bits of training all of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.factories import PRUNING
from tests.workers.trials import (
    evaluation_of,
    finish,
    numbers,
    small_trial,
    stop_and_resume,
    training_of,
    two_languages,
)
from workers.data.align import EncodedSplit, join
from workers.data.languages import check_files, load_trial_data
from workers.model.encoder import make_model
from workers.pruning.used_rows import (
    RowUse,
    UsedRows,
    can_use_rows,
    embedding_rows,
    keep_used_rows,
    num_parameters,
    used_rows,
)
from workers.run import run_trial
from workers.train import Training, row_use
from workers.trial import TrialSpec

EMBEDDINGS = replace(PRUNING, update_every_steps=4, embedding_sparsity=0.6)
SHADOW = replace(EMBEDDINGS, semantics="dense_shadow", initial_sparsity=0.3)
TRIALS = {
    "dense": small_trial(target_sparsity=0.0, pruning=None),
    "without decay": training_of(small_trial(), weight_decay=0.0),
    "with decay": training_of(small_trial(), weight_decay=0.1),
    "pruned": small_trial(pruning=EMBEDDINGS),
    "pruned by chance": small_trial(pruning=replace(EMBEDDINGS, saliency="random")),
    "shadow": training_of(small_trial(pruning=SHADOW), weight_decay=0.1),
    "best epoch": evaluation_of(small_trial(pruning=EMBEDDINGS), selection="best_epoch"),
    "two languages": training_of(two_languages(), weight_decay=0.1),
}

pytestmark = pytest.mark.slow


def train_split(spec: TrialSpec) -> EncodedSplit:
    data = finish(load_trial_data(spec, check_files(spec)))
    return join([language.train for language in data.languages])


@pytest.mark.parametrize("spec", TRIALS.values(), ids=list(TRIALS))
def test_a_trial_comes_to_the_numbers_of_one_that_trains_all_rows(device, monkeypatch, spec):
    by_rows = finish(run_trial(spec, device))
    monkeypatch.setattr("workers.run.row_use", lambda spec, split: None)
    assert numbers(by_rows) == numbers(finish(run_trial(spec, device)))


@pytest.mark.parametrize("spec", TRIALS.values(), ids=list(TRIALS))
def test_all_weights_and_gradient_norms_are_those_of_training_all_rows(device, spec):
    train = train_split(spec)
    trained = []
    for use in (row_use(spec, train), None):
        training = Training(spec, make_model(spec.model, 0, device, use), train, device)
        list(training.run())
        trained.append(training)
    rows, weights = used_rows(trained[0].model), dict(trained[1].model.named_parameters())
    assert rows is not None
    assert len(rows.weight) < 0.5 * rows.num_embeddings

    (name,) = (name for name in weights if name.endswith("word_embeddings.weight"))
    assert torch.equal(rows.table(), weights.pop(name))
    by_rows = dict(trained[0].model.named_parameters())
    for name, weight in weights.items():
        assert torch.equal(by_rows[name], weight), name
    assert trained[0].curve == trained[1].curve
    assert num_parameters(trained[0].model) == num_parameters(trained[1].model)


@pytest.mark.parametrize("spec", [TRIALS["with decay"], TRIALS["shadow"]], ids=["decay", "shadow"])
def test_a_trial_goes_on_from_its_rows(device, tmp_path, spec):
    resumed = stop_and_resume(spec, device, tmp_path, 13)
    assert resumed.num_resumes == 1
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


@pytest.mark.parametrize(
    "changes", [{"saliency": "movement"}, {"granularity": "block", "block_shape": (4, 4)}]
)
def test_embeddings_whose_rows_cannot_be_told_apart_are_trained_whole(changes):
    spec = small_trial(pruning=replace(EMBEDDINGS, **changes))
    assert row_use(spec, train_split(spec)) is None


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5)
        self.out.weight = self.embeddings.weight

    @property
    def base_model(self):
        return self

    def get_input_embeddings(self):
        return self.embeddings


def test_embeddings_that_something_else_reads_are_trained_whole():
    model, use = Tied(), RowUse(np.array([1, 3]), others_change=False)
    assert not can_use_rows(model, use)
    model.out = nn.Linear(4, 5)
    assert can_use_rows(model, use)
    assert not can_use_rows(model, RowUse(np.array([1, 5]), others_change=False))
    model.embeddings = nn.Embedding(5, 4, max_norm=1.0)
    assert not can_use_rows(model, use)


def test_what_nothing_changes_is_shared_and_what_changes_is_not():
    embedding = nn.Embedding(5, 4)
    before = embedding.weight.detach().clone()
    shared = UsedRows(embedding, RowUse(np.array([1, 3]), others_change=False))
    assert shared.others.data_ptr() == embedding.weight.data_ptr()
    own = UsedRows(embedding, RowUse(np.array([1, 3]), others_change=True))
    own.decay(0.5)
    assert torch.equal(own.table()[[0, 2, 4]], before[[0, 2, 4]] * 0.5)
    assert torch.equal(embedding.weight, before)
    assert torch.equal(shared.table(), before)


@pytest.mark.parametrize("others_change", [False, True], ids=["shared", "own"])
def test_rows_are_found_by_their_ids_whichever_are_trained(others_change):
    model, ids = Tied(), np.array([0, 3, 4])
    model.out = nn.Linear(4, 5)
    before = model.embeddings.weight.detach().clone()
    assert torch.equal(embedding_rows(model, ids), before[ids])
    keep_used_rows(model, RowUse(np.array([1, 3]), others_change))
    rows = used_rows(model)
    with torch.no_grad():
        rows.weight[1] = 0.0  # of id 3
    if others_change:
        rows.decay(0.5)
    expected = before[ids] * (0.5 if others_change else 1.0)
    expected[1] = 0.0
    found = embedding_rows(model, ids)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    model.get_input_embeddings = lambda: model.out
    assert embedding_rows(model, ids) is None, "no matrix of word embeddings"
