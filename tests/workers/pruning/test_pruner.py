"""All choices together: exact counts, zeros that stay, and trials that go on where they stopped."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from tests.factories import make_trial_spec
from tests.workers.pruning.pruners import (
    SIZE,
    give_gradients,
    granularity_of,
    make_pruner,
    num_zeros,
    random_weights,
    settings,
    small_bert,
    train,
)
from workers.pruning.compatibility import refusals
from workers.pruning.granularity import GRANULARITIES
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.pruner import Pruner
from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import SCHEDULES
from workers.pruning.scope import SCOPES, embedding_names, prunable_weights
from workers.trial import PruningSpec, TrialError, TrialSpec


def test_scores_are_gone_when_pruning_is_over():
    pruner = make_pruner(random_weights(), settings(saliency="movement"))
    train(pruner, last=7)
    assert pruner.state() == {}
    pruner.observe()
    assert pruner.update(7) is None, "a trial that was stopped at its end goes on from there"


@pytest.mark.parametrize(
    "name", [name for name, saliency in SALIENCIES.items() if saliency.needs_gradients]
)
def test_gradients_that_would_come_too_late_are_refused(name):
    with pytest.raises(
        TrialError, match=f"begin: 0.04 is step 0, and saliency {name} has no gradient before"
    ):
        make_pruner(random_weights(), settings(saliency=name, begin=0.04))


@pytest.mark.parametrize("name", SALIENCIES)
@pytest.mark.parametrize("stop", [1, 5, 7, 9])
def test_a_resumed_trial_equals_one_never_stopped(name, stop):
    pruning = settings(saliency=name, embedding_sparsity=0.3)
    whole, first = (make_pruner(random_weights(), pruning) for _ in range(2))
    train(whole)
    train(first, last=stop - 1)
    give_gradients(first.weights, stop - 1)
    first.observe()
    first.optimizer.step()
    second = make_pruner(random_weights(), pruning)  # as the trial began
    with torch.no_grad():
        for key, weight in first.weights.items():
            second.weights[key].copy_(weight)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.restore(
        {key: value.clone() for key, value in first.state().items()}
        | {"model.small": torch.ones(1)}
    )
    train(second, first=stop)
    for key, weight in whole.weights.items():
        assert torch.equal(weight, second.weights[key])
        assert torch.equal(whole.optimizer.mask(weight), second.optimizer.mask(second.weights[key]))


def test_scores_that_do_not_fit_are_refused():
    pruner = make_pruner(random_weights(), settings(saliency="movement"))
    state = pruner.state()
    with pytest.raises(KeyError, match="saliency.wide"):
        pruner.restore({key: value for key, value in state.items() if key != "saliency.wide"})
    with pytest.raises(ValueError, match=r"wide has shape \(2,\), its weight \(8, 20\); restore"):
        pruner.restore(state | {"saliency.wide": torch.ones(2)})


def all_settings() -> list[PruningSpec]:
    made = []
    choices = itertools.product(
        SCHEDULES, SCOPES, SALIENCIES, GRANULARITIES, ("hard", "dense_shadow")
    )
    for name, scope, saliency, granularity, semantics in choices:
        shape = SCHEDULES[name]
        begin = 0.2 if shape.uses_begin else 0.0
        pruning = settings(
            sparsity_schedule=name,
            scope=scope,
            saliency=saliency,
            semantics=semantics,
            embedding_sparsity=0.5,
            begin=begin,
            end=0.7 if shape.uses_end else begin,
            initial_sparsity=0.1 if shape.uses_initial else 0.0,
            **granularity_of(granularity),
        )
        if not refusals(pruning, 0.5):
            made.append(pruning)
    return made


ALL = all_settings()


def name_of(pruning: PruningSpec) -> str:
    fields = ("sparsity_schedule", "scope", "saliency", "granularity", "semantics")
    return "-".join(getattr(pruning, field) for field in fields)


def test_every_entry_of_every_registry_can_be_used():
    for field, registry in (
        ("sparsity_schedule", SCHEDULES),
        ("scope", SCOPES),
        ("saliency", SALIENCIES),
        ("granularity", GRANULARITIES),
    ):
        assert {getattr(pruning, field) for pruning in ALL} == set(registry)


@pytest.mark.parametrize("pruning", ALL, ids=name_of)
def test_target_is_hit_exactly_and_what_is_pruned_is_zero(pruning):
    pruner = make_pruner(random_weights(), pruning)
    train(pruner)
    unit = math.prod(SIZE) if GRANULARITIES[pruning.granularity].setting else 1
    zeros, sizes = (
        num_zeros(pruner),
        {name: weight.numel() for name, weight in pruner.weights.items()},
    )
    assert zeros.pop("embeddings") == round(0.5 * sizes.pop("embeddings") / unit) * unit
    names = list(zeros)
    shapes = [tuple(pruner.weights[name].shape) for name in names]
    for indices, sparsity in SCOPES[pruning.scope](shapes, 0.5):
        size = sum(sizes[names[index]] for index in indices)
        assert sum(zeros[names[index]] for index in indices) == round(sparsity * size / unit) * unit


def test_embeddings_follow_the_schedule_to_their_own_target_and_are_ranked_apart():
    weights = random_weights()
    with torch.no_grad():
        weights["embeddings"] *= 1000
    pruner = make_pruner(
        weights,
        settings(embedding_sparsity=0.8, sparsity_schedule="linear", begin=0.2, end=0.6),
        0.4,
    )
    pruner.update(4)  # halfway
    assert pruner.sparsity == pytest.approx(0.2)
    zeros = num_zeros(pruner)
    assert zeros.pop("embeddings") == round(0.4 * 400)
    assert sum(zeros.values()) == round(0.2 * 320)
    pruner.update(6)
    assert num_zeros(pruner)["embeddings"] == round(0.8 * 400)


@pytest.mark.slow
@pytest.mark.parametrize("saliency", SALIENCIES)
def test_a_model_in_training_ends_at_its_targets(saliency):
    model = small_bert()
    changes = {"embedding_sparsity": 0.25, "prune_head": True, "exclude": ("layer.0.*query",)}
    pruning = settings(saliency=saliency, scope="layer", **changes)
    spec: TrialSpec = replace(make_trial_spec(target_sparsity=0.7), pruning=pruning)
    weights = prunable_weights(model, pruning)
    others = [
        parameter
        for parameter in model.parameters()
        if all(parameter is not weight for weight in weights.values())
    ]
    optimizer = MaskedAdamW(
        [{"params": weights.values(), "prunable": True}, {"params": others}], lr=1e-2
    )
    pruner = Pruner(weights, optimizer, spec, num_steps=10, embedding_names=embedding_names(model))
    for step in range(10):
        pruner.update(step)
        optimizer.zero_grad()
        model(torch.randint(50, (2, 5)), labels=torch.randint(7, (2, 5))).loss.backward()
        pruner.observe()
        optimizer.step()
    layers = {layer.name: layer for layer in pruner.count()}
    assert len(layers) == 13
    for name, layer in layers.items():
        is_embedding = name == "embeddings.word_embeddings.weight"
        num_pruned = int((~optimizer.mask(weights[name])).sum())
        assert num_pruned == round((0.25 if is_embedding else 0.7) * layer.num_weights), name
        # BERT's row for padding is zero from the start, and by magnitude alone the first to go.
        assert layer.num_zeros - num_pruned in range(
            9 if is_embedding and saliency != "magnitude" else 1
        ), name


def test_dense_trial_has_no_masks_and_no_zeros():
    weights = random_weights()
    optimizer = MaskedAdamW(weights.values(), prunable=True)
    pruner = Pruner(weights, optimizer, make_trial_spec(target_sparsity=0.0), num_steps=10)
    pruner.observe()
    assert pruner.update(3) is None
    assert not pruner.is_due(3)
    assert pruner.state() == {}
    pruner.restore({})
    assert all(optimizer.mask(weight) is None for weight in weights.values())
    assert sum(layer.num_zeros for layer in pruner.count()) == 0
