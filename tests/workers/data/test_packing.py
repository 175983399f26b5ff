"""Packed rows: each sequence once, little left free, and blocks that do not see one another."""

from collections import Counter

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tests.workers.data.test_batch import made_of_lengths
from tests.workers.data.test_corpus import path_corpus
from workers.data.align import NO_LABEL, encode
from workers.data.batch import training_order
from workers.data.corpus import load_sentences
from workers.data.packing import ROWS_OF_CPU, ROWS_OF_GPU, PackedBatches, pack

CPU = torch.device("cpu")


@pytest.mark.parametrize("row_length", [ROWS_OF_CPU, ROWS_OF_GPU])
@pytest.mark.parametrize("longest", [8, 60, 72, 73, 128, 512])
def test_each_sequence_is_in_one_row_that_is_no_longer_than_it_must_be(row_length, longest):
    rng = np.random.default_rng(longest)
    for num_sequences in range(1, 40):
        lengths = rng.integers(3, longest + 1, num_sequences)
        rows, width = pack(lengths, row_length)
        assert sorted(index for row in rows for index in row) == list(range(num_sequences))
        assert max(lengths[row].sum() for row in rows) <= width
        assert width % row_length.multiple == 0
        assert width <= max(row_length.longest, lengths.max() + row_length.multiple - 1)


def test_sequences_that_fit_no_better_have_a_row_each():
    assert pack(np.array([50, 50, 50]), ROWS_OF_CPU) == ([[0], [1], [2]], 50)


def test_a_batch_holds_its_sequences_with_their_own_positions_in_blocks():
    split = made_of_lengths([3, 40, 2, 30])
    batch = PackedBatches(split, CPU, first_position=2).make(np.array([3, 0, 1]))
    assert batch.input_ids.tolist() == [[11] * 40, [13] * 30 + [10] * 3 + [99] * 7]
    assert batch.position_ids[1].tolist() == [*range(2, 32), 2, 3, 4, *[2] * 7]
    assert batch.labels[1].tolist() == [0] * 33 + [NO_LABEL] * 7
    assert (batch.num_subwords, batch.num_words) == (73, 73)

    blocks = torch.block_diag(torch.ones(30, 30), torch.ones(3, 3), torch.ones(7, 7)).bool()
    assert torch.equal(batch.attention_mask[1, 0] == 0, blocks)
    assert (batch.attention_mask[0] == 0).all()
    assert set(batch.attention_mask.unique().tolist()) == {0.0, -torch.inf}


@pytest.mark.slow
def test_no_language_computes_more_than_an_eighth_too_much(wikiann, mbert):
    tokenizer = AutoTokenizer.from_pretrained(mbert)
    computed, real = Counter[str](), Counter[str]()
    for folder in sorted(path for path in wikiann.iterdir() if path.is_dir()):
        corpus = path_corpus(wikiann, max_train_sentences=1000)
        encoded = encode(load_sentences(corpus, folder.name, "train"), tokenizer, max_length=128)
        for epoch in range(max(1, 1000 // encoded.num_sequences)):
            for indices in training_order(encoded.num_sequences, 32, seed=0, epoch=epoch):
                rows, width = pack(encoded.lengths[indices], ROWS_OF_CPU)
                computed[folder.name] += len(rows) * width
                real[folder.name] += encoded.lengths[indices].sum()
    ratios = {language: computed[language] / real[language] for language in real}
    assert len(ratios) >= 39
    assert max(ratios.values()) < 1.12, ratios
