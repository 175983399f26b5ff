"""Any Hugging Face encoder with a token-classification head, as loaded for every trial.

The same route is taken by a worker's first trial and its hundredth, so both start from the same
bits: load, copy, then initialise the head from the trial's seed, as its modules do that.
"""

import copy
import itertools
import logging
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workers.data.tokenizer import refusal_of_model
from workers.hub.snapshots import load_arguments
from workers.model.folder import refuse_model_that_reads_more
from workers.pruning.used_rows import RowUse, can_use_rows, keep_used_rows, word_embeddings
from workers.tags import WIKIANN
from workers.trial import BUILTIN_MODEL, ModelSpec, PruningSpec, TrialError

NAMED_FROM = 0.1
"""Share of the encoder's weights from which on those are named that are never pruned."""

log = logging.getLogger(__name__)


def make_model(
    spec: ModelSpec,
    seed: int,
    device: torch.device,
    use: RowUse | None = None,
    num_labels: int = len(WIKIANN),
) -> nn.Module:
    """The trial's model on `device`, in training mode, with no gradients.

    Args:
        spec: which encoder.
        seed: of the head, whether or not the checkpoint has one, and with `init: random` of all
            weights. The global generator is seeded with it.
        device: where the model shall be.
        use: which word embeddings are trained, where the model allows that (`can_use_rows`); None:
            all.
        num_labels: that the head tells apart.

    Returns:
        The model, float32. With `use` it shares the embeddings that nothing changes; of the rest
        nothing else holds a part.

    Raises:
        TrialError: kind `bad_data`, when the weights do not fit the architecture; kind `storage`,
            when the hub does not answer.
    """
    if spec.init == "random":
        config = _config(spec, num_labels)
        torch.manual_seed(seed)
        model: nn.Module = _auto_class().from_config(
            config, dtype=torch.float32, trust_remote_code=False
        )
    else:
        model = _Pretrained.of(spec, num_labels).with_head(seed, use)
    if use is not None and can_use_rows(model, use):
        keep_used_rows(model, use)
    settings: Any = model.config
    refuse_model_that_reads_more(spec.name, settings.to_dict())
    _settle(model)
    model.to(device).train()
    return model


def _settle(model: nn.Module) -> None:
    """Make beforehand the change that BigBird makes to itself when it first meets short sentences.

    It takes to full attention for good then, and draws random numbers on the way: a trial that is
    resumed would not draw them at the same step.
    """
    for module in list(model.modules()):
        if getattr(module, "attention_type", None) == "block_sparse":
            with torch.random.fork_rng(devices=[]):
                module.set_attention_type("original_full")  # type: ignore[operator]


def describe_prunable(
    spec: ModelSpec, pruning: PruningSpec | None, num_labels: int = len(WIKIANN)
) -> list[str]:
    """Name the weights that would be pruned, without loading any.

    Args:
        spec: which encoder.
        pruning: how it is pruned; None as for a dense trial.
        num_labels: that the head tells apart.

    Returns:
        A line for each kind with name, shape and number. Layers that differ by number only share a
        line: `encoder.layer.{0-11}.output.dense.weight 384x1536 x12`. What layers share is there
        once. The word embeddings follow, where they stay dense, and the tables beside them; and
        other layers, where these hold more than a tenth of the encoder's weights.

    Raises:
        TrialError: kind `bad_data`, when there is no such model, or nothing of it would be pruned.
    """
    from workers.pruning.scope import (
        embedding_names,
        other_matrices,
        other_tables,
        prunable_weights,
    )

    with torch.device("meta"):
        model = _auto_class().from_config(
            _config(spec, num_labels), dtype=torch.float32, trust_remote_code=False
        )
    pruned = prunable_weights(model, pruning)
    lines = _describe(pruned)
    body: Any = model.base_model
    words = {name: body.get_parameter(name) for name in embedding_names(model)}
    if words and not words.keys() & pruned.keys():
        lines += ["word embeddings, dense without pruning.embedding_sparsity:", *_describe(words)]
    if tables := other_tables(model):
        lines += ["dense in any case, beside the word embeddings:", *_describe(tables)]
    others = other_matrices(model)
    num_others, num_linear = _num_weights(others), _num_weights(prunable_weights(model, None))
    if num_others > NAMED_FROM * (num_others + num_linear):
        share = num_others / (num_others + num_linear)
        lines.append(
            f"never pruned, since no linear layers hold them ({share:.0%} of the encoder):"
        )
        lines += _describe(others)
    return lines


def _num_weights(weights: Mapping[str, Tensor]) -> int:
    return sum(weight.numel() for weight in weights.values())


def _describe(weights: Mapping[str, Tensor]) -> list[str]:
    kinds: dict[tuple[str, torch.Size], list[int]] = {}
    for name, weight in weights.items():
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
    """A loaded model that is never trained, and the names of what the seed decides."""

    last: "tuple[tuple[ModelSpec, int], _Pretrained] | None" = None

    def __init__(self, spec: ModelSpec, num_labels: int):
        self.model, info = _load(spec, num_labels)
        body: Any = self.model.base_model
        inside = {id(value) for value in _values(body).values()}
        self.head = {name for name, value in _values(self.model).items() if id(value) not in inside}
        missing = sorted(set(info["missing_keys"]) - self.head)
        if missing:
            raise TrialError(
                "bad_data",
                f"model.name: {spec.name} lacks {len(missing)} weights of the encoder, "
                f"first {missing[0]}; give a folder with all of them, or set model.init=random",
            )
        mismatched = {name: shapes for name, *shapes in info["mismatched_keys"]}
        for name in sorted(mismatched.keys() - self.head):
            there, needed = (list(shape) for shape in mismatched[name])
            raise TrialError(
                "bad_data",
                f"model.name: {spec.name} has {name} of shape {there}, and its config.json asks "
                f"for {needed}; give a folder whose weights and config belong together",
            )
        if replaced := sorted(self.head - set(info["missing_keys"])):
            log.warning(
                "model.name: %s brings a head (%s); one that the seed decides takes its place",
                spec.name,
                ", ".join(replaced),
            )

    @classmethod
    def of(cls, spec: ModelSpec, num_labels: int) -> "_Pretrained":
        """The loaded model, read from disk only when the last trial used another one."""
        if cls.last is None or cls.last[0] != (spec, num_labels):
            cls.last = None  # free the old one first
            cls.last = ((spec, num_labels), cls(spec, num_labels))
        return cls.last[1]

    def with_head(self, seed: int, use: RowUse | None) -> nn.Module:
        """A copy of the model as loaded, with the head that the seed decides.

        A copy, since some models change more than their weights when they are used (BigBird sets
        another kind of attention for short sequences).

        Args:
            seed: of the head.
            use: which rows of the word embeddings are used; the embeddings are then not copied.
        """
        shared: dict[int, Any] = {}
        if use is not None and can_use_rows(self.model, use):
            table: Any = getattr(word_embeddings(self.model), "weight", None)
            shared[id(table)] = table
        model = copy.deepcopy(self.model, shared)
        # How Hugging Face tells its own initialisation what to leave alone.
        for name, value in _values(model).items():
            value._is_hf_initialized = name not in self.head  # type: ignore[attr-defined]
        for name, module in model.named_modules():
            is_new = any(
                parameter.startswith(f"{name}." if name else "") for parameter in self.head
            )
            module._is_hf_initialized = not is_new
        torch.manual_seed(seed)
        model.initialize_weights()  # type: ignore[operator]
        return model


def _load(spec: ModelSpec, num_labels: int) -> tuple[nn.Module, dict[str, Any]]:
    """Hugging Face's model, and what it says of the names that it met."""
    try:
        model, info = _auto_class().from_pretrained(
            spec.name,
            **load_arguments(spec),
            num_labels=num_labels,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head of another size is replaced
            trust_remote_code=False,
        )
    except pickle.UnpicklingError as error:
        raise TrialError(
            "bad_data",
            f"model.name: {spec.name} has .bin weights that hold more than tensors, and such files "
            "can run code, so they are not read; where you trust them, write safetensors from them "
            "(transformers: save_pretrained) and give that folder",
        ) from error
    except (ImportError, OSError, ValueError, SafetensorError) as error:
        raise refusal_of_model(error, f"cannot load {spec.name}") from error
    return model, info


def _values(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also those that no checkpoint holds; what modules share
    counts under each of its names."""
    return dict(
        itertools.chain(
            model.named_parameters(remove_duplicate=False),
            model.named_buffers(remove_duplicate=False),
        )
    )


def encoder_weights(spec: ModelSpec, num_labels: int = len(WIKIANN)) -> dict[str, Tensor]:
    """The weights of the encoder that trials start from, by name, on the CPU; nothing of the head.

    Args:
        spec: which encoder.
        num_labels: of the head of trials on it, with which it is held in memory.

    Returns:
        What nobody may write to; nothing with `init: random`, where there is no encoder.

    Raises:
        TrialError: as `make_model`.
    """
    if spec.init == "random":
        return {}
    loaded = _Pretrained.of(spec, num_labels)
    state = loaded.model.state_dict()
    return {name: value for name, value in state.items() if name not in loaded.head}


def first_names(model: nn.Module) -> dict[str, str]:
    """For each name in the model's state the first name of the same tensor: another one where
    modules share it, as T5's embeddings do."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: first.setdefault(id(value), name) for name, value in state.items()}


def _auto_class() -> Any:
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.set_verbosity_error()  # "some weights are newly initialised" is what a head is for
    logging.disable_progress_bar()
    return AutoModelForTokenClassification


def _config(spec: ModelSpec, num_labels: int) -> Any:
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
            num_labels=num_labels,
        )
    try:
        return AutoConfig.from_pretrained(
            spec.name,
            **load_arguments(spec, with_weights=False),
            num_labels=num_labels,
            trust_remote_code=False,
        )
    except (OSError, ValueError) as error:
        raise refusal_of_model(error, f"no config of {spec.name}") from error


def num_embeddings(model: nn.Module) -> int | None:
    """Sub-words that a model has an embedding of; None where it does not tell.

    Args:
        model: a Hugging Face model.
    """
    return getattr(word_embeddings(model), "num_embeddings", None)
