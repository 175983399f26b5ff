"""Sub-words and their labels, splitting and joining; and that sentences come back whole."""

import numpy as np
import pytest

from workers.data.align import NO_LABEL, EncodedSplit, encode, join, load_encoded
from workers.data.corpus import Sentences, load_sentences
from workers.model.folder import fingerprint_model_folder
from workers.scoring.evaluate import tags_of_sentences
from workers.tags import TAGS
from workers.trial import CorpusSpec, ModelSpec


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
    gold = tags_of_sentences(encoded, encoded.labels[encoded.labels != NO_LABEL])
    assert gold == [[TAGS[label] for label in labels] for labels in sentences.labels]


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
        assert (made.pad_id, made.num_unstarted_entities) == (
            other.pad_id,
            other.num_unstarted_entities,
        )


def split_of(*lengths: int, first_id: int = 10) -> EncodedSplit:
    ids = np.concatenate(
        [np.full(length, first_id + i) for i, length in enumerate(lengths)]
    ).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedSplit(
        ids, ids.astype(np.int64), offsets, np.arange(len(lengths)), 1, 99, 2, (len(lengths),)
    )


def test_joined_splits_keep_their_sequences_in_order():
    joined = join([split_of(3, 5), split_of(4, first_id=50)])
    assert joined.lengths.tolist() == [3, 5, 4]
    assert joined.input_ids[joined.offsets[2] : joined.offsets[3]].tolist() == [50] * 4
    assert joined.sentence_of_sequence.tolist() == [0, 1, 2]
    assert (joined.num_sentences, joined.parts, joined.num_unstarted_entities) == (3, (2, 1), 2)
    assert joined.num_subwords_of_sentences.tolist() == [1, 3, 2]  # two special ids each
