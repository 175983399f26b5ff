"""The tokenizer of a trial's model: the one that a pretrained model brings, or that of the built-in
one."""

from functools import lru_cache
from typing import Any

from workers.trial import BUILTIN_MODEL, CorpusSpec, ModelSpec, TrialError


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
        tokenizer = AutoTokenizer.from_pretrained(model.name, revision=model.revision)
    except (OSError, ValueError, KeyError) as error:
        raise refusal_of_model(error, f"no tokenizer for {model.name}") from error
    if not tokenizer.is_fast:
        raise TrialError(
            "bad_data",
            f"model.name: {model.name} has no fast tokenizer; choose one with tokenizer.json",
        )
    return tokenizer


def refusal_of_model(error: Exception, what: str) -> TrialError:
    """What Hugging Face's error about a model means for a trial.

    It says OSError of what is not there and of a hub that does not answer; only the latter may
    pass, so only then is the trial tried again.

    Args:
        error: as it was raised.
        what: what was wanted of the model.
    """
    text = " ".join(str(error).split())[:300]
    is_unreachable = isinstance(error, ConnectionError | TimeoutError) or "connect" in text.lower()
    return TrialError("storage" if is_unreachable else "bad_data", f"model.name: {what}: {text}")
