"""Weights, settings and pruners for the tests of pruning."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from tests.factories import PRUNING, make_trial_spec
from workers.pruning.granularity import GRANULARITIES
from workers.pruning.masked_adamw import MaskedAdamW
from workers.pruning.pruner import Pruner
from workers.trial import PruningSpec

if TYPE_CHECKING:
    from transformers import BertForTokenClassification

SIZE = (2, 4)
"""2:4 for n_of_m, and a block that is not square."""


def small_bert(**changes) -> "BertForTokenClassification":
    from transformers import BertConfig, BertForTokenClassification

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
    return Pruner(weights, optimizer, spec, num_steps=10, embedding_names=("embeddings",))


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


def granularity_of(name: str) -> dict[str, object]:
    setting = GRANULARITIES[name].setting
    return {"granularity": name} | ({setting: SIZE} if setting else {})
