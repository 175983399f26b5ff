"""Schedule and scope; and a model in training: exact counts, and weights that stay at zero."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from tests.factories import PRUNING, make_trial_spec
from workers.optim import count_pruned
from workers.pruning.pruner import Pruner
from workers.pruning.schedule import CubicSchedule
from workers.pruning.scope import prunable_weights
from workers.train import make_optimizer
from workers.trial import TrialError


def schedule(**changes) -> CubicSchedule:
    fields = {"initial": 0.2, "target": 0.8, "begin_step": 10, "end_step": 30, "update_every_steps": 7}
    return CubicSchedule(**fields | changes)


def small_bert(**changes) -> BertForTokenClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForTokenClassification(BertConfig(**sizes | {"intermediate_size": 12, "num_labels": 7} | changes))


def test_cubic_schedule_follows_zhu_and_gupta():
    # s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))^3 at the middle: 0.8 - 0.6 / 8
    assert schedule().sparsity(20) == pytest.approx(0.725)
    assert schedule().sparsity(10) == pytest.approx(0.2)
    assert schedule().sparsity(9) == 0.0
    assert schedule().sparsity(30) == schedule().sparsity(1000) == 0.8


def test_last_update_is_on_the_end_step_where_the_frequency_does_not_divide():
    assert [step for step in range(50) if schedule().is_due(step)] == [10, 17, 24, 30]


def test_begin_equal_to_end_prunes_once():
    once = schedule(begin_step=5, end_step=5)
    assert [step for step in range(50) if once.is_due(step)] == [5]
    assert once.sparsity(5) == 0.8


def test_schedule_of_a_trial_ends_at_its_fraction_of_the_steps():
    made = CubicSchedule.from_spec(PRUNING, 0.9, num_steps=40)
    assert (made.begin_step, made.end_step, made.target) == (4, 28, 0.9)


@pytest.mark.parametrize(
    ("sparsity", "num_weights", "expected"), [(0.5, 5, 2), (0.5, 7, 4), (0.9, 11, 10), (0.0, 9, 0)]
)
def test_number_of_pruned_weights_is_the_nearest_integer_halves_to_even(sparsity, num_weights, expected):
    assert count_pruned(sparsity, num_weights) == expected


def test_encoder_linears_are_prunable_and_nothing_else():
    model = small_bert()
    weights = prunable_weights(model, "encoder")
    assert len(weights) == 2 * 6
    assert sum(weight.numel() for weight in weights.values()) == 2 * (4 * 8 * 8 + 2 * 8 * 12)
    assert all(weight is not model.classifier.weight for weight in weights.values())


def test_embeddings_join_when_asked():
    weights = prunable_weights(small_bert(), "encoder_and_embeddings")
    assert weights["embeddings.word_embeddings.weight"].shape == (50, 8)
    assert len(weights) == 13


def test_model_without_linear_layers_is_refused():
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 3, 1)

    model = Body()
    model.base_model = Body()
    with pytest.raises(TrialError, match="Body has no linear layers"):
        prunable_weights(model, "encoder")


def test_data_parallel_is_refused():
    with pytest.raises(TrialError, match="nn.DataParallel is not served; use DistributedDataParallel"):
        prunable_weights(nn.DataParallel(small_bert()), "encoder")


def test_tied_weights_count_once():
    model = small_bert()
    model.bert.encoder.layer[1].output.dense.weight = model.bert.encoder.layer[0].output.dense.weight
    assert len(prunable_weights(model, "encoder")) == 2 * 6 - 1


def prune_and_train(scope: str, target: float, num_steps: int = 12, **changes) -> Pruner:
    """Train a small BERT on noise with momentum and decay, checking after every step that what is pruned is zero."""
    model = small_bert()
    weights = prunable_weights(model, "encoder")
    with torch.no_grad():  # layers of very different magnitude tell the scopes apart
        for index, parameter in enumerate(weights.values()):
            parameter.mul_(1 + index)
    pruning = replace(PRUNING, scope=scope, update_every_steps=3, **changes)
    training = replace(make_trial_spec().training, lr=1e-2, weight_decay=0.1)
    spec = replace(make_trial_spec(), pruning=pruning, target_sparsity=target, training=training)
    optimizer = make_optimizer(model, list(weights.values()), spec)
    pruner = Pruner(weights, optimizer, CubicSchedule.from_spec(pruning, target, num_steps), pruning)
    previous: dict[str, torch.Tensor] = {}
    for step in range(num_steps):
        pruner.update(step)
        model(torch.randint(50, (2, 5)), labels=torch.randint(7, (2, 5))).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        masks = {name: optimizer.mask(weight) for name, weight in weights.items()}
        for name, mask in masks.items():
            if mask is None:
                continue
            assert not weights[name][~mask].any(), f"a pruned weight of {name} came back at step {step}"
            if pruning.semantics == "hard":
                before = previous.get(name)
                assert before is None or not (mask & ~before).any(), f"a pruned weight of {name} was unmasked"
        previous = masks
    pruner.update(num_steps)
    return pruner


@pytest.mark.parametrize("semantics", ["hard", "dense_shadow"])
def test_target_is_hit_exactly_and_what_is_pruned_is_zero(semantics):
    layers = prune_and_train("global", 0.7, semantics=semantics).count()
    total = sum(layer.num_weights for layer in layers)
    assert sum(layer.num_zeros for layer in layers) == round(0.7 * total)


def test_layer_scope_hits_the_target_in_every_layer():
    for layer in prune_and_train("layer", 0.7).count():
        assert layer.num_zeros == round(0.7 * layer.num_weights)


def test_global_scope_prunes_layers_of_small_weights_harder():
    layers = prune_and_train("global", 0.7).count()
    assert layers[0].num_zeros / layers[0].num_weights > 0.9
    assert layers[-1].num_zeros / layers[-1].num_weights < 0.5


def test_dense_trial_has_no_masks_and_no_zeros():
    model, spec = small_bert(), make_trial_spec(target_sparsity=0.0)
    weights = prunable_weights(model, "encoder")
    optimizer = make_optimizer(model, list(weights.values()), spec)
    pruner = Pruner(weights, optimizer, None, None)
    assert pruner.update(3) is None
    assert all(optimizer.mask(weight) is None for weight in weights.values())
    assert sum(layer.num_zeros for layer in pruner.count()) == 0
