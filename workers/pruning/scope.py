"""Which weights may be pruned, and how sparsity is spread over them."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workers.trial import PruningSpec, TrialError

if TYPE_CHECKING:
    from torch import nn

NUM_EXAMPLES = 3
"""Names that a refusal shows."""

RankedTogether = tuple[list[int], float]
"""Indices of tensors that are ranked together, and their sparsity."""

# --- which weights --------------------------------------------------------------------------------


def prunable_weights(model: "nn.Module", pruning: PruningSpec | None) -> "dict[str, nn.Parameter]":
    """Find the parameters that may be pruned.

    These are the weights of the linear layers below the embeddings, without the pooler (85 of
    mBERT's 177 million parameters), of which `include` and `exclude` may leave some out; the word
    embeddings (another 92 million) if `embedding_sparsity` is given; and the head's if `prune_head`
    is. Names are those below the base model, like encoder.layer.3.attention.self.query.weight, and
    for the head those in the whole model, like classifier.weight.

    Args:
        model: a Hugging Face model with a token-classification head; on any device, also meta.
        pruning: None: all of the encoder's linear layers.

    Returns:
        Parameters by name, in the model's order; a weight that modules share is there once.

    Raises:
        TrialError: kind `bad_data`, when the model has no such weights, when none is left, or when
            it is nn.DataParallel.
    """
    from torch import nn

    # It copies the weights to other devices anew for every forward pass.
    if isinstance(model, nn.DataParallel):
        raise TrialError(
            "bad_data",
            "model: nn.DataParallel is not served; use DistributedDataParallel and its module",
        )
    linears = dict(_encoder_linears(model))
    if not linears:
        raise TrialError("bad_data", f"model: {type(model).__name__} has no linear layers to prune")
    chosen = linears if pruning is None else _narrowed(linears, pruning)
    if pruning is not None and pruning.embedding_sparsity is not None:
        chosen = _word_embeddings(model) | chosen
    if pruning is not None and pruning.prune_head:
        chosen = chosen | _head(model)

    by_identity: dict[int, tuple[str, nn.Parameter]] = {}
    for name, weight in chosen.items():
        by_identity.setdefault(id(weight), (name, weight))
    return dict(by_identity.values())


def embedding_names(model: "nn.Module") -> tuple[str, ...]:
    """Names of the word embeddings' weights.

    Args:
        model: any, also one that is not from Hugging Face; on any device, also meta.

    Returns:
        Names below the base model, as `prunable_weights` has them: that of the whole, or of the
        rows that training uses, and then of the others where they change; none where the model has
        no word embeddings.
    """
    from workers.pruning.used_rows import UsedRows, word_embeddings

    body: Any = model.base_model
    embeddings = word_embeddings(model)
    name = next((name for name, module in body.named_modules() if module is embeddings), None)
    if embeddings is None or name is None:
        return ()
    has_others = isinstance(embeddings, UsedRows) and embeddings.num_shared == 0
    return (f"{name}.weight", f"{name}.others") if has_others else (f"{name}.weight",)


def _encoder_linears(model: "nn.Module") -> "Iterator[tuple[str, nn.Parameter]]":
    from torch import nn

    body: Any = model.base_model
    for name, module in body.named_modules():
        if isinstance(module, nn.Linear) and not {"pooler", "embeddings"} & set(name.split(".")):
            yield f"{name}.weight", body.get_parameter(f"{name}.weight")


def other_matrices(model: "nn.Module") -> "dict[str, nn.Parameter]":
    """What the encoder has of matrices that are never pruned, as neither linear layers nor
    embeddings hold them: those of experts, convolutions and XLNet's attention.

    Args:
        model: a Hugging Face model; on any device, also meta.

    Returns:
        Parameters by name, as `prunable_weights` has them.
    """
    from torch import nn

    body: Any = model.base_model
    return {
        name: weight
        for path, module in body.named_modules()
        if not isinstance(module, nn.Linear | nn.Embedding)
        and not {"pooler", "embeddings"} & set(path.split("."))
        for name, weight in module.named_parameters(prefix=path, recurse=False)
        if weight.ndim > 1
    }


def other_tables(model: "nn.Module") -> "dict[str, nn.Parameter]":
    """What stands beside the word embeddings and is never pruned, as those of positions and of
    types of tokens; and what projects embeddings where it is a part of them, as MobileBERT's.

    Args:
        model: a Hugging Face model; on any device, also meta.

    Returns:
        Parameters by name, as `prunable_weights` has them.
    """
    body: Any = model.base_model
    elsewhere = {id(weight) for _, weight in _encoder_linears(model)}
    elsewhere |= {id(weight) for weight in other_matrices(model).values()}
    elsewhere |= {id(body.get_parameter(name)) for name in embedding_names(model)}
    return {
        name: weight
        for name, weight in body.named_parameters()
        if weight.ndim > 1 and id(weight) not in elsewhere and "pooler" not in name.split(".")
    }


def _narrowed(
    linears: "dict[str, nn.Parameter]", pruning: PruningSpec
) -> "dict[str, nn.Parameter]":
    def matches(patterns: tuple[str, ...], name: str) -> bool:
        return any(re.search(pattern, name) for pattern in patterns)

    left = {
        name: weight
        for name, weight in linears.items()
        if (not pruning.include or matches(pruning.include, name))
        and not matches(pruning.exclude, name)
    }
    if not left:
        raise TrialError(
            "bad_data",
            f"pruning.include: {list(pruning.include)} and exclude {list(pruning.exclude)} leave "
            f"none of the encoder's {len(linears)} linear layers; correct them, names are like "
            f"{', '.join(list(linears)[:NUM_EXAMPLES])}",
        )
    return left


def _word_embeddings(model: "nn.Module") -> "dict[str, nn.Parameter]":
    names = embedding_names(model)
    if not names:
        raise TrialError(
            "bad_data",
            f"pruning.embedding_sparsity: {type(model).__name__} has no word embeddings; "
            "set it to off",
        )
    body: Any = model.base_model
    return {name: body.get_parameter(name) for name in names}


def _head(model: "nn.Module") -> "dict[str, nn.Parameter]":
    from torch import nn

    body: Any = model.base_model
    inside = {id(module) for module in body.modules()}
    weights = {
        f"{name}.weight": model.get_parameter(f"{name}.weight")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and id(module) not in inside
    }
    if not weights:
        raise TrialError(
            "bad_data",
            f"pruning.prune_head: {type(model).__name__} has no linear layer outside its encoder; "
            "unset it",
        )
    return weights


# --- how sparsity is spread -----------------------------------------------------------------------


def _together(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[RankedTogether]:
    return [(list(range(len(shapes))), sparsity)]


def _each_alike(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[RankedTogether]:
    return [([index], sparsity) for index in range(len(shapes))]


def _erdos_renyi(shapes: Sequence[tuple[int, ...]], sparsity: float) -> list[RankedTogether]:
    """Density min(1, ε (n_in + n_out) / (n_in n_out)), with the ε that gives the total.

    Small tensors come out denser. ε falls as sparsity rises, so no tensor is ever asked for less
    than before.

    Source: Mocanu et al. (2018), equation 1, for the density; Evci et al. (2020), section 3, for
    tensors that are dense because they would be more, and for kernels, whose further dimensions are
    summands and factors, too.
    """
    sizes, widths = [math.prod(shape) for shape in shapes], [sum(shape) for shape in shapes]

    # What is left to be kept is shared by tensors that are not dense, of this width together.
    left, width, epsilon = (1 - sparsity) * sum(sizes), sum(widths), 0.0
    # As ε rises, densities reach 1 in the order of size / width, so those that do are the first few
    # of that order.
    for index in sorted(range(len(shapes)), key=lambda index: sizes[index] / widths[index]):
        epsilon = left / width
        if epsilon * widths[index] < sizes[index]:
            break
        left, width = left - sizes[index], width - widths[index]

    densities = [
        min(1.0, epsilon * width / size) for width, size in zip(widths, sizes, strict=True)
    ]
    return [([index], 1 - density) for index, density in enumerate(densities)]


SCOPES: dict[str, Callable[[Sequence[tuple[int, ...]], float], list[RankedTogether]]] = {
    "global": _together,
    "layer": _each_alike,
    "erk": _erdos_renyi,
}
"""How a sparsity is spread over tensors of these shapes, by the name that `pruning.scope` gives it.

Each group loses `round(sparsity · units)` of its units (weights, or blocks). Rounding is a group's
own, so the total is off by less than half a unit a tensor under `layer` and `erk`. Word embeddings
are always a group of their own.
"""
