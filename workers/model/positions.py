"""How a model counts positions, and whether it reads sentences that share a row."""

from torch import nn

READ_PACKED_ROWS = frozenset(
    {
        *("albert", "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "esmc"),
        *("eurobert", "gte", "jina_embeddings_v3", "mt5", "nomic_bert", "roberta"),
        *("roberta-prelayernorm", "roc_bert", "t5", "ultrabert", "umt5", "xlm-roberta"),
        *("xlm-roberta-xl", "xmod"),
    }
)
"""Families that take a mask of blocks and positions as they are given, and compute for a sentence
what they would compute for it alone; a test shows it. Others have attention of their own
(Longformer), windows (ModernBERT), or no way to be told positions."""

COUNT_DISTANCES = frozenset({"mt5", "t5", "umt5"})
"""Those that know distances only, which packing does not change, and take no positions."""

CHOOSE_BY_VALUE = frozenset({"xmod"})
"""Of these, those whose forward passes look at values to choose what to compute, as xmod's do that
have an adapter for each language: a GPU cannot record them."""


def reads_packed_rows(model: nn.Module) -> bool:
    """Whether several sentences may share a row.

    Args:
        model: a Hugging Face model.
    """
    config = getattr(model, "config", None)
    # Other implementations of attention want a mask that is added, or none.
    return (
        getattr(config, "model_type", None) in READ_PACKED_ROWS
        and getattr(config, "_attn_implementation", None) == "sdpa"
    )


def can_be_recorded(model: nn.Module) -> bool:
    """Whether a model launches the same work for all batches of a shape, see `workers.replay`.

    Args:
        model: one that `reads_packed_rows`.
    """
    return getattr(model.config, "model_type", None) not in CHOOSE_BY_VALUE


def first_position(model: nn.Module) -> int | None:
    """What the model calls the first position of a sentence; None where it is not told positions.

    Args:
        model: a Hugging Face model.
    """
    if getattr(model.config, "model_type", None) in COUNT_DISTANCES:
        return None
    return _first_position(model)


def num_positions(model: nn.Module) -> int | None:
    """The longest sequence that a model can read, specials included; None where it has no limit.

    Args:
        model: a Hugging Face model.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:  # XLNet says -1
        return None
    return limit - _first_position(model)


def _first_position(model: nn.Module) -> int:
    """RoBERTa and its kin count positions from the padding's id + 1."""
    offsets = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings")
        and isinstance(module, nn.Embedding)
        and module.padding_idx is not None
    ]
    return max(offsets, default=0)
