"""Linear layers that read copies in bfloat16 compute what autocast makes of their weights."""

from dataclasses import replace

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
)
from workers.model.rounded import read_rounded
from workers.run import run_trial
from workers.train import Training

PRUNED = replace(PRUNING, update_every_steps=4)
SHADOW = replace(PRUNED, semantics="dense_shadow", initial_sparsity=0.3)
BY_GRADIENTS = replace(PRUNED, saliency="movement", embedding_sparsity=None)
BLOCKS = replace(PRUNED, granularity="block", block_shape=(4, 4))
TRIALS = {
    "dense": small_trial(target_sparsity=0.0, pruning=None),
    "pruned": small_trial(pruning=PRUNED),
    "shadow": small_trial(pruning=SHADOW),
    "by gradients": small_trial(pruning=BY_GRADIENTS),
    "blocks": small_trial(pruning=BLOCKS),
    "best epoch": evaluation_of(small_trial(pruning=PRUNED), selection="best_epoch"),
}
TRIALS = {name: training_of(spec, precision="bfloat16") for name, spec in TRIALS.items()}


class Shared(nn.Module):
    """A layer that is called twice, one that shares its weight with it, one whose weight is an
    embedding's, and one that nothing trains."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 6)
        self.twice, self.shares = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.shares.weight = self.twice.weight
        self.embeds = nn.Linear(6, 6)
        self.embeds.weight = self.embedding.weight
        self.frozen = nn.Linear(6, 6).requires_grad_(False)

    def forward(self, ids):
        hidden = self.frozen(self.embedding(ids))
        hidden = self.twice(self.twice(hidden).tanh())
        return self.embeds(self.shares(hidden))


def loss_of(model: nn.Module) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(torch.tensor([[0, 3, 3], [5, 1, 0]])).float().square().mean()


def test_losses_and_gradients_are_those_of_autocast():
    torch.manual_seed(0)
    model = Shared()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = loss_of(model)
    expected.backward()
    gradients = {name: one.grad for name, one in model.named_parameters()}
    model.zero_grad()

    copies = read_rounded(model)
    names = {name for name, one in model.named_parameters() if one in copies}
    layers = ("twice.weight", "twice.bias", "frozen.weight", "frozen.bias")
    assert names == set(layers), "what an embedding reads stays float32"
    found = loss_of(model)
    found.backward()
    assert torch.equal(found, expected)
    for name, one in model.named_parameters():
        grad = copies.get(one, one).grad
        if gradients[name] is None:
            assert grad is None
        else:
            assert torch.equal(grad.float(), gradients[name]), name
            assert one not in copies or one.grad is None
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("spec", TRIALS.values(), ids=list(TRIALS))
def test_a_trial_has_the_numbers_of_one_whose_weights_autocast_casts(device, monkeypatch, spec):
    """Where query, key and value are computed apart."""
    monkeypatch.setattr("workers.model.rounded.find_projections", lambda model: ())
    with_copies = []
    monkeypatch.setattr("workers.train.read_rounded", counted(with_copies))
    found = finish(run_trial(spec, device))
    assert with_copies == [2 * 2 * 6 + 2], "weight and bias of 2 layers of 6, and of the head"
    monkeypatch.setattr("workers.train.read_rounded", lambda model: {})
    assert numbers(found) == numbers(finish(run_trial(spec, device)))


def counted(counts: list[int]):
    def read(model):
        copies = read_rounded(model)
        counts.append(len(copies))
        return copies

    return read


@pytest.mark.slow
@pytest.mark.parametrize("spec", [TRIALS["shadow"], TRIALS["best epoch"]], ids=["shadow", "best"])
def test_a_trial_goes_on_with_copies_of_what_it_restored(device, tmp_path, spec):
    resumed = stop_and_resume(spec, device, tmp_path, 13)
    assert resumed.num_resumes == 1
    assert numbers(resumed) == numbers(finish(run_trial(spec, device)))


@pytest.mark.slow
def test_weights_of_padded_batches_are_left_to_autocast(device, monkeypatch):
    """They get a gradient from each part of a batch, which autocast adds up in float32."""
    from tests.workers.test_train import parts

    monkeypatch.setattr("workers.train.reads_packed_rows", lambda model: False)
    training = Training(TRIALS["pruned"], *parts(TRIALS["pruned"], device))
    next(training.run())
    weight = next(iter(training.weights.values()))
    assert training.optimizer.gradient(weight) is weight.grad is not None
