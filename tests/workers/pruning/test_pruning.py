"""Every choice of how to prune, alone by hand and all together: exact counts, and weights that stay
at zero."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForTokenClassification

from tests.factories import PRUNING, make_trial_spec
from workers.pruning.compatibility import refusals
from workers.pruning.granularity import GRANULARITIES
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.pruner import Pruner
from workers.pruning.ranking import count_pruned
from workers.pruning.saliency import SALIENCIES
from workers.pruning.schedule import SCHEDULES, Schedule
from workers.pruning.scope import SCOPES, embedding_name, prunable_weights
from workers.trial import PruningSpec, TrialError, TrialSpec

SIZE = (2, 4)
"""2:4 for n_of_m, and a block that is not square."""


def schedule(**changes) -> Schedule:
    fields = {
        "initial": 0.2,
        "target": 0.8,
        "begin_step": 10,
        "end_step": 30,
        "update_every_steps": 7,
    }
    return Schedule(**{"curve": "cubic"} | fields | changes)


def schedule_of(pruning: PruningSpec) -> Schedule:
    """To 0.9 within 40 steps."""
    spec = replace(make_trial_spec(target_sparsity=0.9), pruning=pruning)
    return Schedule.from_spec(spec, num_steps=40)


def small_bert(**changes) -> BertForTokenClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForTokenClassification(
        BertConfig(**sizes | {"intermediate_size": 12, "num_labels": 7} | changes)
    )


def tensors(*rows: object) -> dict[str, nn.Parameter]:
    return {f"weight{index}": nn.Parameter(torch.tensor(row)) for index, row in enumerate(rows)}


def random_weights(seed: int = 0) -> dict[str, nn.Parameter]:
    """Of unlike shape and magnitude; one is called the word embeddings."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"embeddings": (50, 8), "small": (8, 8), "wide": (8, 20), "high": (12, 8)}
    return {
        name: nn.Parameter((1 + index) * torch.randn(shape, generator=generator))
        for index, (name, shape) in enumerate(shapes.items())
    }


def settings(**changes) -> PruningSpec:
    """Masks change after steps 2, 4, 6 and 7 of 10."""
    return replace(PRUNING, **{"begin": 0.2, "end": 0.7, "update_every_steps": 2} | changes)


def make_pruner(
    weights: dict[str, nn.Parameter],
    pruning: PruningSpec,
    target: float = 0.5,
    seed: int = 0,
    **options,
) -> Pruner:
    spec = replace(make_trial_spec(target_sparsity=target), pruning=pruning, seed=seed)
    optimizer = MaskedAdamW(
        weights.values(),
        prunable=True,
        lr=0.05,
        weight_decay=0.1,
        semantics=pruning.semantics,
        **options,
    )
    return Pruner(weights, optimizer, spec, num_steps=10, embedding_name="embeddings")


def give_gradients(weights: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(1000 + step)
    for weight in weights.values():
        weight.grad = torch.randn(weight.shape, generator=generator)


def train(pruner: Pruner, first: int = 0, last: int = 10) -> None:
    """On noise with momentum and decay; what is pruned is zero after every step, and gone under
    hard."""
    masks = {name: pruner.optimizer.mask(weight) for name, weight in pruner.weights.items()}
    for step in range(first, last + 1):
        pruner.update(step)
        if step < last:
            give_gradients(pruner.weights, step)
            pruner.observe()
            pruner.optimizer.step()
        for name, weight in pruner.weights.items():
            mask, before = pruner.optimizer.mask(weight), masks[name]
            if mask is None:
                continue
            assert not weight[~mask].any(), f"a pruned weight of {name} came back at step {step}"
            if pruner.optimizer.semantics == "hard":
                assert before is None or not (mask & ~before).any(), (
                    f"a pruned weight of {name} was unmasked"
                )
                state = pruner.optimizer.state[weight]
                assert not state["exp_avg"][~mask].any()
                assert not state["exp_avg_sq"][~mask].any()
            masks[name] = mask


def num_zeros(pruner: Pruner) -> dict[str, int]:
    return {layer.name: layer.num_zeros for layer in pruner.count()}


# Schedules.


def test_cubic_schedule_follows_zhu_and_gupta():
    # s_f + (s_i - s_f) (1 - (t - t_0) / (n Δt))^3 at the middle: 0.8 - 0.6 / 8
    assert schedule().sparsity(20) == pytest.approx(0.725)
    assert schedule().sparsity(10) == pytest.approx(0.2)
    assert schedule().sparsity(9) == 0.0
    assert schedule().sparsity(30) == schedule().sparsity(1000) == 0.8


def test_linear_schedule_is_halfway_in_the_middle():
    assert schedule(curve="linear").sparsity(20) == pytest.approx(0.5)
    assert schedule(curve="linear").sparsity(15) == pytest.approx(0.35)


def test_last_update_is_on_the_end_step_where_the_frequency_does_not_divide():
    assert [step for step in range(50) if schedule().is_due(step)] == [10, 17, 24, 30]


def test_begin_equal_to_end_prunes_once():
    once = schedule(begin_step=5, end_step=5)
    assert [step for step in range(50) if once.is_due(step)] == [5]
    assert once.sparsity(5) == 0.8


def test_schedule_of_a_trial_ends_at_its_fraction_of_the_steps():
    made = schedule_of(PRUNING)
    assert (made.curve, made.begin_step, made.end_step, made.target) == ("cubic", 4, 28, 0.9)


def test_one_shot_prunes_to_the_target_at_begin():
    made = schedule_of(replace(PRUNING, sparsity_schedule="one_shot"))
    assert [step for step in range(41) if made.is_due(step)] == [4]
    assert (made.sparsity(3), made.sparsity(4)) == (0.0, 0.9)


def test_constant_masks_are_there_before_the_first_step():
    made = schedule_of(replace(PRUNING, sparsity_schedule="constant"))
    assert [step for step in range(41) if made.is_due(step)] == [0]
    assert made.sparsity(0) == 0.9


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_to_its_target(name):
    made = schedule_of(settings(sparsity_schedule=name, initial_sparsity=0.1))
    due = [step for step in range(41) if made.is_due(step)]
    sparsities = [made.sparsity(step) for step in due]
    assert sparsities == sorted(sparsities)
    assert sparsities[-1] == 0.9
    assert sparsities[0] == pytest.approx(0.1 if SCHEDULES[name].uses_initial else 0.9)


def test_schedules_say_what_they_do_not_use():
    unused = {
        name: [
            field
            for field in ("initial", "begin", "end", "interval")
            if not getattr(curve, f"uses_{field}")
        ]
        for name, curve in SCHEDULES.items()
    }
    assert unused == {
        "cubic": [],
        "linear": [],
        "one_shot": ["initial", "end", "interval"],
        "constant": ["initial", "begin", "end", "interval"],
    }


@pytest.mark.parametrize(
    ("sparsity", "num_weights", "expected"), [(0.5, 5, 2), (0.5, 7, 4), (0.9, 11, 10), (0.0, 9, 0)]
)
def test_number_of_pruned_weights_is_the_nearest_integer_halves_to_even(
    sparsity, num_weights, expected
):
    assert count_pruned(sparsity, num_weights) == expected


# Which weights.


@pytest.mark.parametrize("pruning", [None, PRUNING])
def test_encoder_linears_are_prunable_and_nothing_else(pruning):
    model = small_bert()
    weights = prunable_weights(model, pruning)
    assert len(weights) == 2 * 6
    assert sum(weight.numel() for weight in weights.values()) == 2 * (4 * 8 * 8 + 2 * 8 * 12)
    assert all(weight is not model.classifier.weight for weight in weights.values())


def test_embeddings_join_when_they_have_a_target():
    weights = prunable_weights(small_bert(), replace(PRUNING, embedding_sparsity=0.3))
    assert weights["embeddings.word_embeddings.weight"].shape == (50, 8)
    assert len(weights) == 13
    assert embedding_name(small_bert()) == "embeddings.word_embeddings.weight"


def test_head_joins_under_its_full_name():
    model = small_bert()
    weights = prunable_weights(model, replace(PRUNING, prune_head=True))
    assert weights["classifier.weight"] is model.classifier.weight
    assert len(weights) == 13


def test_include_and_exclude_search_in_the_names_of_the_encoder():
    def names(**changes) -> list[str]:
        return list(prunable_weights(small_bert(), replace(PRUNING, **changes)))

    assert names(include=(r"layer\.1\..*query", r"layer\.0\.output")) == [
        "encoder.layer.0.output.dense.weight",
        "encoder.layer.1.attention.self.query.weight",
    ]
    assert names(include=("query",), exclude=("layer.0",)) == [
        "encoder.layer.1.attention.self.query.weight"
    ]
    everything = names(
        exclude=("embedding", "classifier", "attention", "intermediate"), embedding_sparsity=0.1
    )
    assert [name.split(".")[0] for name in everything] == ["embeddings", "encoder", "encoder"]


def test_a_model_without_memory_tells_its_weights():
    with torch.device("meta"):
        model = BertForTokenClassification(
            BertConfig(vocab_size=50, hidden_size=24, num_hidden_layers=1)
        )
    weights = prunable_weights(model, replace(PRUNING, embedding_sparsity=0.5, prune_head=True))
    assert len(weights) == 8
    assert all(weight.is_meta for weight in weights.values())


def test_tied_weights_count_once():
    model = small_bert()
    model.bert.encoder.layer[1].output.dense.weight = model.bert.encoder.layer[
        0
    ].output.dense.weight
    assert len(prunable_weights(model, None)) == 2 * 6 - 1


class Body(nn.Module):
    """No Hugging Face model: a body without a head."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    @property
    def base_model(self) -> nn.Module:
        return self


def test_model_without_linear_layers_is_refused():
    with pytest.raises(TrialError, match="Body has no linear layers"):
        prunable_weights(Body(nn.Conv1d(3, 3, 1)), None)


def test_model_without_embeddings_or_head_is_refused_when_they_are_asked_for():
    model = Body(nn.Linear(3, 3))
    with pytest.raises(
        TrialError, match="embedding_sparsity: Body has no word embeddings; set it to off"
    ):
        prunable_weights(model, replace(PRUNING, embedding_sparsity=0.5))
    with pytest.raises(
        TrialError, match="prune_head: Body has no linear layer outside its encoder; unset it"
    ):
        prunable_weights(model, replace(PRUNING, prune_head=True))
    assert embedding_name(model) is None


def test_patterns_that_leave_nothing_are_refused_with_names_to_choose_from():
    match = r"include: \['qeury'\] and exclude \['x'\] leave none of the encoder's 12 .*like encoder.layer.0.attention"
    with pytest.raises(TrialError, match=match):
        prunable_weights(
            small_bert(),
            replace(PRUNING, include=("qeury",), exclude=("x",), embedding_sparsity=0.5),
        )


def test_data_parallel_is_refused():
    with pytest.raises(
        TrialError, match="nn.DataParallel is not served; use DistributedDataParallel"
    ):
        prunable_weights(nn.DataParallel(small_bert()), None)


# How sparsity is spread.

SHAPES = [(2, 3), (4, 6), (30, 2)]


def test_global_ranks_together_and_layer_apart():
    assert SCOPES["global"](SHAPES, 0.3) == [([0, 1, 2], 0.3)]
    assert SCOPES["layer"](SHAPES, 0.3) == [([0], 0.3), ([1], 0.3), ([2], 0.3)]


def test_erk_density_is_by_width_over_size():
    # sizes 6 and 24, widths 5 and 10: at 0.5, 15 are kept and ε = 1; at 0.2, 24: ε = 1.6 would keep
    # 8 of 6, so 6 and 18
    def densities(sparsity: float) -> list[float]:
        return [1 - one for _, one in SCOPES["erk"](SHAPES[:2], sparsity)]

    assert densities(0.5) == pytest.approx([5 / 6, 10 / 24])
    assert densities(0.2) == pytest.approx([1, 18 / 24])
    assert densities(0.0) == [1, 1]


@pytest.mark.parametrize("name", SCOPES)
def test_every_scope_gives_each_tensor_once_the_total_and_never_less_than_before(name):
    before = [0.0] * len(SHAPES)
    for sparsity in [step / 100 for step in range(100)]:
        groups = SCOPES[name](SHAPES, sparsity)
        assert sorted(index for indices, _ in groups for index in indices) == [0, 1, 2]
        now = {index: one for indices, one in groups for index in indices}
        assert all(now[index] >= before[index] - 1e-12 for index in now)
        assert sum(now[index] * math.prod(SHAPES[index]) for index in now) == pytest.approx(
            sparsity * 90
        )
        before = [now[index] for index in sorted(now)]


def test_global_scope_prunes_tensors_of_small_weights_harder():
    pruner = make_pruner(random_weights(), settings(scope="global"))
    train(pruner)
    zeros = num_zeros(pruner)
    assert zeros["small"] / 64 > 0.55 > 0.45 > zeros["high"] / 96


# Saliencies.


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
    second = make_pruner(
        {key: nn.Parameter(value.detach().clone()) for key, value in first.weights.items()}, pruning
    )
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
    with pytest.raises(ValueError, match=r"saliency.wide has shape \(2,\), its weight \(8, 20\)"):
        pruner.restore(state | {"saliency.wide": torch.ones(2)})


# Granularities.


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


# All together.


def granularity_of(name: str) -> dict[str, object]:
    setting = GRANULARITIES[name].setting
    return {"granularity": name} | ({setting: SIZE} if setting else {})


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
        if all(parameter is not one for one in weights.values())
    ]
    optimizer = MaskedAdamW(
        [{"params": weights.values(), "prunable": True}, {"params": others}], lr=1e-2
    )
    pruner = Pruner(weights, optimizer, spec, num_steps=10, embedding_name=embedding_name(model))
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


# What cannot go together.


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"saliency": "size"},
            "pruning.saliency: size is unknown; there are magnitude, movement, gradient_times_weight, r",
        ),
        ({"scope": "row"}, "pruning.scope: row is unknown; there are global, layer, erk"),
        (
            {"saliency": "movement", "sparsity_schedule": "constant", "begin": 0.0, "end": 0.0},
            "saliency: movement with sparsity_schedule constant; its masks are fixed before the first gradient, "
            "use magnitude or random",
        ),
        (
            {"saliency": "movement", "begin": 0.0},
            "pruning.saliency: movement with begin 0; there is no gradient yet",
        ),
        (
            {"saliency": "random", "semantics": "dense_shadow"},
            "pruning.saliency: random with semantics dense_shadow; .*use magnitude or semantics hard",
        ),
        (
            {"semantics": "dense_shadow", "granularity": "block", "block_shape": SIZE},
            "pruning.granularity: block with semantics dense_shadow; .*use unstructured or semantics hard",
        ),
        (
            {"sparsity_schedule": "one_shot"},
            "pruning.end: 0.7 with sparsity_schedule one_shot; .*leave end out",
        ),
        (
            {"sparsity_schedule": "one_shot", "end": 0.2, "initial_sparsity": 0.1},
            "pruning.initial_sparsity: 0.1 with sparsity_schedule one_shot; .*leave initial_sparsity out",
        ),
        (
            {"sparsity_schedule": "constant", "end": 0.0},
            "begin: 0.2 with sparsity_schedule constant; its masks are fixed before the first step, leave begin out",
        ),
        (
            {"initial_sparsity": 0.6},
            "pruning.initial_sparsity: 0.6 is above the target 0.5; give at most that",
        ),
        (
            {"initial_sparsity": 0.4, "embedding_sparsity": 0.3},
            "pruning.initial_sparsity: 0.4 is above embedding_sparsity 0.3; give at most that",
        ),
        (
            {"granularity": "block"},
            "pruning.block_shape: missing with granularity block; give two numbers",
        ),
        (
            {"n_of_m": SIZE},
            r"pruning.n_of_m: \[2, 4\] with granularity unstructured; leave it out, or .*granularity n_of_m",
        ),
        (
            {"granularity": "block", "block_shape": (0, 4)},
            r"pruning.block_shape: \[0, 4\] are not two numbers from 1 on; give two",
        ),
        (
            {"include": ("a(",)},
            r"pruning.include: 'a\(' is no regular expression \(.*\); correct it",
        ),
        ({"exclude": ("[",)}, r"pruning.exclude: '\[' is no regular expression"),
    ],
)
def test_what_cannot_go_together_is_refused(changes, match):
    (message,) = refusals(settings(**changes), 0.5)
    with pytest.raises(ValueError, match=match):
        raise ValueError(message)


@pytest.mark.parametrize(
    ("changes", "target", "match"),
    [
        ({}, 0.7, "pruning.n_of_m: 2 of 4 is sparsity 0.5 and the target is 0.7; make them equal"),
        (
            {"embedding_sparsity": 0.6},
            0.5,
            "pruning.n_of_m: 2 of 4 is sparsity 0.5 and embedding_sparsity is 0.6",
        ),
        ({"n_of_m": (4, 4)}, 0.5, "pruning.n_of_m: 4 of 4 prunes nothing; give n below m"),
        ({"n_of_m": (0, 4)}, 0.5, r"pruning.n_of_m: \[0, 4\] are not two numbers from 1 on"),
        ({"n_of_m": None}, 0.5, "pruning.n_of_m: missing with granularity n_of_m"),
        (
            {"scope": "global"},
            0.5,
            "pruning.scope: global with granularity n_of_m; .*use scope layer",
        ),
        ({"scope": "erk"}, 0.5, "pruning.scope: erk with granularity n_of_m"),
    ],
)
def test_n_of_m_fits_its_target_and_every_run(changes, target, match):
    (message,) = refusals(
        settings(**{"scope": "layer", "granularity": "n_of_m", "n_of_m": SIZE} | changes), target
    )
    with pytest.raises(ValueError, match=match):
        raise ValueError(message)


def test_a_third_is_near_enough():
    assert refusals(settings(scope="layer", granularity="n_of_m", n_of_m=(1, 3)), 0.666667) == []


def test_frozen_weights_may_lie_under_constant_masks():
    constant = settings(sparsity_schedule="constant", semantics="dense_shadow", begin=0.0, end=0.0)
    assert refusals(constant, 0.5) == []


def test_choices_can_be_read_without_torch():
    modules = ("compatibility", "granularity", "saliency", "schedule", "scope")
    lines = [
        "import sys",
        *(f"import workers.pruning.{name}" for name in modules),
        "sys.exit('torch' in sys.modules)",
    ]
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], check=True, cwd=Path(__file__).parents[3]
    )
