"""Entities against seqeval's, and what of a split was met in training."""

import itertools

import numpy as np
import pytest
import seqeval.scheme
from hypothesis import example, given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from tests.any_input import many
from tests.wikiann_tags import ENTITY_TYPES, TAGS
from tests.workers.data.test_corpus import path_corpus
from workers.data.corpus import Sentences, load_sentences, load_table
from workers.data.entities import (
    SentenceFacts,
    describe_text,
    find_entities,
    flatten,
    flatten_labels,
    flatten_table,
    sentence_facts,
)


def tags_of(sentences: Sentences) -> list[list[str]]:
    return [[TAGS[label] for label in labels] for labels in sentences.labels]


def with_errors(gold, fraction: float, seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [
        [TAGS[rng.integers(7)] if rng.random() < fraction else tag for tag in tags] for tags in gold
    ]


def found_by_seqeval(tags, matching) -> list[tuple[int, str, int, int]]:
    """(sentence, type, first word, last word)"""
    if matching == "strict":
        found = seqeval.scheme.Entities(tags, seqeval.scheme.IOB2, suffix=False).entities
        return [(one.sent_id, one.tag, one.start, one.end - 1) for of in found for one in of]
    return [(number, *entity) for number, one in enumerate(tags) for entity in get_entities(one)]


def laid_flat(tags) -> tuple[np.ndarray, np.ndarray]:
    """The labels of tags by sentence, and where each sentence begins."""
    return flatten_labels([TAGS.index(tag) for tag in one] for one in tags)


def found_by_us(tags, matching) -> list[tuple[int, str, int, int]]:
    labels, offsets = laid_flat(tags)
    found = find_entities(labels, offsets, matching)
    begins = offsets[found.sentence]
    columns = (found.sentence, found.kind, found.start - begins, found.end - 1 - begins)
    return [
        (s, ENTITY_TYPES[k], a, b)
        for s, k, a, b in zip(*(column.tolist() for column in columns), strict=True)
    ]


MATCHINGS = pytest.mark.parametrize("matching", ["strict", "lenient"])


@MATCHINGS
def test_entities_are_those_of_seqeval_in_every_sequence_of_up_to_four_tags(matching):
    tags = [list(one) for size in range(1, 5) for one in itertools.product(TAGS, repeat=size)]
    assert found_by_us(tags, matching) == found_by_seqeval(tags, matching)


@pytest.mark.slow
@MATCHINGS
@many
@given(tags=st.lists(st.lists(st.sampled_from(TAGS), max_size=12), min_size=1, max_size=20))
@example(tags=[[], ["I-PER"], [], []])
def test_entities_are_those_of_seqeval_in_texts_at_random(matching, tags):
    assert found_by_us(tags, matching) == found_by_seqeval(tags, matching)


@MATCHINGS
def test_no_sentences_have_no_entities(matching):
    assert found_by_us([], matching) == []


def test_an_unknown_rule_is_refused():
    with pytest.raises(
        ValueError, match="evaluation.matching: 'exact' is not known; give strict or lenient"
    ):
        find_entities(np.array([0]), np.array([0, 1]), "exact")


@pytest.mark.slow
@pytest.mark.parametrize(
    "language", ["ja", "zh", "sw"]
)  # the first two have I- tags that continue nothing
@MATCHINGS
def test_entities_are_those_of_seqeval_in_real_text(language, matching, wikiann):
    corpus = path_corpus(wikiann, max_eval_sentences=3000)
    gold = tags_of(load_sentences(corpus, language, "test"))
    for tags in (gold, with_errors(gold, 0.1, seed=1)):
        assert found_by_us(tags, matching) == found_by_seqeval(tags, matching)


def facts_of(train: Sentences, evaluated: Sentences) -> SentenceFacts:
    return sentence_facts(describe_text(flatten(train)), flatten(evaluated))


TRAIN = Sentences([["Asha", "wa", "Tanga"], ["New", "York", "City"]], [[1, 0, 5], [5, 6, 6]])


def test_a_sentence_is_seen_when_its_words_are_one_in_train_whatever_their_tags():
    evaluated = Sentences(
        [
            ["New", "York", "City"],
            ["New York", "City"],
            [" New", "York\t", "City"],
            ["New", "York"],
        ],
        [[0, 0, 0], [5, 6], [5, 6, 6], [5, 6]],
    )
    facts = facts_of(TRAIN, evaluated)
    assert facts.is_seen.tolist() == [True, False, True, False]


def test_an_entity_is_unseen_when_its_words_or_its_type_are_new():
    evaluated = Sentences(
        [
            ["Asha", "New", "York", "City", "Tanga"],  # all three known
            ["Asha", "New", "York"],  # known as a person only; part of a known place
            ["Tanga", "Asha", "Juma"],  # an I- that starts a known place; two that are new together
            ["wa"],
        ],
        [[1, 5, 6, 6, 5], [3, 5, 6], [6, 1, 2], [0]],
    )
    assert facts_of(TRAIN, evaluated).num_unseen_entities.tolist() == [0, 2, 1, 0]


def test_nothing_is_seen_where_train_has_no_entity_of_the_type():
    facts = facts_of(Sentences([["a"]], [[0]]), Sentences([["b", "c"]], [[1, 3]]))
    assert (facts.is_seen.tolist(), facts.num_unseen_entities.tolist()) == ([False], [2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "seen"), [("ur", 0.51), ("hi", 0.32), ("vi", 0.28), ("en", 0.03)]
)
def test_real_test_sentences_are_seen_as_often_as_known(language, seen, wikiann):
    corpus = path_corpus(wikiann)
    train, test = (load_sentences(corpus, language, split) for split in ("train", "test"))
    facts = facts_of(train, test)
    assert facts.is_seen.mean() == pytest.approx(seen, abs=0.01)
    assert (
        facts.num_unseen_entities[facts.is_seen].mean()
        < facts.num_unseen_entities[~facts.is_seen].mean()
    )


def test_train_is_what_was_used_of_it(wikiann):
    test = load_sentences(path_corpus(wikiann), "ur", "test")
    few = load_sentences(path_corpus(wikiann, max_train_sentences=100), "ur", "train")
    assert facts_of(few, test).is_seen.mean() < 0.1


def test_a_table_and_its_sentences_lie_the_same_end_to_end(wikiann):
    corpus = path_corpus(wikiann, max_train_sentences=90)
    ours, theirs = (
        flatten_table(load_table(corpus, "my", "train")),
        flatten(load_sentences(corpus, "my", "train")),
    )
    assert len(ours.offsets) == 91
    assert ours.words.equals(theirs.words)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)
