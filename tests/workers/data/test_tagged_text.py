"""Schemes of tags: what they become in IOB2, and which are refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOBES, Entities

from workers.data.entities import find_entities, flatten_labels
from workers.data.tagged_text import Mended, from_lists, to_labels, types_of
from workers.tags import TagSet
from workers.trial import Scheme, TrialError

TAGS = TagSet(("DATE", "PER"))


def converted(tags: list[list[str]], scheme: Scheme = "auto") -> tuple[list[list[str]], Mended]:
    """Tags of sentences as IOB2, and what was mended."""
    text = from_lists("file", [["w"] * len(one) for one in tags], tags)
    labels, mended = to_labels(text, TAGS, scheme)
    ends = itertools.accumulate(len(one) for one in tags)
    named = TAGS.as_tags(labels.tolist())
    return [named[end - len(one) : end] for end, one in zip(ends, tags, strict=True)], mended


@pytest.mark.parametrize(
    ("scheme", "tags", "expected", "num_converted"),
    [
        ("auto", "B-PER I-PER O B-DATE", "B-PER I-PER O B-DATE", 0),
        ("auto", "O I-PER I-PER", "O I-PER I-PER", 0),  # as in WikiANN's ja: counted, not mended
        ("auto", "B-PER E-PER S-DATE", "B-PER I-PER B-DATE", 2),
        ("auto", "B-PER L-PER U-DATE U-DATE", "B-PER I-PER B-DATE B-DATE", 3),
        ("auto", "B-PER I-PER E-PER B-PER E-PER", "B-PER I-PER I-PER B-PER I-PER", 2),
        ("iob1", "I-PER I-PER O I-DATE", "B-PER I-PER O B-DATE", 2),
        ("iob1", "I-PER B-PER I-PER I-DATE", "B-PER B-PER I-PER B-DATE", 2),
        ("io", "PER PER O DATE PER", "B-PER I-PER O B-DATE B-PER", 4),
        ("io", "I-PER I-PER I-DATE", "B-PER I-PER B-DATE", 2),
        ("iob2", "B-PER I-PER", "B-PER I-PER", 0),
    ],
)
def test_schemes_become_iob2(scheme, tags, expected, num_converted):
    found, mended = converted([tags.split()], scheme)
    assert found == [expected.split()]
    assert mended.num_converted == num_converted


def test_no_entity_goes_on_in_the_next_sentence():
    assert converted([["PER"], ["PER"]], "io")[0] == [["B-PER"], ["B-PER"]]
    assert converted([["I-PER"], ["I-PER"]], "iob1")[0] == [["B-PER"], ["B-PER"]]
    found, _ = converted([["S-DATE"] * 30 + ["S-PER"], ["E-PER", "O"]])
    assert found[1] == ["I-PER", "O"]


WELL_FORMED = st.lists(
    st.tuples(st.sampled_from(["O", "PER", "DATE"]), st.integers(1, 4)), min_size=1, max_size=8
)


def written(pieces, single: str, last: str) -> list[str]:
    """Entities and words outside, in BIOES or BILOU."""
    tags: list[str] = []
    for kind, length in pieces:
        if kind == "O":
            tags += ["O"] * length
        elif length == 1:
            tags.append(f"{single}-{kind}")
        else:
            inner = [f"I-{kind}"] * (length - 2)
            tags += [f"B-{kind}", *inner, f"{last}-{kind}"]
    return tags


@pytest.mark.slow
@given(st.lists(WELL_FORMED, min_size=1, max_size=5), st.sampled_from(["SE", "UL"]))
def test_entities_of_bioes_and_bilou_are_those_of_seqeval(sentences, prefixes):
    tags = [written(pieces, *prefixes) for pieces in sentences]
    in_iobes = [written(pieces, "S", "E") for pieces in sentences]
    labels, offsets = flatten_labels(map(TAGS.as_labels, converted(tags)[0]))
    found = find_entities(labels, offsets, "strict")
    ours = {
        (sentence, TAGS.entity_types[kind], start - offsets[sentence], end - offsets[sentence])
        for sentence, kind, start, end in zip(
            found.sentence, found.kind, found.start, found.end, strict=True
        )
    }
    theirs = {
        (number, one.tag, one.start, one.end)
        for number, of_sentence in enumerate(Entities(in_iobes, IOBES, suffix=False).entities)
        for one in of_sentence
    }
    assert ours == theirs


@given(st.lists(st.sampled_from(["O", "I-PER", "B-PER", "I-DATE", "B-DATE"]), min_size=1))
def test_entities_of_iob1_are_those_of_conlleval(tags):
    assert get_entities(converted([tags], "iob1")[0][0]) == get_entities(tags)


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        (
            "auto",
            "S-PER E-PER U-PER",
            "file: sentence 0: tag 'U-PER' in a file with E- and S-, which mixes BIOES",
        ),
        ("auto", "S-PER B-PER O B-PER O", "'B-PER' is ill-formed .* 2 of 3 entities"),
        ("auto", "PER O", "tag 'PER' is not of scheme auto"),
        ("auto", "B-LOC", "tag 'B-LOC' is none of O, B-DATE, I-DATE, B-PER, I-PER"),
        ("iob2", "B-PER E-PER", "tag 'E-PER' is not of scheme iob2"),
        ("io", "I-PER B-PER", "tag 'B-PER' is not of scheme io"),
        ("iob1", "I-PER S-PER", "tag 'S-PER' is not of scheme iob1"),
    ],
)
def test_other_schemes_are_refused_with_their_place(scheme, tags, message):
    with pytest.raises(TrialError, match=message):
        converted([tags.split()], scheme)


def test_types_are_sorted_unless_the_file_declares_their_order():
    text = from_lists("file", [["a", "b", "c"]], [["B-PER", "B-DATE", "E-LOC"]])
    assert types_of(text, "auto") == ("DATE", "LOC", "PER")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("O PER", "file: sentence 0: tag 'PER' is neither O nor .*set corpus.scheme=io"),
        ("O B-micro", "micro stands for all types"),
        ("B-a;b", "no blanks, nor any of"),
    ],
)
def test_what_is_no_type_is_refused(tags, message):
    words = tags.split()
    with pytest.raises(TrialError, match=message):
        types_of(from_lists("file", [words], [words]), "auto")
