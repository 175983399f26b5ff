"""Looks at a model folder without loading it: is all there, and what identifies it?

Without torch, so that planning is quick.
"""

import json
from pathlib import Path

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

NEEDS_MORE = {"bros": "the boxes of words on a page", "layoutlmv2": "the image of a page"}
"""What some architectures need beside text, by `model_type` in config.json."""

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
    _refuse_what_needs_more(folder)
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
        raise TrialError("bad_data", f"model.name: {folder} has no tokenizer; expected {expected}")
    if set(there) <= set(SENTENCEPIECE_FILES) and not can_read_sentencepiece():
        raise TrialError(
            "bad_data",
            f"model.name: {folder} has its tokenizer as {there[0]} only; {SENTENCEPIECE_REMEDY}",
        )
    return there


def refuse_model_that_needs_more(name: str, model_type: object) -> None:
    """A model that reads more than text would fail in its first step, in words that do not help.

    Args:
        name: the model's.
        model_type: as its config has it.

    Raises:
        TrialError: kind `bad_data`.
    """
    if isinstance(model_type, str) and (needed := NEEDS_MORE.get(model_type)):
        raise TrialError(
            "bad_data",
            f"model.name: {name} is of the architecture {model_type}, which needs {needed}; choose "
            "one that reads text alone",
        )


def _refuse_what_needs_more(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except ValueError:  # what is wrong with it, the one says who loads it
        return
    if isinstance(config, dict):
        refuse_model_that_needs_more(str(folder), config.get("model_type"))
