"""Stored predictions as arrays."""

import pyarrow as pa
import pytest

from orchestrator.analysis.inputs.predictions import collect_predictions
from orchestrator.errors import StoreError


def predictions_of(tags, *, set_id="s", order=None, **changes):
    columns = {
        "set_id": [set_id] * len(tags),
        "language": ["sw"] * len(tags),
        "split": ["test"] * len(tags),
        "perturbation": ["none"] * len(tags),
        "sentence": order or list(range(len(tags))),
        "predicted": tags,
        "support": [1] * len(tags),
        "num_predicted": [1] * len(tags),
        "num_correct": [1] * len(tags),
    }
    return pa.table(columns | changes)


def test_sequences_have_equal_numbers_where_they_are_equal():
    first = predictions_of([["O"], ["B-PER", "I-PER"], []])
    second = predictions_of([[], ["B-PER", "I-PER"], ["O", "O"]], order=[2, 1, 0])
    (one,) = collect_predictions([("a", first), ("b", second)], "test")
    assert one.num_words.tolist() == [1, 2, 0]
    assert (one.sequences[0] == one.sequences[1]).tolist() == [False, True, True]


def test_perturbed_sentences_and_other_splits_are_left_out():
    first = predictions_of([["O"], ["O"]], perturbation=["none", "within_script"])
    second = predictions_of([["O"], ["O"]], split=["validation", "validation"])
    (one,) = collect_predictions([("a", first), ("b", second)], "test")
    assert (one.trial_ids, len(one.support)) == (["a"], 1)


def test_tags_that_are_none_are_refused():
    with pytest.raises(
        StoreError, match=r"predictions: 'B-DOG' of set s is no tag; tags are O, B-PER"
    ):
        collect_predictions([("a", predictions_of([["B-DOG"]]))], "test")
