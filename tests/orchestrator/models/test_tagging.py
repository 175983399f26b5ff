"""Texts are read, tagged and shown."""

import gzip
import io
import re
from types import SimpleNamespace

import pytest

from orchestrator.errors import SweepError
from orchestrator.models.tagging import Sentence, marked, read_sentences, show, show_words, tag
from workers.tags import WIKIANN

TAGS = WIKIANN.tags


@pytest.fixture
def written(tmp_path):
    def write(content, name="text"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(file)

    return write


def test_a_plain_text_has_a_sentence_a_line(written):
    text = 'Asha anaishi (Tanga), "Kenya".\n\n  हिन्दी दिल्ली। ... \r\n'
    first, second = read_sentences(written(text), WIKIANN)
    marks = ["(", "Tanga", ")", ",", '"', "Kenya", '"', "."]
    assert first == Sentence(["Asha", "anaishi", *marks])
    assert second.words == ["हिन्दी", "दिल्ली", "।", ".", ".", "."]


def test_a_file_with_tabs_has_tags(written):
    text = "\ufeffAsha\tNNP\tB-PER\r\nwa\tIN\tO\n\n\nTanga\tNNP\tB-LOC"
    assert read_sentences(written(text), WIKIANN) == [
        Sentence(["Asha", "wa"], ["B-PER", "O"]),
        Sentence(["Tanga"], ["B-LOC"]),
    ]


CONLL = "-DOCSTART- -X- O\n\nUmoja NNP B-ORG\nwa IN I-ORG\nMataifa NNP I-ORG\n\nTanga NNP B-LOC\n"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CONLL, "text"),
        (gzip.compress(CONLL.encode(), mtime=0), "text.gz"),
        ("# id 1\n" + CONLL, "text"),
        (CONLL.replace("Mataifa NNP I-", "Mataifa NNP E-").replace("B-LOC", "S-LOC"), "text"),
        (re.sub(r"(?m)^(?=\w)", "sw:", CONLL), "text"),
    ],
)
def test_a_file_of_columns_is_read_as_that_of_a_corpus(written, content, name):
    assert read_sentences(written(content, name), WIKIANN) == [
        Sentence(["Umoja", "wa", "Mataifa"], ["B-ORG", "I-ORG", "I-ORG"]),
        Sentence(["Tanga"], ["B-LOC"]),
    ]


def test_the_scheme_is_that_of_the_models_corpus(written):
    file = written("Dar I-LOC\nes I-LOC\nwa O\n")
    assert read_sentences(file, WIKIANN, "iob1")[0].gold == ["B-LOC", "I-LOC", "O"]
    assert read_sentences(file, WIKIANN)[0].gold == ["I-LOC", "I-LOC", "O"]


def test_a_sentence_may_end_like_a_tag(written):
    assert read_sentences(written("Damu ya kundi O"), WIKIANN)[0].gold is None
    assert len(read_sentences(written("Damu ni O\nAsha\nTanga ni mji\n"), WIKIANN)) == 3


def test_standard_input_is_read(monkeypatch):
    def given(data):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    given(b"Asha")
    assert read_sentences("-", WIKIANN) == [Sentence(["Asha"])]
    given(b"Asha\tB-PER\nwa\n")
    with pytest.raises(SweepError, match="^standard input:2: 'wa' is not token<TAB>tag"):
        read_sentences("-", WIKIANN)
    given(b"Asha\tB-PER\n")
    assert read_sentences("-", WIKIANN) == [Sentence(["Asha"], ["B-PER"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a\tO\nb\tB-PERS\n",
            r"text:2: tag 'B-PERS' is none of O, B-PER",
        ),
        ("a\tO\nb\n", "text:2: 'b' is not token<TAB>tag"),
        ("\tO\n", "text:1: "),
        (" \n\n", "text: holds no words; give sentences"),
        (b"\xff\xfe", r"text:1: not UTF-8 text \(byte 0 of the line\)"),
    ],
)
def test_what_is_no_text_is_refused(written, content, message):
    with pytest.raises(SweepError, match=message):
        read_sentences(written(content), WIKIANN)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SweepError, match="none: cannot be read"):
        read_sentences(str(tmp_path / "none"), WIKIANN)
    with pytest.raises(SweepError, match="cannot be read"):
        read_sentences(str(tmp_path), WIKIANN)


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
