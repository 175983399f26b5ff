"""Sentences that are shown: which, and as what."""

import numpy as np
import pytest

from orchestrator.errors import StoreError
from orchestrator.report.figures import examples
from orchestrator.report.figures.examples import (
    Looked,
    _one_text,
    draw_examples,
    find_changes,
    take_in_turn,
)
from tests.wikiann_tags import TAGS


def tags(text: str) -> bytes:
    return bytes(TAGS.index(tag) for tag in text.split())


GOLD = "B-PER I-PER O B-LOC"


@pytest.mark.parametrize(
    ("dense", "sparse", "kinds"),
    [
        ("O O O O", GOLD, "fixed"),
        (GOLD, "B-PER I-PER O O", "broken, missed"),
        (GOLD, "B-PER O O B-LOC", "broken, boundary"),
        (GOLD, "B-ORG I-ORG O B-LOC", "broken, type"),
        (GOLD, "B-PER I-PER B-ORG B-LOC", "spurious"),
        ("B-PER I-PER O O", "O O O B-LOC", "other"),  # one right and one missed, as before
        ("B-PER I-PER B-ORG O", "B-PER I-PER O O", "other"),  # less that is spurious
    ],
)
def test_kinds_of_change(dense, sparse, kinds):
    looked = Looked(sentences=np.array([7]), gold=[tags(GOLD)], words=["a b c d"])
    found = find_changes(looked, [tags(dense)], [tags(sparse)], "strict", 5)
    assert found == [(0, kinds)]


def test_sentences_that_stay_or_are_too_long_are_not_shown():
    looked = Looked(sentences=np.arange(3), gold=[tags(GOLD)] * 3, words=["a b c d", None, "d"])
    dense, sparse = [tags(GOLD)] * 3, [tags(GOLD), tags("O O O O"), tags("O O O O")]
    assert find_changes(looked, dense, sparse, "strict", 5) == [(2, "broken, missed")]


def test_predictions_of_other_words_are_refused():
    looked = Looked(sentences=np.arange(1), gold=[tags(GOLD)], words=["a b c d"])
    with pytest.raises(StoreError, match="other words"):
        find_changes(looked, [tags("O")], [tags("B-PER")], "strict", 5)


def test_each_kind_has_its_turn():
    kinds = [["a"], ["a"], ["a"], ["b", "a"], ["c"], ["b"]]
    assert take_in_turn(kinds, 4) == [0, 1, 3, 4]
    assert take_in_turn(kinds, 99) == [0, 1, 2, 3, 4, 5]
    assert take_in_turn([], 3) == []


def test_words_with_blanks_stay_one_word():
    assert _one_text([" a b ", "", "c"]) == "a\u00a0b \u00a0 c"
    assert _one_text(["a" * 401]) is None


def test_examples_are_of_the_lowest_seed_and_as_stored(material):
    drawing = draw_examples(material)
    table = drawing.table
    assert set(table["seed"]) == {0}
    assert (table["dense"] != table["sparse"]).all()
    assert set(table["series"]) == {"monolingual", "multilingual"}
    row = table.iloc[0]
    assert len(row["words"].split(" ")) == len(row["gold"].split()) == len(row["sparse"].split())
    assert drawing.num_trials == 12  # of each of 3 trainings and 4 prunings


def test_no_more_are_shown_than_the_page_has_room_for(material, monkeypatch):
    monkeypatch.setattr(examples, "MOST_SHOWN", 32)
    sizes = draw_examples(material).table.groupby(
        ["series", "embeddings", "language", "target_sparsity"]
    )
    assert sizes.size().max() == 2
