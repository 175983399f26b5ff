"""Texts are read, tagged and shown."""

import io
from types import SimpleNamespace

import pytest

from orchestrator.errors import SweepError
from orchestrator.models.tagging import Sentence, marked, read_sentences, show, show_words, tag
from workers.tags import WIKIANN

TAGS = WIKIANN.tags


@pytest.fixture
def written(tmp_path):
    def write(content):
        file = tmp_path / "text"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


def test_a_plain_text_has_a_sentence_a_line(written):
    text = 'Asha anaishi (Tanga), "Kenya".\n\n  हिन्दी दिल्ली। ... \r\n'
    first, second = read_sentences(written(text), TAGS)
    marks = ["(", "Tanga", ")", ",", '"', "Kenya", '"', "."]
    assert first == Sentence(["Asha", "anaishi", *marks])
    assert second.words == ["हिन्दी", "दिल्ली", "।", ".", ".", "."]


def test_a_file_with_tabs_has_tags(written):
    text = "\ufeffAsha\tNNP\tB-PER\r\nwa\tO\n\n\nTanga\tB-LOC"
    assert read_sentences(written(text), TAGS) == [
        Sentence(["Asha", "wa"], ["B-PER", "O"]),
        Sentence(["Tanga"], ["B-LOC"]),
    ]


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"Asha")))
    assert read_sentences("-", TAGS) == [Sentence(["Asha"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a\tO\nb\tB-PERS\n",
            r"text:2: 'b\\tB-PERS' is not token<TAB>tag; tags of this model are O",
        ),
        ("a\tO\nb\n", "text:2: 'b' is not token<TAB>tag"),
        ("\tO\n", "text:1: "),
        (" \n\n", "text: holds no words; give sentences"),
        (b"\xff\xfe", r"text: is no UTF-8 text \(byte 0\)"),
    ],
)
def test_what_is_no_text_is_refused(written, content, message):
    with pytest.raises(SweepError, match=message):
        read_sentences(written(content), TAGS)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SweepError, match="none: cannot be read"):
        read_sentences(str(tmp_path / "none"), TAGS)
    with pytest.raises(SweepError, match="cannot be read"):
        read_sentences(str(tmp_path), TAGS)


def test_entities_are_in_brackets():
    words = ["Bi", "Asha", "wa", "Dar", "es", "Salaam", "Tanga"]
    tags = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC", "B-LOC"]
    assert marked(words, tags) == "[PER Bi Asha] wa [LOC Dar es Salaam] [LOC Tanga]"
    assert marked(["a", "b"], ["O", "I-ORG"]) == "a [ORG b]"
    assert marked(["a", "b"], ["B-PER", "I-ORG"]) == "[PER a] [ORG b]"


def test_true_tags_follow_where_they_are_others():
    right = Sentence(["Asha"], ["B-PER"], ["B-PER"], [1.0])
    wrong = Sentence(["Tanga"], ["B-LOC"], ["O"], [0.5])
    assert list(show([right, wrong])) == [
        "[PER Asha]",
        "Tanga",
        "  true: [LOC Tanga]",
        "2 sentences, 1 as annotated; 1 not",
    ]
    assert list(show([Sentence(["Asha"], None, ["B-PER"], [1.0])])) == ["[PER Asha]"]
    assert list(show_words([wrong])) == ["Tanga\tB-LOC\tO\t0.500", ""]
    assert list(show_words([Sentence(["a"], None, ["O"], [1.0])])) == ["a\tO\t1.000", ""]


def test_each_word_gets_the_tag_that_the_model_gives_its_first_sub_word(opened):
    import torch

    sentences = [Sentence(["habari", "Nairobi"]), Sentence(["Asha"] * 300)]
    first, second = tag(opened, sentences)
    assert len(second.predicted) == 300  # longer than a sequence
    assert len(first.predicted) == len(first.confidence) == 2
    given = opened.tokenizer(["habari", "Nairobi"], is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        chances = opened.model(**given).logits.softmax(-1)[0]
    firsts = [given.word_ids().index(word) for word in (0, 1)]
    assert first.predicted == [TAGS[int(chances[place].argmax())] for place in firsts]
    expected = [float(chances[place].max()) for place in firsts]
    assert first.confidence == pytest.approx(expected, abs=1 / 255)
