"""Which weights each criterion keeps, by hand."""

import pytest
import torch
from torch import Tensor

from tests.workers.pruning.pruners import make_pruner, random_weights, settings, tensors, train
from workers.pruning.saliency import SALIENCIES


def test_movement_keeps_what_moves_away_from_zero():
    weights = tensors([[1.0, -2.0, 3.0, -4.0]])
    pruner = make_pruner(weights, settings(saliency="movement"))
    for grad in ([[0.5, 0.5, 0.0, -0.5]], [[0.0, 0.5, 1.0, -0.5]]):
        weights["weight0"].grad = torch.tensor(grad)
        pruner.observe()
    # −Σ w g: −0.5, 1 + 1, −3, −2 − 2
    assert pruner.state()["saliency.weight0"].tolist() == [[-0.5, 2.0, -3.0, -4.0]]
    pruner.update(7)
    assert weights["weight0"].tolist() == [[1.0, -2.0, 0.0, 0.0]]


def test_gradient_times_weight_starts_again_after_each_update():
    weights = tensors([[1.0, -2.0, 3.0, -4.0]])
    pruner = make_pruner(weights, settings(saliency="gradient_times_weight"))
    for grad in ([[0.5, 0.5, 0.0, -0.5]], [[-0.5, 0.5, 0.1, -0.5]]):
        weights["weight0"].grad = torch.tensor(grad)
        pruner.observe()
    assert pruner.state()["saliency.weight0"][0].tolist() == pytest.approx([1.0, 2.0, 0.3, 4.0])
    pruner.update(4)  # (1 - 0.6 ** 3) / 2 of 4 weights is 2 to the nearest
    assert weights["weight0"].tolist() == [[0.0, -2.0, 0.0, -4.0]]
    assert not pruner.state()["saliency.weight0"].any()


def test_random_hangs_on_the_seed_and_the_tensor_alone():
    before = torch.get_rng_state()
    weight = torch.ones(5, 7)
    start = SALIENCIES["random"].start
    assert torch.equal(start(weight, 3, 1), start(weight * 2, 3, 1))
    assert not torch.equal(start(weight, 3, 1), start(weight, 3, 2))
    assert not torch.equal(start(weight, 3, 1), start(weight, 4, 1))
    assert torch.equal(before, torch.get_rng_state()), (
        "the dropout of a random trial is that of its dense one"
    )


def test_random_masks_are_nested_over_sparsities():
    def kept(target: float, schedule: str) -> dict[str, Tensor]:
        pruner = make_pruner(
            random_weights(),
            settings(saliency="random", sparsity_schedule=schedule),
            target,
            seed=5,
        )
        train(pruner)
        return {
            name: pruner.optimizer.mask(weight)
            for name, weight in pruner.weights.items()
            if name != "embeddings"
        }

    few, many = kept(0.7, "cubic"), kept(0.4, "one_shot")
    assert all(not (few[name] & ~many[name]).any() for name in few)
    assert sum(int(mask.sum()) for mask in few.values()) == 320 - round(0.7 * 320)
