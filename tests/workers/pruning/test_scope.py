"""Which weights may be pruned, and how sparsity is spread over them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.factories import PRUNING
from tests.workers.pruning.pruners import (
    make_pruner,
    num_zeros,
    random_weights,
    settings,
    small_bert,
    train,
)
from workers.pruning.scope import (
    SCOPES,
    embedding_names,
    other_matrices,
    other_tables,
    prunable_weights,
)
from workers.trial import TrialError


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
    assert embedding_names(small_bert()) == ("embeddings.word_embeddings.weight",)


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
    from transformers import BertConfig, BertForTokenClassification

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
    assert embedding_names(model) == ()


def test_patterns_that_leave_nothing_are_refused_with_names_to_choose_from():
    match = (
        r"include: \['qeury'\] and exclude \['x'\] leave none of the encoder's 12 linear layers; "
        "correct them, names are like encoder.layer.0.attention"
    )
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


TINY = {
    "vocab_size": 50,
    "num_labels": 7,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
NARROW = TINY | {"embedding_size": 8}
IN_LAYER = 4 * 16 * 16 + 2 * 16 * 32
"""Weights of the linear layers of one of BERT's layers."""


@pytest.mark.parametrize(
    ("family", "fields", "num_pruned", "words", "others"),
    [
        ("bert", TINY, 3 * IN_LAYER, (50, 16), {(40, 16), (2, 16)}),
        ("xlm-roberta", TINY, 3 * IN_LAYER, (50, 16), {(40, 16), (2, 16)}),
        # Layers share their weights, which are there once; what widens embeddings is pruned, too.
        ("albert", NARROW, IN_LAYER + 8 * 16, (50, 8), {(40, 8), (2, 8)}),
        ("electra", NARROW, 3 * IN_LAYER + 8 * 16, (50, 8), {(40, 8), (2, 8)}),
        (
            "rembert",
            TINY | {"input_embedding_size": 8, "bos_token_id": 1, "eos_token_id": 2},
            3 * IN_LAYER + 8 * 16,
            (50, 8),
            {(40, 8), (2, 8)},
        ),
        (
            "deberta-v2",  # mDeBERTa; distances have a table of their own
            TINY
            | {"relative_attention": True, "position_biased_input": False, "type_vocab_size": 0}
            | {"pos_att_type": ["p2c", "c2p"], "share_att_key": True},
            3 * IN_LAYER,
            (50, 16),
            {(80, 16)},
        ),
        (
            "mt5",  # embeddings are tied to those of the stack
            {"vocab_size": 50, "num_labels": 7, "d_model": 16, "d_kv": 8, "d_ff": 32}
            | {"num_layers": 3, "num_heads": 2, "pad_token_id": 0},
            3 * (4 * 16 * 16 + 3 * 16 * 32),
            (50, 16),
            {(32, 2)},
        ),
    ],
)
def test_every_matrix_of_a_family_is_pruned_or_an_embedding_or_named(
    family, fields, num_pruned, words, others
):
    from transformers import AutoConfig, AutoModelForTokenClassification

    config = AutoConfig.for_model(family, **fields)
    with torch.device("meta"):
        model = AutoModelForTokenClassification.from_config(config)
    pruned = prunable_weights(model, None)
    assert sum(weight.numel() for weight in pruned.values()) == num_pruned
    (name,) = embedding_names(model)
    body = model.base_model
    assert tuple(body.get_parameter(name).shape) == words
    tables = other_tables(model)
    assert {tuple(weight.shape) for weight in tables.values()} == others
    assert other_matrices(model) == {}
    named = [*pruned.values(), body.get_parameter(name), *tables.values()]
    matrices = {id(weight): weight for weight in body.parameters() if weight.ndim > 1}
    assert len({id(weight) for weight in named}) == len(named)
    assert {id(weight) for weight in named} == set(matrices)
