"""Looks at a model folder without loading it: is all there, and what identifies it?

Without torch, so that planning is quick.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workers.data.fingerprints import fingerprint_files
from workers.data.tokenizer import SENTENCEPIECE_REMEDY, can_read_sentencepiece
from workers.trial import TrialError

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
)
SENTENCEPIECE_FILES = (
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.model",
)
"""Tokenizers that only the package of that name reads. The last two count where there is no other
file of a tokenizer, so that folders have the fingerprints that they had when they did not count."""

NOT_SERVED = "models of characters or bytes, such as CANINE and ByT5, have none and cannot be used"

NEEDS_MORE = {"bros": "the boxes of words on a page", "layoutlmv2": "the image of a page"}
"""What some architectures need beside text, by `model_type` in config.json."""

NO_LINEAR_LAYERS = ("gpt2", "ibert", "squeezebert")
"""Architectures that have other layers in their place, by `model_type`."""

READS_MORE = {"vision_config": "images", "audio_config": "sound"}
"""What an architecture reads beside text that has settings of this name: in weights that text never
reaches, which would be pruned and counted all the same."""

OF_PRETRAINING = (
    *("Model", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction"),
    *("ForCausalLM", "ForConditionalGeneration"),
)
"""How the classes are called that pretraining saves, and so what has no head for a task."""

TOKENIZER_EXTRAS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
)
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
INDEX_FILES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def is_folder_name(name: str) -> bool:
    """Whether a model's name means a local folder.

    Args:
        name: as the sweep has it.

    Returns:
        True for a folder that exists, and for what only a path looks like.
    """
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).is_dir()


def fingerprint_model_folder(folder: Path, init: str) -> str:
    """Hash of the files that make the model.

    Args:
        folder: the model's.
        init: pretrained or random; with `random` the weights do not count.

    Returns:
        16 hexadecimal digits.

    Raises:
        TrialError: kind `bad_data`: no such folder, or no config, tokenizer or weights in it, or of
            an architecture that reads more than text.
    """
    if not folder.is_dir():
        raise TrialError(
            "bad_data",
            f"model.name: {str(folder)!r} is not a folder; give a Hugging Face model folder",
        )
    if not (folder / "config.json").is_file():
        raise TrialError(
            "bad_data", f"model.name: {folder} has no config.json; give a Hugging Face model folder"
        )
    refuse_model_that_reads_more(str(folder), _read_config(folder))
    tokenizer = _tokenizer_files(folder)
    candidates = (sorted(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS)
    weights = next(filter(None, candidates), [])
    if init == "pretrained" and not weights:
        raise TrialError(
            "bad_data",
            f"model.name: {folder} has no weights ({' or '.join(WEIGHT_PATTERNS)}); "
            "set model.init=random to train its architecture from scratch",
        )
    names = ["config.json", *tokenizer, *TOKENIZER_EXTRAS, *INDEX_FILES]
    files = [folder / name for name in names if (folder / name).is_file()]
    if init == "pretrained":
        files += weights
    return fingerprint_files((file.name, file) for file in files)


def _tokenizer_files(folder: Path) -> list[str]:
    """Names of the files that make the folder's tokenizer.

    Raises:
        TrialError: kind `bad_data`: there are none, or none that can be read here.
    """
    for names in (TOKENIZER_FILES, SENTENCEPIECE_FILES):
        if there := [name for name in names if (folder / name).is_file()]:
            break
    else:
        expected = " or ".join(dict.fromkeys((*TOKENIZER_FILES, *SENTENCEPIECE_FILES)))
        raise TrialError(
            "bad_data",
            f"model.name: {folder} has no tokenizer; expected {expected}; {NOT_SERVED}",
        )
    if set(there) <= set(SENTENCEPIECE_FILES) and not can_read_sentencepiece():
        raise TrialError(
            "bad_data",
            f"model.name: {folder} has its tokenizer as {there[0]} only; {SENTENCEPIECE_REMEDY}",
        )
    return there


def refuse_model_that_reads_more(name: str, config: Mapping[str, Any]) -> None:
    """A model that reads more than text would fail in its first step, in words that do not help, or
    have weights that nothing trains.

    Args:
        name: the model's.
        config: what its config.json holds.

    Raises:
        TrialError: kind `bad_data`.
    """
    model_type = config.get("model_type")
    if isinstance(model_type, str) and (needed := NEEDS_MORE.get(model_type)):
        fault = f"needs {needed}"
    elif read := next((READS_MORE[key] for key in _keys(config) if key in READS_MORE), None):
        fault = f"reads {read} beside text"
    else:
        return
    raise TrialError(
        "bad_data",
        f"model.name: {name} is of the architecture {model_type}, which {fault}; choose one that "
        "reads text alone",
    )


def _keys(config: Mapping[str, Any]) -> Iterator[str]:
    """Names of all settings, also those of parts, such as of an encoder."""
    waiting = [config]
    while waiting:
        for key, value in waiting.pop().items():
            yield key
            if isinstance(value, Mapping):
                waiting.append(value)


def refuse_model_without_linear_layers(folder: Path) -> None:
    """A model that has none cannot be pruned.

    Raises:
        TrialError: kind `bad_data`.
    """
    model_type = _read_config(folder).get("model_type")
    if model_type in NO_LINEAR_LAYERS:
        raise TrialError(
            "bad_data",
            f"model.name: {folder} is of the architecture {model_type}, which has no linear layers "
            "to prune; choose another one",
        )


def task_class(folder: Path) -> str | None:
    """The class that saved the model, where it has a head for a task, such as
    `BertForTokenClassification`; None where it has none, or config.json does not say.

    Args:
        folder: the model's.
    """
    names = _read_config(folder).get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) and not name.endswith(OF_PRETRAINING) else None


def _read_config(folder: Path) -> Mapping[str, Any]:
    """What config.json says; what is wrong with it, the one says who loads it."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}
