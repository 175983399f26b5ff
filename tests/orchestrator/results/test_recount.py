"""What seqeval counts in stored tags is what a trial has counted."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.results.recount import COUNTS, count_by_seqeval
from tests.golden_results import GOLDEN
from tests.workers.data.test_entities import MATCHINGS, laid_flat
from workers.scoring.evaluate import count_entities

PLACE = ("set_id", "sentence")
GOLD = [["B-PER", "I-PER", "O"], [], ["I-LOC", "B-LOC"], ["B-ORG", "I-PER"], ["B-PER"]]
PREDICTED = [["B-PER", "I-PER", "B-ORG"], [], ["I-LOC", "O"], ["B-ORG", "O"], ["B-LOC"]]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ("strict", [[1, 2, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0]]),
        ("lenient", [[1, 2, 1], [0, 0, 0], [2, 1, 1], [2, 1, 1], [1, 1, 0]]),
    ],
)
def test_entities_counted_by_hand(matching, expected):
    gold, predicted = (pa.chunked_array([tags[:2], tags[2:]]) for tags in (GOLD, PREDICTED))
    assert count_by_seqeval(gold, predicted, matching).tolist() == expected


def test_nothing_is_counted_in_no_sentences():
    nothing = pa.chunked_array([], pa.list_(pa.string()))
    assert count_by_seqeval(nothing, nothing, "strict").shape == (0, 3)


@pytest.mark.slow
@MATCHINGS
@pytest.mark.parametrize("stored", ["results/v3", "paper-mini"])
def test_stored_predictions_are_counted_as_a_trial_counts_them(stored, matching):
    sentences, predictions = (
        pq.read_table(GOLDEN / stored / f"{name}.parquet").to_pydict()
        for name in ("sentences", "predictions")
    )
    known = dict(zip(zip(*map(sentences.get, PLACE), strict=True), sentences["gold"], strict=True))
    gold = [known[place] for place in zip(*map(predictions.get, PLACE), strict=True)]
    predicted = predictions["predicted"]
    by_seqeval = count_by_seqeval(
        *(pa.chunked_array([tags]) for tags in (gold, predicted)), matching
    )

    labels, offsets = laid_flat(gold)
    counts = count_entities(labels, laid_flat(predicted)[0], offsets, matching)
    ours = [getattr(counts, name).sum(1) for name in COUNTS]
    np.testing.assert_array_equal(np.stack(ours, axis=1), by_seqeval)
    if matching == "strict":  # by which these were scored
        assert by_seqeval.T.tolist() == [predictions[name] for name in COUNTS]
