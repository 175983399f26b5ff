"""How large a model is, without loading it: what estimates of a trial's memory are made from.

Without torch, so that planning is quick.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from workers.trial import BUILTIN_MODEL, ModelSpec

NAMES = {
    "num_layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    "width": ("hidden_size", "dim", "d_model"),
    "inner_width": ("intermediate_size", "hidden_dim", "d_ff", "d_inner"),
    "num_heads": ("num_attention_heads", "n_heads", "n_head", "num_heads"),
    "vocab_size": ("vocab_size",),
}
"""What families of encoders call these numbers in their config.json."""

LARGEST_WHOLE_NUMBER = 2**31


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Numbers of an encoder.

    Attributes:
        num_parameters: all of them.
        num_embedding_weights: those of the word embeddings.
        num_layers: of the encoder.
        width: of what goes from layer to layer.
        inner_width: of a layer's feed-forward part.
        num_heads: of a layer's attention.
    """

    num_parameters: int
    num_embedding_weights: int
    num_layers: int
    width: int
    inner_width: int
    num_heads: int


KEYS = [names[0] for names in NAMES.values()]
BUILTIN = dict(zip(KEYS, (2, 128, 512, 4, 8000), strict=True))
SMALL = dict(zip(KEYS, (12, 384, 1536, 12, 250037), strict=True))
BASE = dict(zip(KEYS, (12, 768, 3072, 12, 250002), strict=True))
LARGE = dict(zip(KEYS, (24, 1024, 4096, 16, 250002), strict=True))
ON_THE_HUB = {
    "bert-base-multilingual-cased": BASE | {"vocab_size": 119547},
    "xlm-roberta-base": BASE,
    "xlm-roberta-large": LARGE,
    "multilingual-e5-small": SMALL,
    "multilingual-e5-base": BASE,
    "multilingual-e5-large": LARGE,
}
"""What the config.json of well-known encoders says, for machines that have not loaded them yet."""


def size_of(model: ModelSpec) -> ModelSize | None:
    """The size of a model, as its config.json says, which is asked for on this machine only.

    Args:
        model: which encoder.

    Returns:
        None where neither is there, or its config.json has none of the usual names, and the model
        is not among those that are known.
    """
    if model.name == BUILTIN_MODEL:
        return _by_config(BUILTIN)
    folder = _folder(model)
    size = None if folder is None else _by_folder(folder)
    if size is None and (known := ON_THE_HUB.get(model.name.rpartition("/")[2].lower())):
        size = _by_config(known)
    return size


def _folder(model: ModelSpec) -> Path | None:
    """Where the model's files are, if they are on this machine."""
    if model.fingerprint is not None:
        return Path(model.name)
    try:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    except (ImportError, OSError, ValueError):  # a machine that only plans; a name that is none
        return None
    return Path(config).parent if isinstance(config, str) else None


def _by_folder(folder: Path) -> ModelSize | None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return _by_config(config) if isinstance(config, dict) else None


def _by_config(config: Mapping[str, Any]) -> ModelSize | None:
    """Numbers of a BERT of this config; others of the same widths have about as many."""
    found: dict[str, int] = {}
    for name, aliases in NAMES.items():
        numbers = [config[alias] for alias in aliases if _is_number(config.get(alias))]
        if not numbers:
            return None
        found[name] = numbers[0]
    vocab_size, width, inner = found.pop("vocab_size"), found["width"], found["inner_width"]
    # ALBERT's and ELECTRA's embeddings are narrower than the rest; ALBERT's layers share weights.
    embedding_width = _number(config, "embedding_size", width)
    num_distinct = _number(config, "num_hidden_groups", found["num_layers"])
    embeddings = vocab_size * embedding_width
    positions = _number(config, "max_position_embeddings", 0) * embedding_width
    of_layer = 4 * width * width + 2 * width * inner + 9 * width + inner
    num_parameters = embeddings + positions + num_distinct * of_layer
    return ModelSize(num_parameters=num_parameters, num_embedding_weights=embeddings, **found)


def _number(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name)
    return value if _is_number(value) else default


def _is_number(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value < LARGEST_WHOLE_NUMBER
