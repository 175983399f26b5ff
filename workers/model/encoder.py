"""Any Hugging Face encoder with a token-classification head, put back as loaded for every trial.

The same route is taken by a worker's first trial and its hundredth, so both start from the same
bits: load, then initialise what the pretrained weights do not have from the trial's seed.
"""

from typing import Any

import torch
from torch import Tensor, nn

from workers.data.tokenizer import refusal_of_model
from workers.tags import TAGS
from workers.trial import BUILTIN_MODEL, ModelSpec, PruningSpec, TrialError


def make_model(spec: ModelSpec, seed: int, device: torch.device) -> nn.Module:
    """The trial's model on `device`, in training mode, with no gradients.

    Args:
        spec: which encoder.
        seed: of the head, and with `init: random` of all weights. The global generator is seeded
            with it.
        device: where the model shall be.

    Returns:
        The model, float32; with `init: pretrained` the same object for every trial on this encoder.

    Raises:
        TrialError: kind `bad_data`, when the weights do not fit the architecture; kind `storage`,
            when the hub does not answer.
    """
    if spec.init == "random":
        config = _config(spec)
        torch.manual_seed(seed)
        model: nn.Module = _auto_class().from_config(config, dtype=torch.float32)
    else:
        model = _Pretrained.of(spec).restore(seed)
    model.to(device).train()
    return model


def describe_prunable(spec: ModelSpec, pruning: PruningSpec | None) -> list[str]:
    """Name the weights that would be pruned, without loading any.

    Args:
        spec: which encoder.
        pruning: how it is pruned; None as for a dense trial.

    Returns:
        A line for each kind with name, shape and number. Layers that differ by number only share a
        line: `encoder.layer.{0-11}.output.dense.weight 384x1536 x12`.

    Raises:
        TrialError: kind `bad_data`, when there is no such model, or nothing of it would be pruned.
    """
    from workers.pruning.scope import prunable_weights

    with torch.device("meta"):
        model = _auto_class().from_config(_config(spec), dtype=torch.float32)
    kinds: dict[tuple[str, torch.Size], list[int]] = {}
    for name, weight in prunable_weights(model, pruning).items():
        number = next((int(part) for part in name.split(".") if part.isdigit()), -1)
        pattern = ".".join("{}" if part.isdigit() else part for part in name.split("."))
        kinds.setdefault((pattern, weight.shape), []).append(number)
    return [
        f"  {pattern.replace('{}', _ranges(numbers))} {'x'.join(map(str, shape))} x{len(numbers)}"
        for (pattern, shape), numbers in kinds.items()
    ]


def _ranges(numbers: list[int]) -> str:
    """`{0-2,5}` for 0, 1, 2, 5."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    names = (str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return "{" + ",".join(names) + "}"


class _Pretrained:
    """A loaded model, its weights as loaded, and the names of those that the seed decides."""

    last: "tuple[ModelSpec, _Pretrained] | None" = None

    def __init__(self, spec: ModelSpec):
        try:
            model, info = _auto_class().from_pretrained(
                spec.name,
                revision=spec.revision,
                num_labels=len(TAGS),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=False,
            )
        except (OSError, ValueError) as error:
            raise refusal_of_model(error, f"cannot load {spec.name}") from error
        self.model: nn.Module = model
        self.new = sorted(info["missing_keys"])
        missing = [name for name in self.new if name.startswith(f"{model.base_model_prefix}.")]
        if missing:
            raise TrialError(
                "bad_data",
                f"model.name: {spec.name} lacks {len(missing)} weights of the encoder, "
                f"first {missing[0]}; give a folder with all of them, or set model.init=random",
            )
        self.weights = {
            name: value.detach().cpu().clone() for name, value in model.state_dict().items()
        }

    @classmethod
    def of(cls, spec: ModelSpec) -> "_Pretrained":
        """The loaded model, read from disk only when the last trial used another one."""
        if cls.last is None or cls.last[0] != spec:
            cls.last = None  # free the old one first
            cls.last = (spec, cls(spec))
        return cls.last[1]

    def restore(self, seed: int) -> nn.Module:
        """The model as loaded, its new weights drawn anew from the seed."""
        torch.manual_seed(seed)
        std = getattr(self.model.config, "initializer_range", 0.02)
        fresh = {name: _initial_value(self.weights[name], std) for name in self.new}
        self.model.load_state_dict(self.weights | fresh)
        self.model.zero_grad(set_to_none=True)
        return self.model


def _initial_value(like: Tensor, std: float) -> Tensor:
    """As Hugging Face's encoders do: matrices normal, vectors (the head's bias) zero."""
    return torch.empty_like(like).normal_(0.0, std) if like.ndim > 1 else torch.zeros_like(like)


def _auto_class() -> Any:
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.set_verbosity_error()  # "some weights are newly initialised" is what a head is for
    logging.disable_progress_bar()
    return AutoModelForTokenClassification


def _config(spec: ModelSpec) -> Any:
    from transformers import AutoConfig, BertConfig

    if spec.name == BUILTIN_MODEL:
        from workers.data.wordpiece import SMALL_VOCAB_SIZE

        return BertConfig(
            vocab_size=SMALL_VOCAB_SIZE,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=512,
            max_position_embeddings=512,
            num_labels=len(TAGS),
        )
    try:
        return AutoConfig.from_pretrained(spec.name, revision=spec.revision, num_labels=len(TAGS))
    except (OSError, ValueError) as error:
        raise refusal_of_model(error, f"no config of {spec.name}") from error
