"""Sub-words, their labels, splitting and batches; and that sentences come back whole."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from workers.data.align import NO_LABEL, EncodedSplit, encode, load_encoded
from workers.data.batch import evaluation_order, make_batch, training_order
from workers.data.corpus import Sentences, load_sentences
from workers.model.folder import fingerprint_model_folder
from workers.scoring.evaluate import tags_of_sentences
from workers.tags import TAGS
from workers.trial import CorpusSpec, ModelSpec


@pytest.fixture(scope="module")
def tokenizer(mbert):
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


def made_of_lengths(lengths: list[int]) -> EncodedSplit:
    """A split whose sequence i holds lengths[i] times the id 10 + i."""
    ids = np.concatenate([np.full(length, 10 + i) for i, length in enumerate(lengths)]).astype(
        np.int32
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return EncodedSplit(
        ids,
        np.zeros(len(ids), np.int64),
        offsets,
        np.arange(len(lengths)),
        0,
        99,
        2,
        (len(lengths),),
    )


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


@pytest.mark.parametrize("num_sequences", [1, 31, 32, 33, 1000])
def test_an_epoch_has_every_sequence_once(num_sequences):
    lengths = np.random.default_rng(0).integers(3, 60, num_sequences)
    batches = training_order(lengths, 32, seed=1, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(num_sequences))
    assert len(batches) == -(-num_sequences // 32)


def test_order_depends_on_seed_and_epoch_only():
    lengths = np.random.default_rng(0).integers(3, 60, 200)

    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_order(lengths, 16, seed, epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_waste_little_on_padding():
    lengths = np.clip(np.random.default_rng(0).lognormal(2.6, 0.6, 20_000), 3, 128).astype(int)
    computed = sum(len(batch) * lengths[batch].max() for batch in training_order(lengths, 32, 0, 0))
    assert computed / lengths.sum() < 1.1


def test_batch_pads_and_masks():
    batch = make_batch(made_of_lengths([3, 1, 2]), np.array([2, 0]), torch.device("cpu"))
    assert batch.input_ids.tolist() == [[12, 12, 99], [10, 10, 10]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.labels.tolist() == [[0, 0, NO_LABEL], [0, 0, 0]]
    assert batch.num_subwords == 5


def test_evaluation_takes_the_longest_first():
    assert [batch.tolist() for batch in evaluation_order(np.array([2, 9, 5]), 2)] == [[1, 2], [0]]
