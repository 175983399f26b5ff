"""Which tokenizer a trial gets, and what is said when there is none."""

import errno
import string
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from tests.factories import make_trial_spec
from workers.data.align import encode
from workers.data.corpus import Sentences
from workers.data.tokenizer import (
    can_read_sentencepiece,
    load_tokenizer,
    prefix_of_words,
    refusal_of_model,
)
from workers.data.wordpiece import train_wordpiece
from workers.trial import ModelSpec, TrialError

SPEC = make_trial_spec()


def folder_model(path) -> ModelSpec:
    return ModelSpec(name=str(path), revision=None, init="random", fingerprint="x")


def test_trials_on_all_languages_of_a_model_share_one_tokenizer(mbert):
    model = folder_model(mbert)
    first = load_tokenizer(model, SPEC.corpus)
    other_language = replace(SPEC.corpus, fingerprint="another", path="/elsewhere")
    assert load_tokenizer(model, other_language) is first


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TrialError, match="model.name: no tokenizer for .*: ") as caught:
        load_tokenizer(folder_model(tmp_path), SPEC.corpus)
    assert caught.value.kind == "bad_data"


def write_sentencepiece(file: Path) -> None:
    """A unigram model of single letters, as the package sentencepiece stores it."""

    def number(value: int) -> bytes:
        low = [value >> shift & 127 for shift in range(0, max(1, value.bit_length()), 7)]
        return bytes([byte | 128 for byte in low[:-1]] + low[-1:])

    def message(field: int, content: bytes) -> bytes:
        return number(field << 3 | 2) + number(len(content)) + content

    def piece(text: str, score: float, kind: int) -> bytes:
        return (
            message(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + number(kind)
        )

    specials = [("[PAD]", 0.0, 3), ("[CLS]", 0.0, 3), ("[SEP]", 0.0, 3), ("[UNK]", 0.0, 2)]
    letters = [(start + x, -5.0, 1) for start in ("", "▁") for x in string.ascii_letters]
    pieces = b"".join(message(1, piece(*one)) for one in [*specials, *letters, ("▁", -9.0, 1)])
    trainer = message(2, b"\x18" + number(1) + b"\xc0\x02" + number(3))  # unigram, unk_id
    rules = message(3, message(1, b"identity") + b"\x18\x01\x20\x01\x28\x01")
    file.write_bytes(pieces + trainer + rules)


def test_a_model_of_sentencepiece_alone_is_read_or_refused_by_name(tmp_path):
    """As mDeBERTa is published."""
    AutoConfig.for_model("deberta-v2").save_pretrained(tmp_path)
    write_sentencepiece(tmp_path / "spm.model")
    model = folder_model(tmp_path)
    if not can_read_sentencepiece():
        with pytest.raises(TrialError, match="no tokenizer.json; install the package sent") as it:
            load_tokenizer(model, SPEC.corpus)
        assert it.value.kind == "bad_data"
        return
    tokenizer = load_tokenizer(model, SPEC.corpus)
    ids = tokenizer([["ab", "c"]], is_split_into_words=True)["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "▁a", "b", "▁c", "[SEP]"]
    assert (ids[0], ids[-1], tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 2, 0, 3)
    assert prefix_of_words(tokenizer) == ""


class AnsweredError(OSError):
    """As the hub's library raises it."""

    def __init__(self, text: str, status_code: int):
        super().__init__(text)
        self.response = SimpleNamespace(status_code=status_code)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("no file config.json in bert"), "bad_data"),
        (ConnectionError("the hub is down"), "storage"),
        (TimeoutError("60 s"), "storage"),
        (OSError("We couldn't connect to 'https://huggingface.co'"), "storage"),
        (OSError(errno.ESTALE, "Stale file handle"), "storage"),
        (OSError(errno.EACCES, "Permission denied"), "bad_data"),
        (OSError("Input/output error (os error 5)"), "storage"),
        (AnsweredError("429 Too Many Requests", 429), "storage"),
        (AnsweredError("503 Server Error", 503), "storage"),
        (AnsweredError("404 Not Found", 404), "bad_data"),
    ],
)
def test_only_a_hub_that_does_not_answer_is_worth_another_attempt(error, kind):
    refusal = refusal_of_model(error, "cannot load bert")
    assert refusal.kind == kind
    assert str(refusal) == f"model.name: cannot load bert: {error}"


def test_a_hub_that_failed_is_found_behind_what_was_made_of_it():
    error = ValueError("no tokenizer can be made")
    error.__cause__ = AnsweredError("502 Bad Gateway", 502)
    assert refusal_of_model(error, "no tokenizer for bert").kind == "storage"


TEXT = "a b c in de Paris Abuja Nigeria 2024 1 Ilu Abuja ni Nigeria , a Paris in 2024"


def trained(model, trainer, pre_tokenizer=None, normalizer=None):
    """A tokenizer that has learnt the words of TEXT."""
    tokenizer = Tokenizer(model)
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def byte_level(*, add_prefix_space: bool):
    """As RoBERTa's and ModernBERT's."""
    trainer = trainers.BpeTrainer(
        special_tokens=["<pad>", "<unk>"],
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    return trained(models.BPE(unk_token="<unk>"), trainer, pieces)


def metaspace(scheme: str):
    """As XLM-R's, T5's (always) and Llama's (first)."""
    trainer = trainers.UnigramTrainer(
        special_tokens=["<pad>", "<unk>"], unk_token="<unk>", vocab_size=60, show_progress=False
    )
    return trained(models.Unigram(), trainer, pre_tokenizers.Metaspace(prepend_scheme=scheme))


def replaced_spaces():
    """As Gemma's, which mmBERT has: no pre-tokenizer says what a word is."""
    trainer = trainers.BpeTrainer(
        special_tokens=["<pad>", "<unk>"], vocab_size=60, show_progress=False
    )
    pieces = pre_tokenizers.Split("▁", "merged_with_next")
    return trained(models.BPE(unk_token="<unk>"), trainer, pieces, normalizers.Replace(" ", "▁"))


def wordpiece():
    return PreTrainedTokenizerFast(
        tokenizer_object=train_wordpiece([TEXT.split()], 60),
        unk_token="[UNK]",
        pad_token="[PAD]",
    )


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (lambda: byte_level(add_prefix_space=False), " "),
        (lambda: byte_level(add_prefix_space=True), ""),
        (lambda: metaspace("always"), ""),
        (lambda: metaspace("first"), ""),
        (lambda: metaspace("never"), " "),
        (replaced_spaces, " "),
        (wordpiece, ""),
    ],
)
def test_words_get_the_subwords_that_they_have_in_a_text(make, prefix):
    tokenizer = make()
    assert prefix_of_words(tokenizer) == prefix
    words = TEXT.split()
    encoded = encode(Sentences([words], [[0] * len(words)]), tokenizer, 128)
    in_text = tokenizer(f"a {TEXT}", add_special_tokens=False)["input_ids"]
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    specials = encoded.num_specials // 2  # [CLS] and [SEP], where there are any
    ids = encoded.input_ids[specials : len(encoded.input_ids) - specials]
    assert ids.tolist() == in_text[len(before) :]
    assert len(encoded.word_labels) == len(words)


def test_real_mbert_is_handed_words_as_before(mbert):
    assert prefix_of_words(load_tokenizer(folder_model(mbert), SPEC.corpus)) == ""


def test_a_tokenizer_that_cuts_words_otherwise_than_texts_is_refused():
    tokenizer = byte_level(add_prefix_space=True)
    strip = normalizers.Sequence([normalizers.Strip(), normalizers.Prepend("x")])
    tokenizer.backend_tokenizer.normalizer = strip
    with pytest.raises(TrialError, match="cuts words otherwise .* than in a text") as caught:
        prefix_of_words(tokenizer)
    assert caught.value.kind == "bad_data"


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    tokenizer = wordpiece()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TrialError, match="has no padding token; set pad_token"):
        load_tokenizer(folder_model(tmp_path), SPEC.corpus)
