"""Tags and labels of any entity types."""

import pytest

from workers.tags import MAX_TYPES, WIKIANN, TagSet, fault_of_type, union_of


def test_wikianns_tags_have_the_labels_that_stored_trials_were_trained_with():
    assert WIKIANN.tags == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    assert len(WIKIANN) == 7


def test_labels_follow_the_order_of_types():
    tags = TagSet(("DATE", "LOC"))
    assert tags.as_labels(["O", "I-DATE", "B-LOC", "I-LOC"]) == [0, 2, 3, 4]
    assert tags.as_tags([4, 1]) == ["I-LOC", "B-DATE"]
    with pytest.raises(KeyError):
        tags.as_labels(["B-PER"])


def test_all_labels_fit_into_an_int8():
    assert len(TagSet(tuple(map(str, range(MAX_TYPES))))) - 1 <= 127


def test_the_union_of_sets_begins_with_wikianns_types():
    assert union_of([WIKIANN, WIKIANN]) == WIKIANN
    dates = TagSet(("DATE", "LOC", "PER"))
    assert union_of([dates, WIKIANN]).entity_types == ("PER", "ORG", "LOC", "DATE")
    assert union_of([dates]).entity_types == ("PER", "LOC", "DATE")


@pytest.mark.parametrize("name", ["", "a b", "micro", "a;b", "a+b", "x\n", "y" * 61])
def test_names_that_tables_cannot_hold_are_no_types(name):
    assert fault_of_type(name)


@pytest.mark.parametrize("name", ["PER", "person-actor", "Ọjọ́", "building/airport", "GPE_2"])
def test_other_names_are(name):
    assert not fault_of_type(name)
