"""What the small tokenizer promises: BERT's behaviour, and the same vocabulary in every process."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.data.synthetic import LANGUAGES, make_sentences
from workers.data.wordpiece import (
    SMALL_VOCAB_SIZE,
    SPECIAL_TOKENS,
    small_tokenizer,
    train_wordpiece,
)

pytestmark = pytest.mark.slow  # tokenizers are trained

ROOT = Path(__file__).parents[3]
SENTENCES = [
    ["Anna", "Müller", "(", "born", "1923", ")"],
    ["Lake", "Anna"],
    ["Mull", "Lake", "Müll"],
    ["東", "京"],
]

PRINT_DIGEST_OF_VOCABULARY = """
import hashlib
from workers.data.wordpiece import small_tokenizer
print(hashlib.sha256(small_tokenizer(5).backend_tokenizer.to_str().encode()).hexdigest())
"""


@functools.cache
def tokenizer():
    return small_tokenizer(seed=0)


@pytest.mark.slow
def test_processes_with_other_hash_seeds_and_threads_train_the_same_tokenizer():
    digests = set()
    for hash_seed, num_threads in (("1", "1"), ("2", "2")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": num_threads}
        command = [sys.executable, "-c", PRINT_DIGEST_OF_VOCABULARY]
        finished = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(finished.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_order_of_sentences_does_not_matter():
    forwards = train_wordpiece(SENTENCES, vocab_size=60)
    backwards = train_wordpiece(reversed(SENTENCES), vocab_size=60)
    assert forwards.to_str() == backwards.to_str()


def test_order_of_languages_does_not_matter():
    first = small_tokenizer(0, languages=["ta", "mr"])
    second = small_tokenizer(0, languages=("mr", "ta", "mr"))
    assert first.get_vocab() == second.get_vocab()
    assert first.get_vocab() != small_tokenizer(0, languages=["mr"]).get_vocab()
    assert first.get_vocab() != small_tokenizer(1, languages=["ta", "mr"]).get_vocab()


def test_special_tokens_have_the_first_ids():
    assert SPECIAL_TOKENS == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert tokenizer().convert_ids_to_tokens([0, 1, 2, 3, 4]) == list(SPECIAL_TOKENS)
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer(), f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4]
    assert sorted(tokenizer().all_special_ids) == [0, 1, 2, 3, 4]


def test_ids_are_exactly_those_below_the_vocabulary_size():
    assert sorted(tokenizer().get_vocab().values()) == list(range(SMALL_VOCAB_SIZE))
    assert len(tokenizer()) == SMALL_VOCAB_SIZE


def test_words_keep_their_place_case_and_accents():
    encoded = tokenizer()(["Anna", "Müller", "(", "São"], is_split_into_words=True)
    assert set(encoded.word_ids()) == {None, 0, 1, 2, 3}
    subwords = tokenizer().convert_ids_to_tokens(encoded["input_ids"])
    assert subwords[0] == "[CLS]"
    assert subwords[-1] == "[SEP]"
    assert "".join(subwords[1:-1]).replace("##", "") == "AnnaMüller(São"


def test_sentences_of_a_batch_are_padded():
    encoded = tokenizer()(
        [["Anna"], ["Anna", "Anna", "Anna"]], is_split_into_words=True, padding=True
    )
    assert encoded["attention_mask"][0].count(0) == 2 * (len(encoded["input_ids"][0]) - 2) // 3
    assert encoded["input_ids"][0][-1] == 0


def test_pairs_are_told_apart():
    encoding = train_wordpiece(SENTENCES, vocab_size=60).encode("Anna", "Lake")
    assert encoding.tokens.count("[SEP]") == 2
    assert encoding.type_ids[0] == 0
    assert encoding.type_ids[-1] == 1


def test_nothing_of_the_train_splits_is_unknown():
    for language in LANGUAGES:
        sentences = make_sentences(language, "train", seed=0)[0]
        for ids in tokenizer()(sentences, is_split_into_words=True)["input_ids"]:
            assert tokenizer().unk_token_id not in ids


def test_every_word_has_a_subword():
    for language in LANGUAGES:
        sentences = make_sentences(language, "test", seed=0)[0]
        encoded = tokenizer()(sentences, is_split_into_words=True)
        for row, words in enumerate(sentences):
            assert set(encoded.word_ids(row)) - {None} == set(range(len(words))), words


def test_frequent_words_of_large_languages_are_whole():
    vocab = tokenizer().get_vocab()
    for word in ("born", "University", "geboren", "chanson", "родилась", "جامعة"):
        assert word in vocab


def test_all_characters_are_kept_when_the_vocabulary_is_asked_to_be_smaller():
    vocab = train_wordpiece(SENTENCES, vocab_size=5).get_vocab()
    assert set("AMLB東京(1") - {"B"} <= set(vocab)
    assert {"##ü", "##n", "##3"} <= set(vocab)
    # Each Chinese character is a word to BERT, so that it is never a continuation.
    assert not {"##東", "##京"} & set(vocab)


def test_saved_tokenizer_is_read_back_the_same(tmp_path):
    from transformers import AutoTokenizer

    small = small_tokenizer(0, languages=["mr"])
    small.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 512
    read = AutoTokenizer.from_pretrained(tmp_path)
    words = make_sentences("mr", "test", seed=0)[0][0]
    assert (
        read(words, is_split_into_words=True)["input_ids"]
        == small(words, is_split_into_words=True)["input_ids"]
    )
    assert read.get_vocab() == small.get_vocab()


def test_no_words_are_refused():
    with pytest.raises(
        ValueError, match="texts: 0 words to train on; give sentences of at least one word"
    ):
        train_wordpiece([[], []], vocab_size=100)


def test_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match="language: 'xx' is not in the synthetic corpus; it has ar, bn"
    ):
        small_tokenizer(0, languages=["en", "xx"])
