"""Single weights, runs and blocks: what goes together, ties, NaN, and shapes that do not fit."""

import math

import pytest
import torch
from torch import nn

from tests.workers.pruning.pruners import (
    SIZE,
    give_gradients,
    granularity_of,
    make_pruner,
    random_weights,
    settings,
    tensors,
)
from workers.pruning.granularity import GRANULARITIES
from workers.pruning.saliency import SALIENCIES
from workers.trial import TrialError


def prune_once(weights: dict[str, nn.Parameter], target: float, **changes) -> list[list]:
    pruner = make_pruner(
        weights, settings(sparsity_schedule="constant", begin=0.0, end=0.0, **changes), target
    )
    assert pruner.update(0) == 0
    return [pruner.optimizer.mask(weight).int().tolist() for weight in weights.values()]


def test_two_of_four_neighbours_stay_and_ties_prune_the_lower_index():
    rows = [[4.0, -1.0, 3.0, 2.0, 1.0, 1.0, -1.0, 1.0], [0.0, 0.0, 9.0, 9.0, -5.0, 6.0, 5.0, 5.0]]
    masks = prune_once(tensors(rows), 0.5, scope="layer", granularity="n_of_m", n_of_m=(2, 4))
    assert masks == [[[1, 0, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 0, 1]]]


def test_runs_lose_their_lowest_one_by_one_on_the_way_up():
    weights = tensors([[4.0, 1.0, 3.0, 2.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    pruner = make_pruner(
        weights,
        settings(
            sparsity_schedule="linear",
            scope="layer",
            granularity="n_of_m",
            n_of_m=(1, 5),
            begin=0.2,
            end=0.6,
        ),
        0.8,
    )
    lost = []
    for step in (2, 4, 6):  # 0, 0.4 and 0.8 of 5
        pruner.update(step)
        lost.append([int((row == 0).sum()) for row in weights["weight0"]])
    assert lost == [[0, 0], [2, 2], [4, 4]]
    assert weights["weight0"].tolist() == [[0.0, 0.0, 0.0, 0.0, 6.0], [0.0, 0.0, 0.0, 0.0, 5.0]]


def test_blocks_go_as_a_whole_by_their_mean_magnitude():
    # means of the blocks of 1 row and 2 columns: 3, 2.5, 2, 2; 2.5, 9, 1, 2
    rows = [[-6.0, 0.0, 2.0, 3.0, 2.0, 2.0, 4.0, 0.0], [0.0, 5.0, 9.0, -9.0, 1.0, 1.0, -2.0, 2.0]]
    masks = prune_once(tensors(rows), 0.5, granularity="block", block_shape=(1, 2))
    assert masks == [[[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]]


def test_blocks_of_all_tensors_are_ranked_together_under_global():
    weights = tensors([[1.0] * 4] * 4, [[2.0] * 4] * 4)
    masks = prune_once(weights, 0.5, granularity="block", block_shape=(2, 4))
    assert masks == [[[0] * 4] * 4, [[1] * 4] * 4]
    masks = prune_once(
        tensors([[1.0] * 4] * 4, [[2.0] * 4] * 4),
        0.5,
        scope="layer",
        granularity="block",
        block_shape=SIZE,
    )
    assert masks == [[[0] * 4] * 2 + [[1] * 4] * 2] * 2


@pytest.mark.parametrize("saliency", ["magnitude", "random"])
def test_n_of_m_of_any_m_keeps_the_highest_of_each_run(saliency):
    weights = random_weights()
    del weights["small"], weights["high"], weights["embeddings"]
    scores = (
        SALIENCIES["random"].start(weights["wide"], 0, 0)
        if saliency == "random"
        else weights["wide"].abs()
    )
    expected = torch.zeros(8 * 2, 10, dtype=torch.int).scatter_(
        1, scores.view(-1, 10).topk(3).indices, 1
    )
    (mask,) = prune_once(
        weights, 0.7, scope="layer", granularity="n_of_m", n_of_m=(3, 10), saliency=saliency
    )
    assert mask == expected.view(8, 20).tolist()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"scope": "layer", "granularity": "n_of_m", "n_of_m": (2, 7)},
            r"n_of_m: \[2, 7\] with wide \(8, 20\), whose rows 7",
        ),
        (
            {"granularity": "block", "block_shape": (3, 4)},
            r"block_shape: \[3, 4\] does not divide wide \(8, 20\); exclude",
        ),
        (
            {"granularity": "block", "block_shape": (4, 6)},
            r"block_shape: \[4, 6\] does not divide wide \(8, 20\)",
        ),
    ],
)
def test_shapes_that_cannot_be_cut_are_refused(changes, match):
    with pytest.raises(TrialError, match=match):
        make_pruner({"wide": random_weights()["wide"]}, settings(**changes))


@pytest.mark.parametrize("saliency", ["magnitude", "movement"])
@pytest.mark.parametrize("name", GRANULARITIES)
def test_nan_stops_an_update_and_changes_nothing(name, saliency):
    weights = random_weights()
    pruner = make_pruner(
        weights, settings(saliency=saliency, scope="layer", **granularity_of(name))
    )
    with torch.no_grad():
        weights["wide"][1, 5] = math.nan
    before = {key: weight.detach().clone() for key, weight in weights.items()}
    give_gradients(weights, 0)
    pruner.observe()
    what = "weights" if saliency == "magnitude" else "scores"
    with pytest.raises(
        ValueError, match=f"{what}: 1 are NaN; .*cannot be ranked, and no mask was changed"
    ):
        pruner.update(7)
    for key, weight in weights.items():
        assert torch.equal(weight.nan_to_num(7), before[key].nan_to_num(7))
        mask = pruner.optimizer.mask(weight)
        assert mask is None or mask.all()
