"""Scores against numbers worked by hand and against seqeval's report."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from tests.factories import make_trial_spec
from tests.wikiann_tags import ENTITY_TYPES, TAGS
from tests.workers.data.test_entities import MATCHINGS, laid_flat, with_errors
from tests.workers.trials import finish
from workers.data.align import NO_LABEL, EncodedSplit
from workers.data.batch import evaluation_order
from workers.scoring.evaluate import (
    EntityCounts,
    count_entities,
    not_applicable,
    predict,
    score,
    score_perturbed,
    split_by_sentence,
    subwords_a_pass,
    tags_of_sentences,
)
from workers.trial import SUBSETS, DonorPool

GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "I-ORG", "I-ORG"], ["O", "O"]]


FOUND = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "O"], ["O", "B-LOC"]]


def count_tags(gold, predicted, matching) -> EntityCounts:
    """As `count_entities`, of tags by sentence."""
    labels, offsets = laid_flat(gold)
    return count_entities(labels, laid_flat(predicted)[0], offsets, matching)


def rows_of(scores, subset="all"):
    return {row.entity_type: row for row in scores if row.subset == subset}


def score_all(gold, found, matching="strict"):
    counts = count_tags(gold, found, matching)
    return rows_of(score("sw", "test", counts, np.zeros(len(gold), bool)))


def random_tags(seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[TAGS[i] for i in rng.integers(0, 7, rng.integers(1, 9))] for _ in range(300)]


def test_scores_worked_by_hand():
    rows = score_all(GOLD, FOUND)
    assert (rows["PER"].precision, rows["PER"].recall, rows["PER"].f1) == (1.0, 1.0, 1.0)
    assert (rows["ORG"].num_predicted, rows["ORG"].support, rows["ORG"].num_correct) == (2, 1, 0)
    assert rows["ORG"].f1 == 0.0
    micro = rows["micro"]  # three true, four found, one right
    assert (micro.precision, micro.recall, micro.f1) == (1 / 4, 1 / 3, 2 / 7)
    assert (micro.language, micro.split, micro.num_sentences) == ("sw", "test", 3)


def test_entities_are_counted_in_their_sentence():
    counts = count_tags(GOLD, FOUND, "strict")
    assert counts.support.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert counts.num_predicted.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert counts.num_correct.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_an_entity_with_the_right_words_and_another_type_is_wrong():
    counts = count_tags([["B-PER", "I-PER"]], [["B-ORG", "I-ORG"]], "strict")
    assert counts.num_correct.sum() == 0


def test_seen_and_unseen_sentences_are_scored_apart():
    rows = score("sw", "test", count_tags(GOLD, FOUND, "strict"), np.array([True, False, False]))
    assert [(row.subset, row.entity_type) for row in rows] == [
        (subset, entity_type) for subset in SUBSETS for entity_type in (*ENTITY_TYPES, "micro")
    ]
    seen, unseen = (rows_of(rows, subset)["micro"] for subset in ("seen", "unseen"))
    assert (seen.num_sentences, seen.support, seen.num_predicted, seen.num_correct) == (1, 2, 2, 1)
    assert (seen.precision, seen.recall, seen.f1) == (1 / 2, 1 / 2, 1 / 2)
    assert (unseen.num_sentences, unseen.support, unseen.num_predicted, unseen.num_correct) == (
        2,
        1,
        2,
        0,
    )
    assert (unseen.precision, unseen.recall, unseen.f1) == (0.0, 0.0, 0.0)


def test_an_empty_subset_has_no_scores():
    rows = score("sw", "test", count_tags(GOLD, FOUND, "strict"), np.ones(3, bool))
    for row in rows_of(rows, "unseen").values():
        assert (row.num_sentences, row.precision, row.recall, row.f1, row.support) == (
            0,
            None,
            None,
            None,
            0,
        )


def test_types_that_do_not_occur_have_no_score_rather_than_zero():
    rows = score_all([["B-PER", "O"]], [["O", "O"]])
    assert rows["PER"].recall == 0.0
    assert rows["PER"].precision is None
    assert (rows["LOC"].precision, rows["LOC"].recall, rows["LOC"].f1, rows["LOC"].support) == (
        None,
        None,
        None,
        0,
    )


def test_strict_and_lenient_differ_on_entities_without_a_beginning():
    gold, found = [["B-PER", "I-PER"]], [["I-PER", "I-PER"]]
    assert score_all(gold, found, "strict")["micro"].num_predicted == 0
    assert score_all(gold, found, "lenient")["micro"].f1 == 1.0


def test_an_entity_does_not_go_on_in_the_next_sentence():
    assert score_all([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]], "lenient")["PER"].support == 2
    assert score_all([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]], "strict")["PER"].support == 1


@MATCHINGS
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_seqevals_report(matching, seed):
    gold = random_tags(seed)
    found = with_errors(gold, 0.2, seed)
    options = {"mode": "strict", "scheme": IOB2} if matching == "strict" else {}
    report = classification_report(gold, found, output_dict=True, zero_division=0, **options)
    for entity_type, row in score_all(gold, found, matching).items():
        theirs = report["micro avg" if entity_type == "micro" else entity_type]
        for name, ours in (
            ("precision", row.precision),
            ("recall", row.recall),
            ("f1-score", row.f1),
        ):
            assert ours == pytest.approx(theirs[name], abs=1e-12), (entity_type, name)
        assert row.support == theirs["support"]


def test_scores_of_perturbed_sentences_count_what_was_replaced():
    counts = count_tags(GOLD, FOUND, "strict")
    rows = score_perturbed(
        "sw", "within_script", 2, counts, np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    )
    assert [(row.entity_type, row.num_replaced) for row in rows] == [
        ("PER", 1),
        ("ORG", 1),
        ("LOC", 0),
        ("micro", 2),
    ]
    micro = rows[-1]
    assert (micro.language, micro.perturbation, micro.draw, micro.status) == (
        "sw",
        "within_script",
        2,
        "scored",
    )
    assert (micro.reason, micro.f1, micro.support, micro.num_predicted) == (None, 2 / 7, 3, 4)


def test_a_perturbation_that_does_not_apply_has_one_row_without_numbers():
    pool = DonorPool(
        language="el",
        perturbation="within_script",
        donors=(),
        reason="no other language is in Grek",
    )
    row = not_applicable(pool)
    assert (row.language, row.perturbation, row.draw, row.entity_type) == (
        "el",
        "within_script",
        0,
        "micro",
    )
    assert (row.status, row.reason) == ("not_applicable", "no other language is in Grek")
    assert {row.num_replaced, row.precision, row.recall, row.f1, row.support} == {None}
    assert {row.num_predicted, row.num_correct} == {None}


def test_tags_come_back_by_sentence():
    tags = [*GOLD, [], ["I-LOC"]]
    assert tags_of_sentences(*laid_flat(tags)) == tags
    labels, offsets = laid_flat(tags)
    by_sentence = split_by_sentence(labels, offsets)
    assert [[TAGS[label] for label in sentence] for sentence in by_sentence] == tags


def test_predictions_of_another_length_are_refused():
    with pytest.raises(ValueError, match="predicted: 2 labels for 3 words; give one each"):
        count_entities(np.zeros(3), np.zeros(2), np.array([0, 1, 3]), "strict")


@pytest.mark.parametrize(
    ("device", "batch_size", "max_length", "expected"),
    [("cuda", 128, 128, 16_384), ("cpu", 128, 128, 512), ("cpu", 2, 64, 128)],
)
def test_a_pass_takes_the_room_of_a_batch_and_less_on_a_cpu(
    device, batch_size, max_length, expected
):
    spec = make_trial_spec()
    spec = replace(
        spec,
        evaluation=replace(spec.evaluation, batch_size=batch_size),
        training=replace(spec.training, max_length=max_length),
    )
    assert subwords_a_pass(spec, torch.device(device)) == expected


class Echo(torch.nn.Module):
    """Predicts the label that a sub-word's id says, the more surely the higher it is; what fills up
    is predicted as a person."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        logits = torch.nn.functional.one_hot(input_ids, len(TAGS)).float()
        return SimpleNamespace(logits=logits * (1 + input_ids[..., None]))


@pytest.mark.parametrize("max_subwords", [1, 5, 9, 1000])
def test_each_word_gets_the_label_of_its_first_subword_whatever_a_pass_holds(max_subwords):
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, 30)
    ids = rng.integers(0, len(TAGS), lengths.sum()).astype(np.int32)
    is_word = rng.random(len(ids)) < 0.6
    split = EncodedSplit(
        input_ids=ids,
        labels=np.where(is_word, 0, NO_LABEL).astype(np.int8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        sentence_of_sequence=np.arange(30),
        num_unstarted_entities=0,
        pad_id=1,
        unknown_id=None,
        num_specials=0,
        parts=(30,),
    )
    steps = predict(Echo(), split, max_subwords, torch.device("cpu"), torch.float32)
    num_passes = 0
    while True:
        try:
            next(steps)
            num_passes += 1
        except StopIteration as end:
            labels, confidences = end.value
            break
    chances = np.exp(1 + ids[is_word]) / (np.exp(1 + ids[is_word]) + len(TAGS) - 1)
    assert confidences.dtype == np.uint8
    np.testing.assert_array_less(np.abs(confidences / 255 - chances), 0.5 / 255 + 1e-6)
    assert labels.dtype == np.int8
    assert labels.tolist() == ids[is_word].tolist()
    assert num_passes == len(evaluation_order(lengths, max_subwords))
    without = predict(
        Echo(), split, max_subwords, torch.device("cpu"), torch.float32, with_confidences=False
    )
    same, none = finish(without)
    assert none is None
    np.testing.assert_array_equal(same, labels)
