"""Which weights may be pruned."""

from typing import Any

from torch import nn

from workers.trial import TrialError


def prunable_weights(model: nn.Module, weights: str) -> dict[str, nn.Parameter]:
    """Prunable parameters by name, in the model's order; a weight that is shared between modules counts once.

    `encoder` is the weight of every linear layer below the embeddings, without pooler and classification head: 85 of
    mBERT's 177 million parameters. `encoder_and_embeddings` adds the word embeddings, another 92 million.

    Args:
        model: a Hugging Face model with a token-classification head.
        weights: encoder or encoder_and_embeddings.

    Raises:
        TrialError: kind `bad_data`, when the model has no such weights, or is nn.DataParallel.
    """
    if isinstance(model, nn.DataParallel):  # it copies the weights to other devices anew for every forward pass
        raise TrialError("bad_data", "model: nn.DataParallel is not served; use DistributedDataParallel and its module")
    body: Any = model.base_model
    embeddings = body.get_input_embeddings() if weights == "encoder_and_embeddings" else None
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module in body.named_modules():
        parts = name.split(".")
        is_encoder = isinstance(module, nn.Linear) and not {"pooler", "embeddings"} & set(parts)
        if is_encoder or module is embeddings:
            found.setdefault(id(module.weight), (f"{name}.weight", module.weight))
    if not found:
        raise TrialError("bad_data", f"model: {type(model).__name__} has no linear layers to prune")
    return dict(found.values())
