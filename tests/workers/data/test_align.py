"""Sub-words and their labels, splitting and joining; and that sentences come back whole."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.factories import make_split
from workers.data import kept
from workers.data.align import NO_LABEL, EncodedSplit, encode, encode_text, join, load_encoded
from workers.data.corpus import Sentences, load_sentences
from workers.data.entities import flatten
from workers.model.folder import fingerprint_model_folder
from workers.trial import CorpusSpec, ModelSpec, TrialError


@pytest.fixture(scope="module")
def tokenizer(mbert):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(mbert)


def corpus(path) -> CorpusSpec:
    where = {
        "kind": "path",
        "name": None,
        "revision": None,
        "path": str(path),
        "seed": None,
        "fingerprint": "real",
    }
    return CorpusSpec(**where, max_train_sentences=None, max_eval_sentences=None)


def test_label_is_on_the_first_subword(tokenizer):
    words = ["Wolfgang", "Amadeus", "unbelievability"]
    encoded = encode(Sentences([words], [[1, 2, 0]]), tokenizer, 128)
    pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())
    assert pieces[0] == "[CLS]"
    assert pieces[-1] == "[SEP]"
    firsts = [i for i, piece in enumerate(pieces) if not piece.startswith(("##", "["))]
    assert [encoded.labels[i] for i in firsts] == [1, 2, 0]
    assert (encoded.labels != NO_LABEL).sum() == 3
    assert len(pieces) > 5, "the last word has several sub-words"


@pytest.mark.parametrize("max_length", [8, 13, 512])
def test_long_sentences_are_split_and_come_back_whole(wikiann, tokenizer, max_length):
    sentences = load_sentences(corpus(wikiann), "my", "test")
    encoded = encode(sentences, tokenizer, max_length)
    assert encoded.lengths.max() <= max_length
    assert encoded.num_sentences == len(sentences.tokens)
    assert (encoded.num_split_sentences > 0) == (max_length < 512)
    assert encoded.word_labels.tolist() == list(chain.from_iterable(sentences.labels))
    num_words = np.add.reduceat(encoded.labels != NO_LABEL, encoded.offsets[:-1])
    num_words = np.bincount(encoded.sentence_of_sequence, weights=num_words)
    assert num_words.tolist() == [len(words) for words in sentences.tokens]


def test_special_ids_are_no_part_of_words_also_where_sentences_are_split(wikiann, tokenizer):
    sentences = load_sentences(corpus(wikiann), "my", "test")
    whole, split = (encode(sentences, tokenizer, length) for length in (512, 13))
    assert split.num_sequences > split.num_sentences
    alone = [tokenizer.encode(word, add_special_tokens=False) for word in chain(*sentences.tokens)]
    expected = list(chain(*(ids or [tokenizer.unk_token_id] for ids in alone)))
    assert whole.word_input_ids.tolist() == expected
    assert split.word_input_ids.tolist() == list(
        chain(*(ids[:11] or [tokenizer.unk_token_id] for ids in alone))
    )
    assert (whole.unknown_id, join([split, whole]).unknown_id) == (100, 100)


def test_word_longer_than_a_sequence_keeps_its_beginning_and_its_label(tokenizer):
    encoded = encode(
        Sentences([["a", "supercalifragilisticexpialidocious" * 2, "b"]], [[0, 5, 1]]), tokenizer, 8
    )
    assert encoded.labels[encoded.labels != NO_LABEL].tolist() == [0, 5, 1]
    assert encoded.lengths.tolist() == [3, 8, 3]


def test_word_that_the_tokenizer_drops_becomes_unknown(tokenizer):
    encoded = encode(Sentences([["a", "\u200b\x00", "b"]], [[0, 1, 0]]), tokenizer, 16)
    assert (encoded.labels != NO_LABEL).sum() == 3
    assert encoded.input_ids[2] == tokenizer.unk_token_id


def test_word_that_the_tokenizer_drops_is_refused_where_it_knows_nothing_unknown():
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Whitespace()
    learnt.train_from_iterator(["a b"], trainers.BpeTrainer(special_tokens=["<pad>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=learnt, pad_token="<pad>")
    with pytest.raises(TrialError, match=r"leaves nothing of word 1 of sentence 0, and has no unk"):
        encode(Sentences([["a", "я", "b"]], [[0, 1, 0]]), tokenizer, 16)


@pytest.mark.slow
def test_cached_split_equals_a_fresh_one(wikiann, mbert, tokenizer):
    model = ModelSpec(
        name=str(mbert),
        revision=None,
        init="random",
        fingerprint=fingerprint_model_folder(mbert, "random"),
    )
    made = load_encoded(corpus(wikiann), model, "yo", "test", 64)
    cached = load_encoded(corpus(wikiann), model, "yo", "test", 64)
    fresh = encode(load_sentences(corpus(wikiann), "yo", "test"), tokenizer, 64)
    for other in (cached, fresh):
        assert made is not other
        for name in ("input_ids", "labels", "offsets", "sentence_of_sequence"):
            assert np.array_equal(getattr(made, name), getattr(other, name)), name
        assert (made.pad_id, made.unknown_id, made.num_unstarted_entities) == (
            other.pad_id,
            other.unknown_id,
            other.num_unstarted_entities,
        )


@pytest.fixture
def corpus_folder(tmp_path, monkeypatch) -> Path:
    """A corpus of two sentences, and a cache of its own."""
    monkeypatch.setenv("SPARSWEEP_CACHE", str(tmp_path / "cache"))
    kept._said.clear()
    (tmp_path / "corpus" / "sw").mkdir(parents=True)
    (tmp_path / "corpus" / "sw" / "train.tsv").write_text(
        "Ade\tB-PER\nanaenda\tO\n\nLeo\tO\nanaenda\tO\nmji\tO\n"
    )
    return tmp_path / "corpus"


def load_small(folder: Path, max_length: int = 32) -> EncodedSplit:
    model = ModelSpec(name="builtin:small-bert", revision=None, init="random", fingerprint=None)
    return load_encoded(corpus(folder), model, "sw", "train", max_length)


def same(one: EncodedSplit, other: EncodedSplit) -> bool:
    return all(np.array_equal(vars(one)[name], vars(other)[name]) for name in vars(one))


@pytest.mark.slow
def test_no_bit_of_a_kept_split_may_flip(corpus_folder, caplog):
    made = load_small(corpus_folder)
    (file,) = (corpus_folder.parent / "cache" / "encoded").iterdir()
    whole = file.read_bytes()
    for position in range(0, len(whole), len(whole) // 50):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        kept._said.clear()
        assert same(load_small(corpus_folder), made), position
    assert f"{file}: damaged (its digest is another one); made again" in caplog.text
    assert file.read_bytes() == whole


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_kept_split_that_was_cut_off_is_made_again(length, corpus_folder, caplog):
    made = load_small(corpus_folder)
    (file,) = (corpus_folder.parent / "cache" / "encoded").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    assert same(load_small(corpus_folder), made)
    assert (file.read_bytes(), len(caplog.messages)) == (whole, 1)


def test_kept_split_under_the_name_of_another_is_made_again(corpus_folder, caplog):
    short, long = load_small(corpus_folder, 6), load_small(corpus_folder)
    first, second = (corpus_folder.parent / "cache" / "encoded").iterdir()
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert same(load_small(corpus_folder, 6), short)
    assert same(load_small(corpus_folder), long)
    assert not same(short, long)


def test_split_is_made_where_it_cannot_be_kept(corpus_folder, monkeypatch, caplog):
    monkeypatch.setenv("SPARSWEEP_CACHE", "/dev/null/cache")
    assert load_small(corpus_folder).num_sentences == 2
    assert "the cache cannot be written (/dev/null" in caplog.text


def test_sentences_that_are_no_split_are_kept_by_their_content(corpus_folder, caplog):
    cache = corpus_folder.parent / "cache" / "encoded"
    model = ModelSpec(name="builtin:small-bert", revision=None, init="random", fingerprint=None)

    def encoded(*words: str, max_length: int = 32, label: int = 1) -> EncodedSplit:
        text = flatten(Sentences([list(words)], [[label] * len(words)]))
        return encode_text(corpus(corpus_folder), model, text, max_length)

    made = encoded("Ade", "mji")
    (file,) = cache.iterdir()
    whole, before = file.read_bytes(), file.stat().st_mtime_ns
    assert same(encoded("Ade", "mji"), made)
    assert file.stat().st_mtime_ns == before, "it was read, not made"

    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert same(encoded("Ade", "mji"), made)
    assert f"{file}: damaged (its digest is another one); made again" in caplog.text
    assert file.read_bytes() == whole

    others = [encoded("Ade", "Leo"), encoded("Ade", "mji", label=2), encoded("Ade mji")]
    others.append(encoded("Ade", "mji", max_length=8))
    assert len(list(cache.iterdir())) == 1 + len(others)


def split_of(*lengths: int, first_id: int = 10) -> EncodedSplit:
    ids = np.repeat(first_id + np.arange(len(lengths)), lengths)
    return make_split(ids, ids, lengths, num_unstarted_entities=1, pad_id=99, num_specials=2)


def test_joined_splits_keep_their_sequences_in_order():
    joined = join([split_of(3, 5), split_of(4, first_id=50)])
    assert joined.lengths.tolist() == [3, 5, 4]
    assert joined.input_ids[joined.offsets[2] : joined.offsets[3]].tolist() == [50] * 4
    assert joined.sentence_of_sequence.tolist() == [0, 1, 2]
    assert (joined.num_sentences, joined.parts, joined.num_unstarted_entities) == (3, (2, 1), 2)
    assert joined.num_subwords_of_sentences.tolist() == [1, 3, 2]  # two special ids each
