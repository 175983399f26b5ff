"""Schedule, scope and masks: exact counts, stated ties, and weights that stay at zero."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from tests.factories import PRUNING
from workers.kernels import reference
from workers.pruning.pruner import Pruner
from workers.pruning.schedule import CubicSchedule
from workers.pruning.scope import prunable_weights, rank_groups
from workers.trial import TrialError


def schedule(**changes) -> CubicSchedule:
    fields = {"initial": 0.2, "target": 0.8, "begin_step": 10, "end_step": 30, "update_every_steps": 7}
    return CubicSchedule(**fields | changes)


def all_kept(*weights: torch.Tensor) -> list[torch.Tensor]:
    return [torch.ones_like(weight, dtype=torch.bool) for weight in weights]


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
    assert reference.count_pruned(sparsity, num_weights) == expected


def test_masks_prune_the_smallest_magnitudes_over_all_tensors():
    first, second = torch.tensor([[3.0, -1.0, 2.0]]), torch.tensor([-0.5, 4.0])
    masks = reference.magnitude_masks([first, second], all_kept(first, second), 2)
    assert masks[0].tolist() == [[True, False, True]]
    assert masks[1].tolist() == [False, True]


def test_ties_go_to_the_earlier_tensor_and_the_lower_index():
    first, second = torch.tensor([[1.0, -1.0], [1.0, 5.0]]), torch.tensor([1.0, -1.0, 0.5])
    masks = reference.magnitude_masks([first, second], all_kept(first, second), 3)
    assert masks[0].tolist() == [[False, False], [True, True]]
    assert masks[1].tolist() == [True, True, False]


def test_pruned_weights_stay_pruned_among_kept_zeros():
    weight = torch.tensor([0.0, 0.0, 0.0, 7.0])
    masks = [torch.tensor([True, True, False, True])]
    assert reference.magnitude_masks([weight], masks, 2)[0].tolist() == [False, True, False, True]


@pytest.mark.parametrize("num_pruned", [0, 1, 6, 7])
def test_count_is_exact_from_none_to_all(num_pruned):
    weight = torch.tensor([[math.inf, -0.0, 1e-42], [0.0, -math.inf, 3.0]])
    weights = [weight, torch.tensor([2.0])]
    masks = reference.magnitude_masks(weights, all_kept(*weights), num_pruned)
    assert sum(int((~mask).sum()) for mask in masks) == num_pruned


def test_infinity_ranks_highest():
    weight = torch.tensor([math.inf, 5.0, -math.inf, 1.0])
    assert reference.magnitude_masks([weight], all_kept(weight), 2)[0].tolist() == [True, False, True, False]


def test_nan_weights_are_refused_at_a_mask_update():
    weight = torch.tensor([1.0, math.nan, math.nan])
    with pytest.raises(ValueError, match="2 are NaN"):
        reference.magnitude_masks([weight], all_kept(weight), 1)


def test_more_than_all_weights_cannot_be_pruned():
    weight = torch.ones(3)
    with pytest.raises(ValueError, match="4 is outside 0 to 3"):
        reference.magnitude_masks([weight], all_kept(weight), 4)


def test_zeroing_leaves_no_nan_and_no_negative_zero():
    tensor = torch.tensor([math.inf, -3.0, math.nan, 2.0])
    reference.zero_where_pruned([tensor], [torch.tensor([False, False, False, True])])
    assert tensor.tolist() == [0.0, 0.0, 0.0, 2.0]
    assert not torch.signbit(tensor).any()


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


def test_layer_scope_ranks_each_tensor_by_itself():
    assert rank_groups(["a", "b"], "layer") == [["a"], ["b"]]
    assert rank_groups(["a", "b"], "global") == [["a", "b"]]


def prune_and_train(scope: str, target: float, num_steps: int = 12) -> Pruner:
    """Train a small BERT on noise with momentum and decay, checking after every step that what is pruned is zero."""
    model = small_bert()
    with torch.no_grad():  # layers of very different magnitude tell the scopes apart
        for index, parameter in enumerate(prunable_weights(model, "encoder").values()):
            parameter.mul_(1 + index)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    weights = prunable_weights(model, "encoder")
    pruning = replace(PRUNING, scope=scope, update_every_steps=3)
    pruner = Pruner(weights, optimizer, CubicSchedule.from_spec(pruning, target, num_steps), pruning)
    previous: dict[str, torch.Tensor] = {}
    for step in range(num_steps):
        pruner.update(step)
        model(torch.randint(50, (2, 5)), labels=torch.randint(7, (2, 5))).loss.backward()
        pruner.mask_gradients()
        optimizer.step()
        optimizer.zero_grad()
        for name, mask in pruner.masks.items():
            assert not weights[name][~mask].any(), f"a pruned weight of {name} came back at step {step}"
            assert not (mask & ~previous.get(name, mask)).any(), f"a pruned weight of {name} was unmasked"
        previous = dict(pruner.masks)
    pruner.update(num_steps)
    return pruner


def test_target_is_hit_exactly_and_pruned_weights_never_come_back():
    layers = prune_and_train("global", 0.7).count()
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
    model = small_bert()
    pruner = Pruner(prunable_weights(model, "encoder"), torch.optim.AdamW(model.parameters()), None, None)
    pruner.update(3)
    assert pruner.masks == {}
    assert sum(layer.num_zeros for layer in pruner.count()) == 0
