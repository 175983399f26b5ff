"""Entity-level scores against numbers worked by hand and against seqeval's own report."""

import numpy as np
import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from workers.evaluate import score
from workers.trial import TAGS

GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "I-ORG", "I-ORG"], ["O", "O"]]
FOUND = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "O"], ["O", "B-LOC"]]


def by_type(scores):
    return {row.entity_type: row for row in scores}


def random_tags(seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[TAGS[i] for i in rng.integers(0, 7, rng.integers(1, 9))] for _ in range(300)]


def test_scores_worked_by_hand():
    rows = by_type(score("test", GOLD, FOUND, "strict"))
    assert (rows["PER"].precision, rows["PER"].recall, rows["PER"].f1) == (1.0, 1.0, 1.0)
    assert (rows["ORG"].num_predicted, rows["ORG"].support, rows["ORG"].num_correct) == (2, 1, 0)
    assert rows["ORG"].f1 == 0.0
    micro = rows["micro"]  # three true, four found, one right
    assert (micro.precision, micro.recall, micro.f1) == (1 / 4, 1 / 3, 2 / 7)


def test_types_that_do_not_occur_have_no_score_rather_than_zero():
    rows = by_type(score("test", [["B-PER", "O"]], [["O", "O"]], "strict"))
    assert rows["PER"].recall == 0.0
    assert rows["PER"].precision is None
    assert (rows["LOC"].precision, rows["LOC"].recall, rows["LOC"].f1, rows["LOC"].support) == (None, None, None, 0)


def test_strict_and_lenient_differ_on_entities_without_a_beginning():
    gold, found = [["B-PER", "I-PER"]], [["I-PER", "I-PER"]]
    assert by_type(score("test", gold, found, "strict"))["micro"].num_predicted == 0
    assert by_type(score("test", gold, found, "lenient"))["micro"].f1 == 1.0


@pytest.mark.parametrize("matching", ["strict", "lenient"])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_seqevals_report(matching, seed):
    gold = random_tags(seed)
    rng = np.random.default_rng(seed)
    found = [[tag if rng.random() < 0.8 else TAGS[rng.integers(7)] for tag in tags] for tags in gold]
    options = {"mode": "strict", "scheme": IOB2} if matching == "strict" else {}
    report = classification_report(gold, found, output_dict=True, zero_division=0, **options)
    for entity_type, row in by_type(score("test", gold, found, matching)).items():
        theirs = report["micro avg" if entity_type == "micro" else entity_type]
        for name, ours in (("precision", row.precision), ("recall", row.recall), ("f1-score", row.f1)):
            assert ours == pytest.approx(theirs[name], abs=1e-12), (entity_type, name)
        assert row.support == theirs["support"]
