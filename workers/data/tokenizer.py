"""The tokenizer of a trial's model: the one that a pretrained model brings, or that of the built-in
one."""

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from workers.hub.snapshots import load_arguments
from workers.storage import may_pass
from workers.trial import BUILTIN_MODEL, CorpusSpec, ModelSpec, TrialError

SENTENCEPIECE_REMEDY = (
    "install the package sentencepiece where sweeps are planned and where they run, or have it "
    "write tokenizer.json once: "
    "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


def can_read_sentencepiece() -> bool:
    """Whether there is the package that reads tokenizers which have no tokenizer.json."""
    return find_spec("sentencepiece") is not None


def load_tokenizer(model: ModelSpec, corpus: CorpusSpec) -> Any:
    """The model's fast tokenizer; read once for all trials on the same model.

    Args:
        model: which model; the built-in one has none of its own.
        corpus: whose seed decides the vocabulary of the built-in model.

    Raises:
        TrialError: kind `bad_data`, when there is none; kind `storage`, when the hub does not
            answer.
    """
    return _load_tokenizer(model, corpus.seed or 0)


@lru_cache(maxsize=1)
def _load_tokenizer(model: ModelSpec, seed: int) -> Any:
    if model.name == BUILTIN_MODEL:
        from workers.data.wordpiece import small_tokenizer

        return small_tokenizer(seed)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.name, trust_remote_code=False, **load_arguments(model, with_weights=False)
        )
    except (ImportError, OSError, ValueError, KeyError) as error:
        if not can_read_sentencepiece() and "`tiktoken` is required" in str(error):
            # transformers takes the file for another kind's, and asks for that kind's package.
            raise TrialError(
                "bad_data",
                f"model.name: {model.name} has a tokenizer of SentencePiece and no tokenizer.json; "
                f"{SENTENCEPIECE_REMEDY}",
            ) from error
        raise refusal_of_model(error, f"no tokenizer for {model.name}") from error
    if not tokenizer.is_fast:
        raise TrialError(
            "bad_data",
            f"model.name: {model.name} has no fast tokenizer; choose one with tokenizer.json",
        )
    if tokenizer.pad_token_id is None:
        raise TrialError(
            "bad_data",
            f"model.name: the tokenizer of {model.name} has no padding token; "
            "set pad_token in its tokenizer_config.json",
        )
    return tokenizer


PROBES = ("b", "c", "in", "de", "Paris", "Abuja", "Nigeria", "2024", "1")
"""Words that most vocabularies can write."""


def prefix_of_words(tokenizer: Any) -> str:
    """What to write before each word so that it gets the sub-words that it has inside a text.

    Some tokenizers (those of RoBERTa, ModernBERT, Gemma) tell by the space before it that a word
    begins, and a word that is handed over alone has none. This is asked of the tokenizer itself,
    whatever its kind: how it cuts some words alone, and in a text.

    Args:
        tokenizer: a fast Hugging Face tokenizer.

    Returns:
        Nothing, or a space.

    Raises:
        TrialError: kind `bad_data`, when neither gives the sub-words of a text.
    """

    def cut(text: str, *, is_word: bool) -> list[int]:
        given = [text] if is_word else text
        ids = tokenizer(given, is_split_into_words=is_word, add_special_tokens=False)["input_ids"]
        return list(ids)

    before = cut("a", is_word=False)
    inside = {}
    for word in PROBES:
        ids = cut(f"a {word}", is_word=False)
        if ids[: len(before)] == before and tokenizer.unk_token_id not in ids:
            inside[word] = ids[len(before) :]
    for prefix in ("", " "):
        if all(cut(prefix + word, is_word=True) == ids for word, ids in inside.items()):
            return prefix
    name = tokenizer.name_or_path
    raise TrialError(
        "bad_data",
        f"model.name: the tokenizer of {name} cuts words otherwise when they are handed over one "
        "by one, with and without a space before them, than in a text; choose another encoder",
    )


def refusal_of_model(error: Exception, what: str) -> TrialError:
    """What Hugging Face's error about a model means for a trial.

    It says OSError of what is not there and of a hub that does not answer; only the latter may
    pass, so only then is the trial tried again.

    Args:
        error: as it was raised.
        what: what was wanted of the model.
    """
    text = " ".join(str(error).split())[:300]
    if "trust_remote_code" in str(error):  # an option that we do not have
        return TrialError(
            "bad_data",
            f"model.name: {what}: it needs program code of its own (auto_map in config.json), "
            "which sparsweep never runs; choose an architecture that transformers has",
        )
    is_elsewhere = "connect" in text.lower() or any(map(_is_elsewhere, _chain(error)))
    return TrialError("storage" if is_elsewhere else "bad_data", f"model.name: {what}: {text}")


def _is_elsewhere(error: BaseException) -> bool:
    """Whether an error is one of the disk, of the network or of the hub, and not of the model."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status in (408, 429) or status >= 500
    is_of_network = type(error).__name__.endswith(("Timeout", "ConnectError", "ConnectionError"))
    return is_of_network or may_pass(error) or isinstance(error, ConnectionError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
