"""Batches: every sequence once an epoch, little padding, and shares by temperature."""

import numpy as np
import pytest
import torch

from tests.factories import make_split
from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import draw_sequences, evaluation_order, make_batch, training_order


def made_of_lengths(lengths: list[int]) -> EncodedSplit:
    """A split whose sequence i holds lengths[i] times the id 10 + i."""
    ids = np.repeat(10 + np.arange(len(lengths)), lengths)
    return make_split(ids, np.zeros(len(ids)), lengths, pad_id=99)


@pytest.mark.parametrize("num_sequences", [1, 31, 32, 33, 1000])
def test_an_epoch_has_every_sequence_once(num_sequences):
    batches = training_order(num_sequences, 32, seed=1, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(num_sequences))
    assert len(batches) == -(-num_sequences // 32)


def test_order_depends_on_seed_and_epoch_only():
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(training_order(200, 16, seed, epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batch_pads_and_masks():
    batch = make_batch(made_of_lengths([3, 1, 2]), np.array([2, 0]), torch.device("cpu"))
    assert batch.input_ids.tolist() == [[12, 12, 99], [10, 10, 10]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.labels.tolist() == [[0, 0, NO_LABEL], [0, 0, 0]]
    assert batch.num_subwords == 5


@pytest.mark.parametrize(
    ("max_subwords", "expected"),
    [
        (1, [[1], [2], [0], [3]]),
        (8, [[1], [2], [0, 3]]),
        (17, [[1], [2, 0, 3]]),
        (18, [[1, 2], [0, 3]]),
        (36, [[1, 2, 0, 3]]),
    ],
)
def test_evaluation_takes_the_longest_first_and_no_more_than_fit(max_subwords, expected):
    batches = evaluation_order(np.array([2, 9, 5, 1]), max_subwords)
    assert [batch.tolist() for batch in batches] == expected


def counts_by_part(drawn: np.ndarray, parts: tuple[int, ...]) -> list[int]:
    edges = np.concatenate([[0], np.cumsum(parts)])
    return np.histogram(drawn, edges)[0].tolist()


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1, [900, 100]),
        (2, [750, 250]),
        (1e9, [500, 500]),
    ],  # of 900 and 100: 30 to 10 at temperature 2
)
def test_temperature_moves_sentences_from_large_to_small_languages(temperature, expected):
    drawn = draw_sequences((900, 100), temperature, np.random.default_rng(0))
    assert counts_by_part(drawn, (900, 100)) == expected
    repeats = np.bincount(drawn, minlength=1000)[900:]
    assert repeats.max() - repeats.min() <= 1, "each comes once before any comes twice"


def test_shares_that_are_no_whole_numbers_still_fill_the_epoch():
    drawn = draw_sequences((7, 5, 3), 3, np.random.default_rng(1))
    assert len(drawn) == 15
    assert np.bincount(drawn, minlength=15).max() <= 2


def test_proportional_epochs_have_every_sequence_once_and_temperature_changes_them():
    plain = np.concatenate(training_order(100, 8, seed=3, epoch=0, parts=(90, 10)))
    assert sorted(plain) == list(range(100))
    warm = np.concatenate(training_order(100, 8, seed=3, epoch=0, parts=(90, 10), temperature=2))
    assert counts_by_part(warm, (90, 10)) == [75, 25]
    again = np.concatenate(training_order(100, 8, seed=3, epoch=0, parts=(90, 10), temperature=2))
    assert warm.tolist() == again.tolist()
    other = np.concatenate(training_order(100, 8, seed=3, epoch=1, parts=(90, 10), temperature=2))
    assert warm.tolist() != other.tolist()
